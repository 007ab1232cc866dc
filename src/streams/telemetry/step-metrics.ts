import { klEstimate } from "../../algorithms/kl.js";
import { paddingShare } from "../../algorithms/statistics.js";
import type { SampleGroup } from "../../contracts/group.js";
import type { KlMeasure } from "../../contracts/guard.js";
import type { PolicyMetrics } from "../../contracts/trainer.js";
import type { MetricDraft, MetricValues } from "./metrics.js";

/**
 * Numbers of an RL step from the metrics of its update, and what it took. Pure; names are those of metrics.ts. What was not measured is
 * absent, never 0: no KL without an update, no mismatch without a compared token.
 */

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
  /** What it did to the policy; null where it was not applied or not measured. */
  readonly kl: KlMeasure | null;
  /** KL(π ‖ π_ref) at its gradient, nats; null where it was not measured. */
  readonly klRef: number | null;
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
const mean = (values: readonly number[]) => (values.length === 0 ? 0 : sum(values) / values.length);

export function mismatchMetrics({ k3, abs }: Mismatch): MetricValues {
  return { ...(k3 === null ? {} : { mismatch_kl: k3 }), ...(abs === null ? {} : { mismatch_abs: abs }) };
}

/** Means over the optimiser steps of an update; none without one. */
export function updateMetrics(updates: readonly UpdateFacts[], kept: readonly SampleGroup[]): MetricValues {
  if (updates.length === 0) return {};
  const weight = updates.map((update) => update.metrics.tokens);
  const tokens = Math.max(1, sum(weight));
  const overTokens = (pick: (metrics: PolicyMetrics) => number) =>
    sum(updates.map((update, i) => pick(update.metrics) * (weight[i] ?? 0))) / tokens;
  const overUpdates = (pick: (update: UpdateFacts) => number) => mean(updates.map(pick));
  const norms = updates.flatMap((update) => (Number.isFinite(update.gradNorm) ? [update.gradNorm] : []));
  const values: MetricDraft = {
    "kl/old_k1": overTokens((metrics) => metrics.klOldK1),
    "kl/old_k3": overTokens((metrics) => metrics.klOldK3),
    "loss/total": overUpdates((update) => update.metrics.loss),
    "loss/policy": overUpdates((update) => update.metrics.pgLoss),
    "clip/fraction": overTokens((metrics) => metrics.clipFraction),
    "clip/fraction_lower": overTokens((metrics) => metrics.clipFractionLower),
    "ratio/max": Math.max(...updates.map((update) => update.metrics.ratioMax)),
    "gradient/applied": overUpdates((update) => (update.applied ? 1 : 0)),
    "padding/share": paddingShare(realTokens(kept), sum(updates.map((update) => update.metrics.paddedTokens))),
  };
  const references = updates.flatMap(({ klRef }) => (klRef === null ? [] : [klRef]));
  if (references.length > 0) values["kl/ref"] = mean(references);
  if (norms.length > 0) values["gradient/norm"] = mean(norms);
  return values;
}

/** Prompt and response tokens; a prompt counts once. */
function realTokens(kept: readonly SampleGroup[]): number {
  return sum(
    kept.map(
      (group) =>
        (group.samples[0]?.rollout.promptIds.length ?? 0) +
        sum(group.samples.map((sample) => sample.rollout.tokenIds.length)),
    ),
  );
}

export interface StepCost {
  readonly seconds: {
    readonly step: number;
    /** In which at least one sampler call was under way. */
    readonly sample: number;
    readonly sampleCalls: number;
    readonly reward: number;
    readonly train: number;
    readonly publish: number;
    /** Null where no adoption ended in the step. */
    readonly adopt: number | null;
    /** Null where the KL of the update was not measured. */
    readonly kl: number | null;
    /** For which nothing was sampled or scored, because the reward took no work. */
    readonly held: number;
  };
  /** Response tokens of the groups that finished. */
  readonly sampledTokens: number;
  readonly kept: readonly SampleGroup[];
  /** Null where no embedded engine runs. */
  readonly engine: { readonly tensors: number; readonly rssBytes: number } | null;
  readonly controlRssBytes: number;
}

/** Time, throughput and memory of a step. */
export function costMetrics({ seconds, sampledTokens, kept, engine, controlRssBytes }: StepCost): MetricValues {
  const trained = realTokens(kept);
  return {
    "time/step_seconds": seconds.step,
    "time/sample_seconds": seconds.sample,
    "time/sample_call_seconds": seconds.sampleCalls,
    "time/reward_seconds": seconds.reward,
    "time/train_seconds": seconds.train,
    "time/publish_seconds": seconds.publish,
    ...(seconds.adopt === null ? {} : { "time/adopt_seconds": seconds.adopt }),
    ...(seconds.held > 0 ? { "time/held_seconds": seconds.held } : {}),
    ...(seconds.kl === null ? {} : { "time/kl_seconds": seconds.kl }),
    ...(seconds.sample > 0 ? { "throughput/sampled_tokens_per_second": sampledTokens / seconds.sample } : {}),
    ...(seconds.train > 0 && trained > 0 ? { "throughput/trained_tokens_per_second": trained / seconds.train } : {}),
    ...(engine === null ? {} : { "engine/tensors": engine.tensors, "engine/rss_bytes": engine.rssBytes }),
    "control/rss_bytes": controlRssBytes,
  };
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
