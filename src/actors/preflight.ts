import { counterKey, shuffled } from "../algorithms/random.js";
import type { PassSize } from "../contracts/engine.js";
import type { Json } from "../contracts/task.js";
import { WeirError } from "../errors.js";
import { holds } from "../streams/buckets.js";
import { countBy, unshapedRewards } from "../streams/collector.js";
import { GaugeBoard } from "../streams/gauges.js";
import { runRound } from "../streams/pipeline.js";
import { pipelineOptions } from "./rl-step.js";
import type { RunContext } from "./run-context.js";

/**
 * Preflight on one real batch of the first phase: what would go wrong later is said now. Refuses when no reward can be
 * had at all; warns of truncation and of groups without variance. Trains nothing and leaves no trace in the ledger.
 */

/** Prompts of the trial batch: enough to see a broken reward, few enough to be over at once. */
export const PREFLIGHT_PROMPTS = 4;

export interface PreflightReport {
  readonly rollouts: number;
  readonly truncatedShare: number;
  readonly zeroVarianceShare: number;
  /** How often each unshaped reward came up. */
  readonly rewardHistogram: Readonly<Record<string, number>>;
  /** How often each outcome came up. */
  readonly outcomes: Readonly<Record<string, number>>;
  readonly tasksPerPhase: readonly number[];
  /** What the largest forward/backward pass will take, in one line. */
  readonly memory: string;
  readonly warnings: readonly string[];
}

/**
 * Errors: WEIR_E_JUDGE or WEIR_E_REWARD_SOURCE (by the reward's own code) when not one rollout could be scored.
 */
export async function preflight(context: RunContext, signal: AbortSignal): Promise<PreflightReport> {
  const [first] = context.phases;
  const tasksPerPhase = context.phases.map(
    (phase) => [...context.tasks.values()].filter(({ task }) => holds(phase, task.promptTokens)).length,
  );
  const candidates = [...context.tasks.values()].filter(
    ({ task }) => first !== undefined && holds(first, task.promptTokens),
  );
  const chosen = shuffled(candidates, counterKey(context.config.run.seed, "preflight")).slice(0, PREFLIGHT_PROMPTS);
  const issued = chosen.map(({ task, promptIds }, sequence) => ({
    task,
    promptIds,
    phase: 1,
    step: 0,
    visit: 0,
    carried: false,
    sequence,
  }));
  const silent = { generated: () => undefined, scored: () => undefined };
  const parts = {
    sampler: context.supervisor.engine(),
    reward: context.reward,
    gauges: new GaugeBoard(),
    listener: silent,
  };
  const { groups } = await runRound(issued, parts, pipelineOptions(context), signal);
  const members = groups.flatMap((group) => group.members);
  const outcomes = countBy(members.map((member) => member.outcome.kind));
  if (members.length > 0 && (outcomes.scored ?? 0) === 0)
    refuse(context, members[0]?.outcome as { kind: string; reason?: string; code?: string });
  const truncatedShare = share(members, (member) => member.rollout.finish === "length");
  const zeroVarianceShare = share(groups, (group) => new Set(unshapedRewards(group)).size < 2);
  const warnings: string[] = [];
  if (truncatedShare > 0.5) {
    warnings.push(
      `${percent(truncatedShare)} of the trial responses were cut at rollout.maxTokens = ${context.config.rollout.maxTokens}; raise it or warm the policy up`,
    );
  }
  if (zeroVarianceShare === 1 && context.workload.warmupSteps === 0) {
    warnings.push(
      "every trial group has equal rewards, so nothing would be learnt from them; use easier tasks, a warm-up, or a larger groupSize",
    );
  }
  const memory = await context.supervisor.engine().planMemory(largestPass(context), { signal });
  if (memory.peakBytes > memory.budgetBytes) {
    warnings.push(
      `${memory.text}; lower update.microBatchTokens, the phases' lengths or engine.precision, or raise engine.memoryGiB`,
    );
  }
  if ((outcomes.scored ?? 0) < members.length)
    warnings.push(
      `only ${outcomes.scored ?? 0} of ${members.length} trial responses could be scored: ${JSON.stringify(outcomes)}`,
    );
  return {
    rollouts: members.length,
    truncatedShare,
    zeroVarianceShare,
    rewardHistogram: countBy(groups.flatMap(unshapedRewards).map(String)),
    outcomes,
    tasksPerPhase,
    memory: memory.text,
    warnings,
  };
}

/** The largest pass that a step of the longest phase can need: full micro-batches, or one prompt with its group. */
function largestPass({ config, phases }: RunContext): PassSize {
  const longest = Math.max(...phases.map(({ maxTokens }) => maxTokens));
  const rowTokens = config.rollout.groupSize * config.rollout.maxTokens;
  const prefixTokens = Math.max(longest, config.update.microBatchTokens - rowTokens);
  return { prefixTokens, rowTokens, targets: rowTokens };
}

/** The report as a fact's data. */
export function preflightFact(report: PreflightReport): Record<string, Json> {
  return { ...report, rewardHistogram: { ...report.rewardHistogram }, outcomes: { ...report.outcomes } };
}

function refuse(
  context: RunContext,
  outcome: { readonly kind: string; readonly reason?: string; readonly code?: string },
): never {
  const { code: given } = outcome;
  const code = given === "WEIR_E_REWARD_SOURCE" || given === "WEIR_E_PART" ? given : "WEIR_E_JUDGE";
  throw new WeirError(
    code,
    `preflight: not one of the trial responses could be scored by the reward "${context.reward.kind}" (${outcome.kind}: ${outcome.reason ?? "no reason given"}); repair the reward before training`,
    { outcome },
  );
}

const percent = (value: number) => `${Math.round(100 * value)} %`;

function share<T>(items: readonly T[], test: (item: T) => boolean): number {
  return items.length === 0 ? 0 : items.filter(test).length / items.length;
}
