import { isCorrect } from "../../algorithms/accuracy.js";
import { klEstimate } from "../../algorithms/kl.js";
import { paddingShare } from "../../algorithms/statistics.js";
import type { Group, SampleGroup } from "../../contracts/group.js";
import type { PolicyMetrics } from "../../contracts/trainer.js";
import { bucketOf, type LengthBound } from "../buckets.js";
import { unshapedRewards } from "../groups.js";
import type { MetricDraft, MetricValues } from "./metrics.js";
import { type OffPolicyFacts, offPolicyMetrics } from "./off-policy-metrics.js";

/** The numbers of one RL step, from its groups and the update's metrics. Pure; names are those of metrics.ts. */

export interface StepFacts {
  /** Every group that finished, kept or not. */
  readonly groups: readonly Group[];
  readonly kept: readonly SampleGroup[];
  readonly rounds: number;
  readonly phases: readonly LengthBound[];
  /** Unshaped reward from which a rollout counts as right. */
  readonly correctAt: number;
  readonly updates: readonly UpdateFacts[];
  readonly mismatch: Mismatch;
  readonly offPolicy: OffPolicyFacts;
  readonly withReference: boolean;
  readonly learningRate: number;
  readonly seconds: {
    readonly step: number;
    readonly sample: number;
    readonly reward: number;
    readonly train: number;
    readonly publish: number;
    /** Null where no adoption ended in the step. */
    readonly adopt: number | null;
  };
  /** Null where no embedded engine runs. */
  readonly engine: { readonly tensors: number; readonly rssBytes: number } | null;
  readonly controlRssBytes: number;
}

/** Token means over tokens that both sampler and trainer scored at one policy version; null where nothing was compared. */
export interface Mismatch {
  readonly k3: number | null;
  readonly abs: number | null;
}

