import { klEstimate } from "../../algorithms/kl.js";
import type { SampleGroup } from "../../contracts/group.js";
import type { MetricName } from "../../contracts/metrics.js";
import type {
  EvaluateLoss,
  OptimiserConfig,
  PolicyLossConfig,
  PolicyMetrics,
  Trainer,
} from "../../contracts/trainer.js";
import { WeirError } from "../../errors.js";
import { denominatorsOf, miniBatches, type PerToken, trainGroups } from "../../streams/batches.js";
import {
  contributionsOfTokens,
  ENTROPY_METRIC,
  KL_METRIC,
  MISMATCH_METRIC,
  REFERENCE_METRIC,
  type SpikeContribution,
} from "../../streams/telemetry/spike-detector.js";
import { type Mismatch, mismatchOf, type UpdateFacts } from "../../streams/telemetry/step-metrics.js";

/**
 * The update of one RL step: old (and reference) log-probs, mini-batches, optimiser steps.
 * Invariants: denominators are those of the whole mini-batch (I6); a mini-batch whose loss or gradient is not finite
 * changes no weight and is handed back for saving (I7); sampler and trainer log-probs at the same version are compared (I8).
 */

export interface UpdateOptions {
  readonly loss: PolicyLossConfig;
  /** The loss where `loss.name` is null. */
  readonly evaluate?: EvaluateLoss;
  readonly optimiser: OptimiserConfig;
  readonly miniBatchPrompts: number | null;
  readonly epochs: number;
  readonly microBatchTokens: number;
  readonly oldLogprobs: "recompute" | "sampler";
  /** Compute log-probs of the reference policy (for the KL term or its metric). */
  readonly withReference: boolean;
}

export interface UpdateResult {
  readonly updates: readonly UpdateFacts[];
  readonly mismatch: Mismatch;
  /** Shares of rollouts in the metrics that the spike detector watches. */
  readonly contributions: readonly SpikeContribution[];
  /** Mini-batches that were refused because something was not finite. */
  readonly refused: readonly (readonly SampleGroup[])[];
}

/**
 * Trains on kept groups and says what happened.
 * Errors: those of the trainer other than WEIR_E_NON_FINITE.
 */
export async function updatePolicy(
  trainer: Trainer,
  groups: readonly SampleGroup[],
  options: UpdateOptions,
  signal: AbortSignal,
): Promise<UpdateResult> {
  const sampled = groups.map((group) => group.samples.map((sample) => sample.rollout.samplerLogprobs));
  const sequences = groups.map((group) => ({
    promptIds: group.samples[0]?.rollout.promptIds ?? [],
    completions: group.samples.map((sample) => sample.rollout.tokenIds),
  }));
  const read = async (which: "policy" | "reference", start: number) => {
    const request = {
      signal,
      temperature: options.loss.temperature,
      which,
      microBatchTokens: options.microBatchTokens,
    };
    return (await trainer.logprobs(sequences.slice(start), request)).logprobs;
  };
  const batches = miniBatches(groups, options.miniBatchPrompts);
  /** Per group, what the trainer gives at the weights that sampled. */
  const scored: (PerToken[number] | null)[] = groups.map(() => null);
  const fill = (start: number, values: PerToken) => {
    values.forEach((value, p) => {
      scored[start + p] ??= value;
    });
  };
  // The first optimiser step's own pass sees those weights: its groups need no other one.
  const own = options.epochs === 1 ? (batches[0]?.length ?? 0) : 0;
  if (options.oldLogprobs === "recompute" && groups.length > own) fill(own, await read("policy", own));
  const reference = options.withReference && groups.length > 0 ? await read("reference", 0) : null;
  const old = (start: number, end: number) => {
    if (options.oldLogprobs === "sampler") return sampled.slice(start, end);
    return start < own ? null : (scored.slice(start, end) as PerToken);
  };

  let first: PolicyMetrics | null = null;
  const updates: UpdateFacts[] = [];
  const refused: (readonly SampleGroup[])[] = [];
  for (let epoch = 0; epoch < options.epochs; epoch++) {
    let start = 0;
    for (const batch of batches) {
      const end = start + batch.length;
      const step = await optimise(
        trainer,
        batch,
        old(start, end),
        reference?.slice(start, end) ?? null,
        options,
        signal,
      );
      if (step === null) refused.push(batch);
      else {
        updates.push(step);
        if (!step.applied) refused.push(batch);
        if (epoch === 0 && start === 0) first = step.metrics;
      }
      start = end;
    }
  }
  const compared = comparedRows(sampled, scored, first);
  if (first !== null) fill(0, first.logprobs);
  const known = [...scored.keys()].filter((p) => scored[p] !== null);
  const contributing = known.map((p) => groups[p] as SampleGroup);
  const atSampling = known.map((p) => scored[p] as PerToken[number]);
  return {
    updates,
    mismatch: mismatchOf(
      compared.map(({ sampler }) => sampler),
      compared.map(({ trainer: own }) => own),
    ),
    contributions: contributionsOf(contributing, atSampling, reference && known.map((p) => reference[p] ?? [])),
    refused,
  };
}

