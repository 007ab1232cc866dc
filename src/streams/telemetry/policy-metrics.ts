import { isFiniteKl } from "../../algorithms/kl.js";
import { effectiveShare, meanOfUnits, quantile } from "../../algorithms/statistics.js";
import type { KlMeasure } from "../../contracts/guard.js";
import { bucketOf, type LengthBound } from "../buckets.js";
import type { MetricDraft, MetricValues } from "./metrics.js";

/** Metrics of what an update did to the policy, from numbers per token. Pure. */

/** The tokens of one gradient that count in its loss. */
export interface GradientTokens {
  /** π/π_old. */
  readonly ratios: readonly number[]; // [N]
  readonly advantages: readonly number[]; // [N]
  /** Tokens beyond the clip range, by the sign of their advantage; null for a loss that clips no ratio. */
  readonly clipped: { readonly low: number; readonly high: number } | null;
}

/** Ratio, advantage and clip metrics over the tokens of some gradients; none without a token. */
export function gradientMetrics(gradients: readonly GradientTokens[]): MetricValues {
  const ratios = gradients.flatMap((one) => [...one.ratios]);
  const advantages = gradients.flatMap((one) => [...one.advantages]);
  if (ratios.length === 0) return {};
  const values: MetricDraft = {
    "ratio/p01": quantile(ratios, 0.01),
    "ratio/p99": quantile(ratios, 0.99),
    "ratio/effective_share": effectiveShare(ratios),
    "advantage/negative_token_share": advantages.filter((advantage) => advantage < 0).length / advantages.length,
    "advantage/max_abs": advantages.reduce((most, advantage) => Math.max(most, Math.abs(advantage)), 0),
  };
  const clipped = gradients.flatMap((one) => (one.clipped === null ? [] : [one.clipped]));
  if (clipped.length > 0) {
    values["clip/fraction_low"] = clipped.reduce((total, { low }) => total + low, 0) / ratios.length;
    values["clip/fraction_high"] = clipped.reduce((total, { high }) => total + high, 0) / ratios.length;
  }
  return values;
}

/**
 * KL of the update over the optimiser steps that were measured, each weighted by its tokens; none without one. A measurement that is
 * not finite is none.
 */
export function updateKlMetrics(all: readonly KlMeasure[]): MetricValues {
  const measures = all.filter(isFiniteKl);
  const tokens = measures.reduce((total, one) => total + one.tokens, 0);
  if (tokens === 0) return {};
  const over = (pick: (measure: KlMeasure) => number) =>
    measures.reduce((total, one) => total + one.tokens * pick(one), 0) / tokens;
  const values: MetricDraft = {
    "kl/update": over(({ k3 }) => k3),
    "kl/update_k1": over(({ k1 }) => k1),
    "kl/update_max": measures.reduce((most, { max }) => Math.max(max, most), 0),
  };
  const errors = measures.flatMap(({ standardError, tokens: n }) =>
    standardError === null ? [] : [standardError * n],
  );
  // Errors of measurements on different responses are independent.
  if (errors.length === measures.length) values["kl/update_se"] = Math.hypot(...errors) / tokens;
  return values;
}

/** KL estimates of the tokens of one response, nats; NaN where a token does not count. */
export interface MeasuredResponse {
  /** Length of its task's prompt. */
  readonly promptTokens: number;
  readonly values: readonly number[]; // [T]
}

/** Token means by length bucket, as `name` followed by the bucket's number. */
export function bucketMeans<N extends "kl/update_bucket_" | "kl/ref_bucket_">(
  name: N,
  responses: readonly MeasuredResponse[],
  phases: readonly LengthBound[],
): MetricValues {
  const values: MetricDraft = {};
  for (const { k } of phases) {
    const own = responses.filter(({ promptTokens }) => bucketOf(promptTokens, phases) === k);
    const whole = meanOfUnits(own.map(countedOf));
    if (whole !== null && Number.isFinite(whole.mean)) values[`${name}${k}`] = whole.mean;
  }
  return values;
}

/** Standard error of the KL to the reference, with whole responses as the units of sampling. */
export function referenceError(responses: readonly MeasuredResponse[]): MetricValues {
  const error = meanOfUnits(responses.map(countedOf))?.standardError ?? null;
  return error === null || !Number.isFinite(error) ? {} : { "kl/ref_se": error };
}

const countedOf = ({ values }: MeasuredResponse) => values.filter((value) => !Number.isNaN(value));
