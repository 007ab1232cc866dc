import { klEstimate } from "../algorithms/kl.js";
import { paddingShare } from "../algorithms/statistics.js";
import type { Group, SampleGroup } from "../contracts/group.js";
import type { PolicyMetrics } from "../contracts/trainer.js";
import { bucketOf, type LengthBound } from "./buckets.js";
import type { DropReason } from "./collector.js";
import type { MetricDraft, MetricValues } from "./metrics.js";

/** The numbers of one RL step, from its groups and the update's metrics. Pure; names are those of metrics.ts. */

export interface StepFacts {
  /** Every group that finished, kept or not. */
  readonly groups: readonly Group[];
  readonly kept: readonly SampleGroup[];
  readonly dropped: readonly { readonly reason: DropReason }[];
  readonly rounds: number;
  readonly phases: readonly LengthBound[];
  readonly updates: readonly UpdateFacts[];
  readonly mismatch: { readonly k3: number; readonly abs: number };
  readonly withReference: boolean;
  readonly learningRate: number;
  readonly seconds: { readonly step: number; readonly sample: number; readonly reward: number; readonly train: number };
  readonly engine: { readonly tensors: number; readonly rssBytes: number };
  readonly controlRssBytes: number;
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

/** Metrics of a step, by registered name; only finite numbers. */
export function stepMetrics(facts: StepFacts): MetricValues {
  const members = facts.groups.flatMap((group) => group.members.map((member) => ({ group, member })));
  const scored = members.filter(({ member }) => member.outcome.kind === "scored");
  const correct = scored.map(({ member }) => (member.outcome.kind === "scored" && member.outcome.value === 1 ? 1 : 0));
  const shaped = scored.map(({ member }) => member.reward as number);
  const lengths = members.map(({ member }) => member.rollout.tokenIds.length);
  const entropies = members.flatMap(({ member }) => member.rollout.entropies);
  const weight = facts.updates.map((update) => update.metrics.tokens);
  const tokens = Math.max(1, sum(weight));
  const overTokens = (pick: (metrics: PolicyMetrics) => number) =>
    sum(facts.updates.map((update, i) => pick(update.metrics) * (weight[i] ?? 0))) / tokens;
  const overUpdates = (pick: (update: UpdateFacts) => number) => mean(facts.updates.map(pick));
  const computed = sum(facts.updates.map((update) => update.metrics.paddedTokens));
  const real = sum(
    facts.kept.map(
      (group) =>
        (group.samples[0]?.rollout.promptIds.length ?? 0) +
        sum(group.samples.map((sample) => sample.rollout.tokenIds.length)),
    ),
  );
  const values: MetricDraft = {
    "reward/mean": mean(shaped),
    "reward/std": standardDeviation(shaped),
    "reward/scored_share": members.length === 0 ? 0 : scored.length / members.length,
    "accuracy/mean": mean(correct),
    "group/zero_variance_share":
      facts.groups.length === 0
        ? 0
        : facts.dropped.filter((drop) => drop.reason === "zero_variance").length / facts.groups.length,
    "group/kept": facts.kept.length,
    "group/rounds": facts.rounds,
    "group/carried_share": mean(facts.kept.map(({ group }) => (group.carried ? 1 : 0))),
    "entropy/mean": mean(entropies),
    "response/length_mean": mean(lengths),
    "response/length_p95": quantile(lengths, 0.95),
    "response/truncated_share": mean(members.map(({ member }) => (member.rollout.finish === "length" ? 1 : 0))),
    "prompt/length_mean": mean(facts.groups.map((group) => group.members[0]?.rollout.promptIds.length ?? 0)),
    mismatch_kl: facts.mismatch.k3,
    mismatch_abs: facts.mismatch.abs,
    "optimiser/learning_rate": facts.learningRate,
    "time/step_seconds": facts.seconds.step,
    "time/sample_seconds": facts.seconds.sample,
    "time/reward_seconds": facts.seconds.reward,
    "time/train_seconds": facts.seconds.train,
    "throughput/sampled_tokens_per_second": facts.seconds.sample > 0 ? sum(lengths) / facts.seconds.sample : 0,
    "throughput/trained_tokens_per_second": facts.seconds.train > 0 ? real / facts.seconds.train : 0,
    "engine/tensors": facts.engine.tensors,
    "engine/rss_bytes": facts.engine.rssBytes,
    "control/rss_bytes": facts.controlRssBytes,
  };
  for (const phase of facts.phases) {
    const inBucket = correct.filter(
      (_, i) => bucketOf(scored[i]?.group.task.promptTokens ?? 0, facts.phases) === phase.k,
    );
    if (inBucket.length > 0) values[`accuracy/bucket_${phase.k}`] = mean(inBucket);
  }
  if (facts.updates.length > 0) {
    values["kl/old_k1"] = overTokens((metrics) => metrics.klOldK1);
    values["kl/old_k3"] = overTokens((metrics) => metrics.klOldK3);
    if (facts.withReference) values["kl/ref"] = overTokens((metrics) => metrics.klRef);
    values["loss/total"] = overUpdates((update) => update.metrics.loss);
    values["loss/policy"] = overUpdates((update) => update.metrics.pgLoss);
    values["clip/fraction"] = overTokens((metrics) => metrics.clipFraction);
    values["clip/fraction_lower"] = overTokens((metrics) => metrics.clipFractionLower);
    values["ratio/max"] = Math.max(...facts.updates.map((update) => update.metrics.ratioMax));
    values["gradient/norm"] = mean(
      facts.updates.flatMap((update) => (Number.isFinite(update.gradNorm) ? [update.gradNorm] : [])),
    );
    values["gradient/applied"] = overUpdates((update) => (update.applied ? 1 : 0));
    values["padding/share"] = paddingShare(real, computed);
  }
  return values;
}

/** Token means of k3 and |Δ| between two sets of log-probs of the same tokens (I8). */
export function mismatchOf(
  sampler: readonly (readonly number[])[],
  trainer: readonly (readonly number[])[],
): { k3: number; abs: number } {
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
  return count === 0 ? { k3: 0, abs: 0 } : { k3: k3 / count, abs: abs / count };
}
