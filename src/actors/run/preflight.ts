import { counterKey, shuffled } from "../../algorithms/random.js";
import type { Alert } from "../../contracts/alert.js";
import type { MemoryPlan, MicroBatchSize } from "../../contracts/engine.js";
import type { FactData } from "../../contracts/fact.js";
import type { Group } from "../../contracts/group.js";
import type { RewardOutcome } from "../../contracts/reward.js";
import { ERROR_CODES, type ErrorCode, WeirError } from "../../errors.js";
import { holds } from "../../streams/buckets.js";
import { GaugeBoard } from "../../streams/gauges.js";
import { countBy, unshapedRewards } from "../../streams/groups.js";
import { runRound } from "../../streams/rollout-stages.js";
import { listOf } from "../../streams/telemetry/stall-detector.js";
import type { EvaluationTask } from "../evaluation/evaluate.js";
import { compareEngines, type EngineComparison } from "./compare-engines.js";
import type { Workload } from "./progress.js";
import { rolloutOptions } from "./rl-step.js";
import type { RunContext } from "./run-context.js";
import { trainsHere } from "./sampler-engines.js";
import { snapshotRoom } from "./snapshots.js";

/**
 * Preflight on one real batch of the first phase: reports early what would go wrong later. Refuses when no reward can
 * be computed; warns of truncation and of groups without variance. Trains nothing and writes nothing to the ledger.
 */

/** Prompts of the trial batch: enough to find a broken reward, few enough to finish quickly. */
const PREFLIGHT_PROMPTS = 4;
/** With more data sources than that, each gets one prompt, up to this many: a reward often fails for a single source. */
const MOST_PROMPTS = 12;
/** Share of truncated trial responses, or of tasks, at which a warning is raised. */
const MOST = 0.5;

/** One finding; raised as an alert with the rule `preflight`. */
export type PreflightWarning = Pick<Alert, "level" | "metric" | "value" | "threshold" | "text">;

/** What preflight found; its fact has the same numbers, and of the warnings the sentences. */
export interface PreflightReport extends Omit<FactData["preflight.finished"], "warnings"> {
  readonly warnings: readonly PreflightWarning[];
  /** Sampler and trainer on the same tokens; null where both are the embedded engine. */
  readonly compared: EngineComparison | null;
}

/**
 * Errors: that of the reward (WEIR_E_REWARD where it gave none) when not one rollout could be scored; WEIR_E_MISMATCH where sampler and
 * trainer do not have the same weights.
 */
export async function preflight(context: RunContext, signal: AbortSignal): Promise<PreflightReport> {
  const { workload } = context;
  const groups = await trialGroups(context, signal);
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
    workload.warmupSteps === 0 ? truncation(truncatedShare, context.config.rollout.maxTokens) : null,
    workload.trainingSteps > 0 && workload.warmupSteps === 0 ? equalRewards(groups, zeroVarianceShare) : null,
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
    warnings: findings.filter((finding) => finding !== null),
  };
}

