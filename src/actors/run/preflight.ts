import { counterKey, shuffled } from "../../algorithms/random.js";
import type { MicroBatchSize } from "../../contracts/engine.js";
import type { FactData } from "../../contracts/fact.js";
import type { Group } from "../../contracts/group.js";
import type { RewardOutcome } from "../../contracts/reward.js";
import { ERROR_CODES, type ErrorCode, WeirError } from "../../errors.js";
import { holds } from "../../streams/buckets.js";
import { GaugeBoard } from "../../streams/gauges.js";
import { countBy, unshapedRewards } from "../../streams/groups.js";
import { runRound } from "../../streams/rollout-stages.js";
import type { EvaluationTask } from "../evaluation/evaluate.js";
import { compareEngines, type EngineComparison } from "./compare-engines.js";
import {
  equalRewards,
  findingText,
  lackOfMemory,
  neverIssued,
  type PreflightFinding,
  share,
  snapshotText,
  truncatedPrompts,
  truncatedResponses,
  unscored,
} from "./preflight-findings.js";
import { rolloutOptions } from "./rl-step.js";
import type { RunContext } from "./run-context.js";
import { trainsHere } from "./sampler-engines.js";
import { snapshotRoom } from "./snapshots.js";

/**
 * Preflight on one real batch of the first phase, through sampler, reward, judge and memory plan: reports early what would go wrong
 * later, with the remedy. A run is refused where no reward can be computed, and for what preflight-findings.ts says. What a warm-up is
 * there to mend, rewards and responses that end by length, is looked at only where none comes. Trains nothing and writes nothing to the
 * ledger.
 */

/** Prompts of the trial batch: enough to find a broken reward, few enough to finish quickly. */
const PREFLIGHT_PROMPTS = 4;
/** With more data sources than that, each gets one prompt, up to this many: a reward often fails for a single source. */
const MOST_PROMPTS = 12;
/** Further prompts that are tried before a run is refused because every reward is the same: hard tasks are solved now and then. */
const MORE_PROMPTS = 12;

/** What preflight found; its fact has the same numbers. */
export interface PreflightReport extends Omit<FactData["preflight.finished"], "warnings" | "findings"> {
  readonly findings: readonly PreflightFinding[];
  /** Sampler and trainer on the same tokens; null where both are the embedded engine. */
  readonly compared: EngineComparison | null;
}

/**
 * Errors: that of the reward (WEIR_E_REWARD where it gave none) when not one rollout could be scored; WEIR_E_MISMATCH where sampler and
 * trainer do not have the same weights.
 */
export async function preflight(context: RunContext, signal: AbortSignal): Promise<PreflightReport> {
  const { workload } = context;
  const learns = workload.trainingSteps > 0 && workload.warmupSteps === 0;
  const compares = (context.parts.advantage.minGroupSize ?? 1) > 1;
  const prompts = trialPrompts(context);
  const [first, rest] = [perSourceFirst(prompts), prompts];
  let groups = await trialGroups(context, first, 0, signal);
  if (learns && equalRewards(groups, compares)?.refuses) {
    const more = rest.filter((prompt) => !first.includes(prompt)).slice(0, MORE_PROMPTS);
    groups = [...groups, ...(await trialGroups(context, more, first.length, signal))];
  }
  const compared = await compareEngines(context, groups, signal);
  const members = groups.flatMap((group) => group.members);
  const outcomes = countBy(members.map((member) => member.outcome.kind));
  const [firstMember] = members;
  if (firstMember !== undefined && (outcomes.scored ?? 0) === 0) refuse(context, firstMember.outcome);
  const plans = trainsHere(context.configured);
  const memory = plans ? await context.engine.planMemory(largestPass(context), { signal }) : null;
  const snapshots = snapshotRoom(context.config, context.parts.trainer);
  const truncatedShare = share(members, (member) => member.rollout.finish === "length");
  const zeroVarianceShare = share(groups, (group) => new Set(unshapedRewards(group)).size < 2);
  const { read, dropped, outsidePhases } = workload.tasks;
  const neverIssuedShare = read === 0 ? 0 : (dropped + outsidePhases) / read;
  const findings = [
    // A warm-up teaches when to stop, and some right answers.
    workload.warmupSteps === 0 ? truncatedResponses(truncatedShare, context.config.rollout.maxTokens) : null,
    truncatedPrompts(workload, context.tasks.size),
    learns ? equalRewards(groups, compares) : null,
    memory === null ? null : lackOfMemory(memory, context.config.engine.memoryGiB === null ? snapshots : 0),
    unscored(groups, [...context.tasks.values()]),
    neverIssued(workload.tasks, neverIssuedShare, context.phases.at(-1)?.maxTokens ?? 0),
  ];
  return {
    rollouts: members.length,
    truncatedShare,
    zeroVarianceShare,
    rewardHistogram: countBy(groups.flatMap(unshapedRewards).map(String)),
    outcomes,
    tasksPerPhase: context.phases.map(
      (phase) => [...context.tasks.values()].filter(({ task }) => holds(phase, task.promptTokens)).length,
    ),
    neverIssuedShare,
    compared,
    memory: `${memory?.text ?? "the trainer tells no memory plan"}${snapshots === 0 ? "" : `; ${snapshotText(snapshots)}`}`,
    findings: findings.filter((finding) => finding !== null),
  };
}