/**
 * Log-probs of the same rows by sampler and trainer, at the weights that sampled. `scored`: those of groups that the trainer
 * scored before the first optimiser step; `first`: that step's, for the other groups it had.
 */
function comparedRows(
  sampled: PerToken,
  scored: readonly (PerToken[number] | null)[],
  first: PolicyMetrics | null,
): { readonly sampler: readonly number[]; readonly trainer: readonly number[] }[] {
  const rowsOf = (p: number, trainer: PerToken[number]) =>
    trainer.map((row, g) => ({ sampler: sampled[p]?.[g] ?? [], trainer: row }));
  return scored.flatMap((own, p) => {
    if (own !== null) return rowsOf(p, own);
    const checked = first?.checked ?? null;
    if (checked === null) return rowsOf(p, first?.logprobs[p] ?? []);
    if (checked.group !== p) return [];
    return [{ sampler: sampled[p]?.[checked.completion] ?? [], trainer: checked.logprobs }];
  });
}

async function optimise(
  trainer: Trainer,
  batch: readonly SampleGroup[],
  old: PerToken | null,
  reference: PerToken | null,
  options: UpdateOptions,
  signal: AbortSignal,
): Promise<UpdateFacts | null> {
  let metrics: PolicyMetrics;
  try {
    metrics = await trainer.forwardBackward(
      {
        groups: trainGroups(batch, old, reference),
        loss: options.loss,
        denominators: denominatorsOf(batch),
        microBatchTokens: options.microBatchTokens,
      },
      options.evaluate === undefined ? { signal } : { signal, evaluate: options.evaluate },
    );
  } catch (error) {
    if (WeirError.isInstance(error) && error.code === "WEIR_E_NON_FINITE") return null;
    throw error;
  }
  const reply = await trainer.optimStep(options.optimiser, { signal });
  return { metrics, gradNorm: reply.gradNorm, applied: reply.applied };
}

/** Who contributed how much to the step's KL, mismatch and entropy, per rollout. */
function contributionsOf(
  groups: readonly SampleGroup[],
  trainer: PerToken,
  reference: PerToken | null,
): SpikeContribution[] {
  const rows = groups.flatMap((group, p) => group.samples.map((sample, g) => ({ sample, p, g })));
  const of = (metric: MetricName, perToken: (row: (typeof rows)[number]) => number[]) =>
    contributionsOfTokens(
      metric,
      rows.map((row) => ({ rolloutId: row.sample.rollout.id, perToken: perToken(row) })),
    );
  /** log π − log π_other per token; 0 where a log-prob is missing. */
  const gaps = ({ p, g }: (typeof rows)[number], other: readonly number[]) =>
    (trainer[p]?.[g] ?? []).map((value, t) => value - (other[t] ?? value));
  const sampled = (row: (typeof rows)[number]) => gaps(row, row.sample.rollout.samplerLogprobs);
  const k3 = (d: number) => klEstimate(d, 0, "k3", false);
  return [
    ...of(KL_METRIC, (row) => sampled(row).map(k3)),
    ...of(MISMATCH_METRIC, (row) => sampled(row).map(Math.abs)),
    ...of(ENTROPY_METRIC, ({ sample }) => [...sample.rollout.entropies]),
    ...(reference === null ? [] : of(REFERENCE_METRIC, (row) => gaps(row, reference[row.p]?.[row.g] ?? []).map(k3))),
  ];
}