/** One optimiser step. */
export interface UpdateFacts {
  readonly metrics: PolicyMetrics;
  readonly gradNorm: number;
  readonly applied: boolean;
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
const mean = (values: readonly number[]) => (values.length === 0 ? 0 : sum(values) / values.length);

/** Sample standard deviation (ddof 1); 0 for fewer than two values. */
function standardDeviation(values: readonly number[]): number {
  if (values.length < 2) return 0;
  const centre = mean(values);
  return Math.sqrt(sum(values.map((value) => (value - centre) ** 2)) / (values.length - 1));
}

/** Nearest-rank quantile; 0 for an empty list. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(q * sorted.length) - 1))] ?? 0;
}

/**
 * Metrics of a step, by registered name; only finite numbers. What was not measured is absent, never 0: no reward metric
 * without a scored rollout (I1), no KL without an update, no mismatch without a compared token.
 */
export function stepMetrics(facts: StepFacts): MetricValues {
  return {
    ...rewardMetrics(facts),
    ...rolloutMetrics(facts),
    ...updateMetrics(facts),
    ...offPolicyMetrics(facts.offPolicy),
    "optimiser/learning_rate": facts.learningRate,
    "time/step_seconds": facts.seconds.step,
    "time/sample_seconds": facts.seconds.sample,
    "time/reward_seconds": facts.seconds.reward,
    "time/train_seconds": facts.seconds.train,
    "time/publish_seconds": facts.seconds.publish,
    ...(facts.seconds.adopt === null ? {} : { "time/adopt_seconds": facts.seconds.adopt }),
    ...(facts.engine === null
      ? {}
      : { "engine/tensors": facts.engine.tensors, "engine/rss_bytes": facts.engine.rssBytes }),
    "control/rss_bytes": facts.controlRssBytes,
  };
}

function rewardMetrics(facts: StepFacts): MetricValues {
  const { groups, correctAt } = facts;
  const members = groups.flatMap((group) => group.members.map((member) => ({ group, member })));
  const scored = members.flatMap(({ group, member }) =>
    member.outcome.kind === "scored" && member.reward !== null
      ? [{ group, unshaped: member.outcome.value, shaped: member.reward }]
      : [],
  );
  const values: MetricDraft = {};
  if (members.length > 0) values["reward/scored_share"] = scored.length / members.length;
  if (groups.length > 0) values["group/zero_variance_share"] = groups.filter(hasEqualRewards).length / groups.length;
  if (scored.length === 0) return values;
  const accuracyOf = (some: typeof scored) =>
    mean(some.map(({ unshaped }) => (isCorrect(unshaped, correctAt) ? 1 : 0)));
  const shaped = scored.map((one) => one.shaped);
  values["reward/mean"] = mean(shaped);
  values["reward/unshaped_mean"] = mean(scored.map(({ unshaped }) => unshaped));
  values["reward/std"] = standardDeviation(shaped);
  values["accuracy/mean"] = accuracyOf(scored);
  for (const phase of facts.phases) {
    const inBucket = scored.filter(({ group }) => bucketOf(group.task.promptTokens, facts.phases) === phase.k);
    if (inBucket.length > 0) values[`accuracy/bucket_${phase.k}`] = accuracyOf(inBucket);
  }
  return values;
}

/** True where at least one member was scored and no two scores differ. */
function hasEqualRewards(group: Group): boolean {
  return new Set(unshapedRewards(group)).size === 1;
}

function rolloutMetrics(facts: StepFacts): MetricValues {
  const { groups, kept, seconds } = facts;
  const rollouts = groups.flatMap((group) => group.members.map((member) => member.rollout));
  const lengths = rollouts.map((rollout) => rollout.tokenIds.length);
  const entropies = rollouts.flatMap((rollout) => rollout.entropies ?? []);
  const values: MetricDraft = { "group/kept": kept.length, "group/rounds": facts.rounds };
  if (kept.length > 0) values["group/carried_share"] = mean(kept.map(({ group }) => (group.carried ? 1 : 0)));
  if (entropies.length > 0) values["entropy/mean"] = mean(entropies);
  if (rollouts.length > 0) {
    values["response/length_mean"] = mean(lengths);
    values["response/length_p95"] = quantile(lengths, 0.95);
    values["response/truncated_share"] = mean(rollouts.map(({ finish }) => (finish === "length" ? 1 : 0)));
    values["prompt/length_mean"] = mean(groups.map((group) => group.members[0]?.rollout.promptIds.length ?? 0));
  }
  if (seconds.sample > 0) values["throughput/sampled_tokens_per_second"] = sum(lengths) / seconds.sample;
  return values;
}

function updateMetrics(facts: StepFacts): MetricValues {
  const { updates, mismatch, seconds } = facts;
  const values: MetricDraft = {};
  if (mismatch.k3 !== null) values.mismatch_kl = mismatch.k3;
  if (mismatch.abs !== null) values.mismatch_abs = mismatch.abs;
  if (updates.length === 0) return values;
  const weight = updates.map((update) => update.metrics.tokens);
  const tokens = Math.max(1, sum(weight));
  const overTokens = (pick: (metrics: PolicyMetrics) => number) =>
    sum(updates.map((update, i) => pick(update.metrics) * (weight[i] ?? 0))) / tokens;
  const overUpdates = (pick: (update: UpdateFacts) => number) => mean(updates.map(pick));
  const real = sum(
    facts.kept.map(
      (group) =>
        (group.samples[0]?.rollout.promptIds.length ?? 0) +
        sum(group.samples.map((sample) => sample.rollout.tokenIds.length)),
    ),
  );
  const norms = updates.flatMap((update) => (Number.isFinite(update.gradNorm) ? [update.gradNorm] : []));
  values["kl/old_k1"] = overTokens((metrics) => metrics.klOldK1);
  values["kl/old_k3"] = overTokens((metrics) => metrics.klOldK3);
  if (facts.withReference) values["kl/ref"] = overTokens((metrics) => metrics.klRef);
  values["loss/total"] = overUpdates((update) => update.metrics.loss);
  values["loss/policy"] = overUpdates((update) => update.metrics.pgLoss);
  values["clip/fraction"] = overTokens((metrics) => metrics.clipFraction);
  values["clip/fraction_lower"] = overTokens((metrics) => metrics.clipFractionLower);
  values["ratio/max"] = Math.max(...updates.map((update) => update.metrics.ratioMax));
  if (norms.length > 0) values["gradient/norm"] = mean(norms);
  values["gradient/applied"] = overUpdates((update) => (update.applied ? 1 : 0));
  values["padding/share"] = paddingShare(real, sum(updates.map((update) => update.metrics.paddedTokens)));
  if (seconds.train > 0) values["throughput/trained_tokens_per_second"] = real / seconds.train;
  return values;
}

/** Token means of k3 and |Δ| between two sets of log-probs of the same tokens (I8). */
export function mismatchOf(sampler: readonly (readonly number[])[], trainer: readonly (readonly number[])[]): Mismatch {
  let k3 = 0;
  let abs = 0;
  let count = 0;
  for (const [row, tokens] of sampler.entries()) {
    for (const [t, value] of tokens.entries()) {
      const d = (trainer[row]?.[t] ?? Number.NaN) - value;
      k3 += klEstimate(0, d, "k3", false);
      abs += Math.abs(d);
      count++;
    }
  }
  return count === 0 ? { k3: null, abs: null } : { k3: k3 / count, abs: abs / count };
}
