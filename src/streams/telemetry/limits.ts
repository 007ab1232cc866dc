import type { EnginePrecision } from "../../contracts/engine.js";
import type { ProductPrecision } from "../../contracts/precision.js";

/** Limits that hold for any run, by the precision of its engine and the sizes of its groups. Pure. */

/**
 * Token mean of |sampler log-prob − trainer log-prob| above which the two are not one policy, nats. With float32 products they differ
 * by rounding of summation order, some 1e-4 at most; bfloat16 has 8 bits of mantissa, and a healthy run shows 0.005 to 0.03.
 */
const MISMATCH_LIMITS: Readonly<Record<EnginePrecision, number>> = { float32: 0.01, bfloat16: 0.1 };
/**
 * The same where one of the two is not weir's engine, by the precision of each. Two builds in float32 were measured at 2e-5 to 3e-5;
 * float16 has three bits of mantissa more than bfloat16.
 */
const FOREIGN_LIMITS: Readonly<Record<ProductPrecision, number>> = { float32: 1e-3, float16: 0.03, bfloat16: 0.1 };
/** Most servers compute in bfloat16. */
const UNTOLD: ProductPrecision = "bfloat16";

/** Precisions of the large matrix products of a run's sampler and trainer; null where one does not tell. */
export interface PairPrecisions {
  readonly sampler: ProductPrecision | null;
  readonly trainer: ProductPrecision | null;
}

/** `foreign` is null where both are weir's engine, which computes in `precision`; else the limit is that of the lower of the two. */
export function mismatchLimitOf(precision: EnginePrecision, foreign: PairPrecisions | null): number {
  if (foreign === null) return MISMATCH_LIMITS[precision];
  return Math.max(...[foreign.sampler, foreign.trainer].map((one) => FOREIGN_LIMITS[one ?? UNTOLD]));
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
