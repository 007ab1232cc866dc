import type { Alert } from "../../contracts/alert.js";
import type { MemoryPlan } from "../../contracts/engine.js";
import type { FactData } from "../../contracts/fact.js";
import type { Group } from "../../contracts/group.js";
import { countBy, unshapedRewards } from "../../streams/groups.js";
import { listOf } from "../../streams/telemetry/stall-detector.js";
import type { EvaluationTask } from "../evaluation/evaluate.js";
import type { Workload } from "./progress.js";

/** What preflight finds, each with its cause, what was measured and what to do about it. Pure. */

/** One finding; raised as an alert with the rule `preflight`. */
export interface PreflightFinding
  extends Pick<Alert, "level" | "metric" | "value" | "threshold">,
    NonNullable<FactData["preflight.finished"]["findings"][number]> {}

/** Share of truncated trial responses, or of tasks, at which a warning is raised. */
const MOST = 0.5;

export function findingText({ what, remedy }: Pick<PreflightFinding, "what" | "remedy">): string {
  return `${what}; ${remedy}`;
}

export function truncatedResponses(value: number, maxTokens: number): PreflightFinding | null {
  if (value <= MOST) return null;
  return {
    ...{ cause: "truncated_responses", refuses: false, level: "warn", metric: "response/truncated_share", value },
    threshold: MOST,
    what: `${percent(value)} of the trial responses were cut at rollout.maxTokens = ${maxTokens}`,
    remedy: "raise it or warm the policy up",
  };
}

/** Refuses where every task lost its middle: the answer may be in what was cut, so that no reward can be trusted. */
export function truncatedPrompts({ tasks }: Pick<Workload, "tasks">, kept: number): PreflightFinding | null {
  const { truncated } = tasks;
  const value = kept === 0 ? 0 : truncated / kept;
  if (value < MOST) return null;
  return {
    ...{ cause: "truncated_prompts", refuses: truncated === kept, metric: "data/truncated_share", value },
    ...{ level: truncated === kept ? "error" : "warn", threshold: MOST },
    what: `${percent(value)} of the ${kept} training prompts were cut in the middle to fit the model's positions`,
    remedy: "take a model with more positions, lower rollout.maxTokens, or leave these tasks out (data.overlong: drop)",
  };
}

/** Refuses where all trial responses got one reward, since an advantage that compares them (`compares`) then teaches nothing. */
export function equalRewards(groups: readonly Group[], compares: boolean): PreflightFinding | null {
  const rewards = groups.flatMap(unshapedRewards);
  const varied = groups.some((group) => new Set(unshapedRewards(group)).size > 1);
  if (varied || rewards.length === 0) return null;
  const values = [...new Set(rewards)];
  const one = values.length === 1;
  return {
    ...{
      cause: "equal_rewards",
      refuses: one && compares,
      metric: "group/zero_variance_share",
      value: 1,
      threshold: 1,
    },
    level: one && compares ? "error" : "warn",
    what: one
      ? `all ${rewards.length} trial responses got the reward ${values[0]}, so nothing would be learnt from them`
      : "the responses to each trial prompt got equal rewards, so nothing would be learnt from them",
    remedy: "use easier (or harder) tasks, a warm-up (warmup.data), or a larger rollout.groupSize",
  };
}

export function snapshotText(bytes: number): string {
  return `snapshots take up to ${(bytes / 1024 ** 3).toFixed(2)} GiB besides, in memory while there is room`;
}

/**
 * Refuses a plan that does not fit without snapshots, which can be on the disk. `snapshotBytes`: of snapshots that share the budget, as
 * they do where it is what the machine has free.
 */
export function lackOfMemory(memory: MemoryPlan, snapshotBytes: number): PreflightFinding | null {
  const value = memory.peakBytes + snapshotBytes;
  if (value <= memory.budgetBytes) return null;
  const refuses = memory.peakBytes > memory.budgetBytes;
  const snapshots = snapshotBytes === 0 ? "" : `; ${snapshotText(snapshotBytes)}: guard.snapshots.place=disk saves it`;
  return {
    ...{ cause: "memory", refuses, level: refuses ? "error" : "warn", metric: "engine/rss_bytes", value },
    threshold: memory.budgetBytes,
    what: `${memory.text}${snapshots}`,
    remedy: "lower update.microBatchTokens, the phases' lengths or engine.precision, or raise engine.memoryGiB",
  };
}

/** Names the data sources that could not be scored, and the share of all tasks that they are. */
export function unscored(groups: readonly Group[], tasks: readonly EvaluationTask[]): PreflightFinding | null {
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
    ...{ cause: "unscored", refuses: false, level: "warn", metric: "reward/scored_share", threshold: 1 },
    value: 1 - without.length / trials.length,
    what:
      `${without.length} of ${trials.length} trial responses (${percent(without.length / trials.length)}) could not be scored: ` +
      `${listOf(kinds)}; data sources: ${parts.slice(0, 5).join(", ")}`,
    remedy: "repair the reward or judge, or leave these tasks out",
  };
}

export function neverIssued(tasks: Workload["tasks"], value: number, longest: number): PreflightFinding | null {
  if (value === 0) return null;
  const { outsidePhases, dropped } = tasks;
  const reasons = [
    ...(outsidePhases > 0 ? [`${outsidePhases} are longer than the last phase (${longest} tokens)`] : []),
    ...(dropped > 0 ? [`${dropped} leave no room for a response in the model's positions`] : []),
  ];
  const remedies = [
    ...(outsidePhases > 0 ? ["raise phases[].maxTokens"] : []),
    ...(dropped > 0 ? ["lower rollout.maxTokens, or cut prompts (data.overlong: truncate)"] : []),
  ];
  return {
    ...{ cause: "never_issued", refuses: false, level: value >= MOST ? "warn" : "info", threshold: 0 },
    ...{ metric: "data/never_issued_share", value },
    what: `${percent(value)} of the ${tasks.read} training tasks will never be issued: ${reasons.join("; ")}`,
    remedy: remedies.join("; "),
  };
}

const percent = (value: number) => `${Math.round(100 * value)} %`;

export function share<T>(items: readonly T[], test: (item: T) => boolean): number {
  return items.length === 0 ? 0 : items.filter(test).length / items.length;
}
