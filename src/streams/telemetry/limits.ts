import type { EnginePrecision } from "../../contracts/engine.js";

/** Limits that hold for any run, by the precision of its engine and the sizes of its groups. Pure. */

/**
 * Token mean of |sampler log-prob − trainer log-prob| above which the two are not one policy, nats. With float32 products they differ
 * by rounding of summation order, some 1e-4 at most; bfloat16 has 8 bits of mantissa, and a healthy run shows 0.005 to 0.03.
 */
const MISMATCH_LIMITS: Readonly<Record<EnginePrecision, number>> = { float32: 0.01, bfloat16: 0.1 };
/** A sampler of another build has kernels of its own, and most serve bfloat16. */
const FOREIGN_LIMIT = 0.1;

/** `embedded` is false where sampler and trainer are not both weir's engine. */
export function mismatchLimitOf(precision: EnginePrecision, embedded: boolean): number {
  return embedded ? MISMATCH_LIMITS[precision] : FOREIGN_LIMIT;
}

/** Times the bound of group-normalised advantages that is still no spike: estimators that divide by a batch's deviation exceed it. */
const ADVANTAGE_ROOM = 5;
/** Smallest such limit: rewards without normalisation may be of this size. */
const LEAST_ADVANTAGE = 20;

/**
 * |A| above which an advantage is no estimate of anything. (r − mean)/std over G rewards is at most (G − 1)/√G with ddof 1.
 */
export function advantageLimitOf(groupSize: number): number {
  return Math.max(LEAST_ADVANTAGE, (ADVANTAGE_ROOM * (groupSize - 1)) / Math.sqrt(groupSize));
}

/** π/π_old above which a token's ratio is no step of a trust region: clipping bounds its gradient, not its effect on the metrics. */
export const RATIO_LIMIT = 1_000;