/** Tasks of the first phase that holds any, in an order of the seed. */
function trialPrompts(context: RunContext): readonly EvaluationTask[] {
  const tasks = [...context.tasks.values()];
  const phase = firstPhase(context);
  const candidates = tasks.filter(({ task }) => phase !== undefined && holds(phase, task.promptTokens));
  return shuffled(candidates, counterKey(context.config.run.seed, "preflight"));
}

function firstPhase({ tasks, phases }: RunContext) {
  return phases.find((phase) => [...tasks.values()].some(({ task }) => holds(phase, task.promptTokens)));
}

/** The groups of a trial batch; `begin` is the place of its first prompt in the order of issue. */
async function trialGroups(
  context: RunContext,
  prompts: readonly EvaluationTask[],
  begin: number,
  signal: AbortSignal,
): Promise<readonly Group[]> {
  if (prompts.length === 0) return [];
  const issued = prompts.map(({ task, promptIds }, i) => ({
    task,
    promptIds,
    phase: firstPhase(context)?.k ?? 1,
    step: 0,
    visit: 0,
    carried: false,
    sequence: begin + i,
    attempt: 0,
  }));
  const policy = await context.policies.current(signal);
  const parts = {
    parts: () => context.parts,
    time: context.time,
    gauges: new GaugeBoard(),
    listener: { generated: () => undefined, scored: () => undefined },
  };
  const options = {
    ...rolloutOptions(context),
    promptsPerCall: context.config.rollout.promptsPerCall,
    policy: () => ({ exactly: policy.n }),
  };
  return runRound(issued, parts, options, signal);
}

/** The first task of each data source, then others, PREFLIGHT_PROMPTS of them or one per source. */
export function perSourceFirst<T extends { readonly task: { readonly source: string } }>(order: readonly T[]): T[] {
  const seen = new Set<string>();
  const firsts = order.filter(({ task }) => !seen.has(task.source) && seen.add(task.source));
  const others = order.filter((item) => !firsts.includes(item));
  const count = Math.min(Math.max(PREFLIGHT_PROMPTS, firsts.length), MOST_PROMPTS);
  return firsts.length < 2 ? order.slice(0, PREFLIGHT_PROMPTS) : [...firsts, ...others].slice(0, count);
}

/** The largest micro-batch that a step of the longest phase can need: full micro-batches, or one prompt with its group. */
function largestPass({ config, phases, parts }: RunContext): MicroBatchSize {
  const longest = Math.max(...phases.map(({ maxTokens }) => maxTokens));
  const trial = config.guard.trial && config.update.klShare > 0 && parts.trainer.capabilities.revisesSteps === true;
  const rowTokens = config.rollout.groupSize * config.rollout.maxTokens;
  const prefixTokens = Math.max(longest, config.update.microBatchTokens - rowTokens);
  return { prefixTokens, rowTokens, targets: rowTokens, trial };
}

/** The report as a fact's data. */
export function preflightFact(report: PreflightReport): FactData["preflight.finished"] {
  const { findings, compared: _, ...numbers } = report;
  return {
    ...numbers,
    warnings: findings.map(findingText),
    findings: findings.map(({ cause, refuses, what, remedy }) => ({ cause, refuses, what, remedy })),
  };
}

/** Errors: WEIR_E_PREFLIGHT naming every cause for which the run is refused. */
export function assertMayTrain({ findings }: Pick<PreflightReport, "findings">): void {
  const refusing = findings.filter(({ refuses }) => refuses);
  if (refusing.length === 0) return;
  throw new WeirError(
    "WEIR_E_PREFLIGHT",
    `preflight: ${refusing.map(findingText).join(". Besides, ")}. To train all the same, set run.preflight to warn`,
    { causes: refusing.map(({ cause }) => cause) },
  );
}

function refuse(context: RunContext, outcome: RewardOutcome): never {
  const given = outcome.kind === "failed" ? outcome.code : "";
  const code = Object.hasOwn(ERROR_CODES, given) ? (given as ErrorCode) : "WEIR_E_REWARD";
  const reason = outcome.kind === "scored" ? "" : outcome.reason;
  throw new WeirError(
    code,
    `preflight: not one of the trial responses could be scored by the reward "${context.parts.reward.kind}" (${outcome.kind}: ${reason || "no reason given"}); repair the reward before training`,
    { outcome },
  );
}
