/** Plain statistics of samples: mean, variance, median, MAD and robust z-scores. Float64, no randomness. */
import { assertNotEmpty, assertSameLength, at } from "./shapes.js";

/** A normal sample's standard deviation is 1.4826 times its median absolute deviation (1/Φ⁻¹(3/4)). */
export const MAD_TO_STANDARD_DEVIATION = 1.4826022185056018;

export function sum(values: readonly number[]): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}

/** Arithmetic mean; WEIR_E_SHAPE on an empty list. */
export function mean(values: readonly number[]): number {
  assertNotEmpty("values", values);
  return sum(values) / values.length;
}

/** Σ(x − mean)² / (n − ddof); ddof 1 is the unbiased estimate. NaN where n ≤ ddof. */
export function variance(values: readonly number[], ddof: 0 | 1): number {
  const centre = mean(values);
  let squares = 0;
  for (const value of values) squares += (value - centre) ** 2;
  return values.length > ddof ? squares / (values.length - ddof) : Number.NaN;
}

export function standardDeviation(values: readonly number[], ddof: 0 | 1): number {
  return Math.sqrt(variance(values, ddof));
}

/** The q-quantile, q in [0, 1], with linear interpolation between order statistics (type 7). */
export function quantile(values: readonly number[], q: number): number {
  assertNotEmpty("values", values);
  const sorted = [...values].sort((a, b) => a - b);
  const position = Math.min(Math.max(q, 0), 1) * (sorted.length - 1);
  const low = Math.floor(position);
  const lower = at(sorted, low);
  const upper = at(sorted, Math.min(low + 1, sorted.length - 1));
  return lower + (upper - lower) * (position - low);
}

/** The value at or above a share of the values (nearest rank), never one between two; 0 for an empty list. */
export function nearestRank(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(share * sorted.length) - 1))] ?? 0;
}

/** Middle order statistic, or the mean of the two middle ones. */
export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/**
 * Pearson's correlation Σ(x − x̄)(y − ȳ) / √(Σ(x − x̄)²·Σ(y − ȳ)²), in [−1, 1]; null for fewer than three pairs and where either side has no
 * spread. Errors: WEIR_E_SHAPE where the lists differ in length.
 */
export function correlation(xs: readonly number[], ys: readonly number[]): number | null {
  assertSameLength("xs, ys", xs, ys);
  if (xs.length < 3) return null;
  const [x, y] = [mean(xs), mean(ys)];
  const products = sum(xs.map((value, i) => (value - x) * (at(ys, i) - y)));
  const scale = Math.sqrt(sum(xs.map((value) => (value - x) ** 2)) * sum(ys.map((value) => (value - y) ** 2)));
  return scale === 0 ? null : Math.max(-1, Math.min(1, products / scale));
}

/** Median of |x − median(x)|. */
export function medianAbsoluteDeviation(values: readonly number[]): number {
  const centre = median(values);
  return median(values.map((value) => Math.abs(value - centre)));
}

/**
 * Robust z-score of `value` against a history: (value − median) / max(1.4826·MAD, minScale).
 * `minScale` > 0 keeps a history of equal values from turning every small change into an infinite score.
 */
export function robustZ(value: number, history: readonly number[], minScale: number): number {
  const scale = Math.max(MAD_TO_STANDARD_DEVIATION * medianAbsoluteDeviation(history), minScale);
  return (value - median(history)) / scale;
}

/** A mean over sampled units of several values each, such as responses of several tokens. */
export interface MeanOfUnits {
  readonly mean: number;
  /** Null for fewer than two units. */
  readonly standardError: number | null;
}

/**
 * Mean of all values, x̄ = ΣSᵢ/Σnᵢ, where unit i has the sum Sᵢ of nᵢ values; its standard error takes whole units as what was sampled
 * (ratio estimator, Cochran, Sampling Techniques, Eq. 6.13): √(R/(R−1)·Σ(Sᵢ − x̄·nᵢ)²)/Σnᵢ for R units. Null without a value.
 */
export function meanOfUnits(units: readonly (readonly number[])[]): MeanOfUnits | null {
  const filled = units.filter((unit) => unit.length > 0);
  const count = sum(filled.map((unit) => unit.length));
  if (count === 0) return null;
  const sums = filled.map(sum);
  const centre = sum(sums) / count;
  if (filled.length < 2) return { mean: centre, standardError: null };
  const squares = sum(sums.map((total, i) => (total - centre * (filled[i] as readonly number[]).length) ** 2));
  return { mean: centre, standardError: Math.sqrt((filled.length / (filled.length - 1)) * squares) / count };
}

/** Share of `computed` positions that were padding, of which `real` were wanted; 0 where nothing was computed. */
export function paddingShare(real: number, computed: number): number {
  return computed > 0 ? Math.max(0, 1 - real / computed) : 0;
}

/** Kish's effective sample size of weights as a share of their number: (Σw)²/(n·Σw²), in [0, 1]; 0 where all are 0. */
export function effectiveShare(weights: readonly number[]): number {
  let sum = 0;
  let squares = 0;
  for (const weight of weights) {
    sum += weight;
    squares += weight * weight;
  }
  return squares === 0 ? 0 : (sum * sum) / (weights.length * squares);
}