/** Rollouts of the trial batch: tasks of the first phase that holds any, in an order of the seed, each data source once before any twice. */
async function trialGroups(context: RunContext, signal: AbortSignal): Promise<readonly Group[]> {
  const tasks = [...context.tasks.values()];
  const first = context.phases.find((phase) => tasks.some(({ task }) => holds(phase, task.promptTokens)));
  const candidates = tasks.filter(({ task }) => first !== undefined && holds(first, task.promptTokens));
  const order = shuffled(candidates, counterKey(context.config.run.seed, "preflight"));
  const issued = perSourceFirst(order).map(({ task, promptIds }, sequence) => ({
    task,
    promptIds,
    phase: first?.k ?? 1,
    step: 0,
    visit: 0,
    carried: false,
    sequence,
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

function truncation(value: number, maxTokens: number): PreflightWarning | null {
  if (value <= MOST) return null;
  const text = `${percent(value)} of the trial responses were cut at rollout.maxTokens = ${maxTokens}; raise it or warm the policy up`;
  return { level: "warn", metric: "response/truncated_share", value, threshold: MOST, text };
}

function equalRewards(groups: readonly Group[], zeroVarianceShare: number): PreflightWarning | null {
  const rewards = groups.flatMap(unshapedRewards);
  if (zeroVarianceShare < 1 || rewards.length === 0) return null;
  const finding = { level: "warn", metric: "group/zero_variance_share", value: 1, threshold: 1 } as const;
  const values = [...new Set(rewards)];
  const what =
    values.length === 1
      ? `all ${rewards.length} trial responses got the reward ${values[0]}`
      : "the responses to each trial prompt got equal rewards";
  return {
    ...finding,
    text: `${what}, so nothing would be learnt from them; use easier (or harder) tasks, a warm-up (warmup.data), or a larger rollout.groupSize`,
  };
}

function snapshotText(bytes: number): string {
  return `snapshots take up to ${(bytes / 1024 ** 3).toFixed(2)} GiB besides, in memory while there is room`;
}

/** `snapshotBytes`: of snapshots that share the budget, as they do where it is what the machine has free. */
function lackOfMemory(memory: MemoryPlan, snapshotBytes: number): PreflightWarning | null {
  const value = memory.peakBytes + snapshotBytes;
  if (value <= memory.budgetBytes) return null;
  const snapshots = snapshotBytes === 0 ? "" : `; ${snapshotText(snapshotBytes)}: guard.snapshots.place=disk saves it`;
  return {
    level: "warn",
    metric: "engine/rss_bytes",
    value,
    threshold: memory.budgetBytes,
    text: `${memory.text}${snapshots}; lower update.microBatchTokens, the phases' lengths or engine.precision, or raise engine.memoryGiB`,
  };
}

/** Names the data sources that could not be scored, and the share of all tasks that they are. */
function unscored(groups: readonly Group[], tasks: readonly EvaluationTask[]): PreflightWarning | null {
  const trials = groups.flatMap((group) =>
    group.members.map(({ outcome }) => ({ source: group.task.source, outcome })),
  );
  const without = trials.filter(({ outcome }) => outcome.kind !== "scored");
  if (without.length === 0) return null;
  const kinds = countBy(without.map(({ outcome }) => (outcome.kind === "failed" ? outcome.code : outcome.kind)));
  const parts = Object.entries(countBy(without.map(({ source }) => source))).map(([source, count]) => {
    const of = trials.filter((trial) => trial.source === source).length;
    return `${source} ${count} of ${of} (${percent(share(tasks, ({ task }) => task.source === source))} of the tasks)`;
  });
  return {
    level: "warn",
    metric: "reward/scored_share",
    value: 1 - without.length / trials.length,
    threshold: 1,
    text:
      `${without.length} of ${trials.length} trial responses (${percent(without.length / trials.length)}) could not be scored: ` +
      `${listOf(kinds)}; data sources: ${parts.slice(0, 5).join(", ")}; repair the reward or judge, or leave these tasks out`,
  };
}

function neverIssued(tasks: Workload["tasks"], value: number, longest: number): PreflightWarning | null {
  if (value === 0) return null;
  const reasons = [
    ...(tasks.outsidePhases > 0
      ? [`${tasks.outsidePhases} are longer than the last phase (${longest} tokens): raise phases[].maxTokens`]
      : []),
    ...(tasks.dropped > 0
      ? [
          `${tasks.dropped} leave no room for a response in the model's positions: lower rollout.maxTokens, or cut prompts (data.overlong: truncate)`,
        ]
      : []),
  ];
  return {
    level: value >= MOST ? "warn" : "info",
    metric: "data/never_issued_share",
    value,
    threshold: 0,
    text: `${percent(value)} of the ${tasks.read} training tasks will never be issued: ${reasons.join("; ")}`,
  };
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
  const { warnings, compared: _, ...numbers } = report;
  return { ...numbers, warnings: warnings.map(({ text }) => text) };
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

const percent = (value: number) => `${Math.round(100 * value)} %`;

function share<T>(items: readonly T[], test: (item: T) => boolean): number {
  return items.length === 0 ? 0 : items.filter(test).length / items.length;
}
