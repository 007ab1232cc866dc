/** Intervals of means and of shares: Student's t, t on the logit scale for bounded values, Wilson for counts. */
import { WeirError } from "../errors.js";
import { studentQuantile } from "./beta.js";
import { mean, standardDeviation } from "./statistics.js";

/** Two-sided interval. */
export interface Interval {
  readonly low: number;
  readonly high: number;
}

export interface MeanInterval extends Interval {
  readonly mean: number;
  /** Sample standard deviation (ddof 1). */
  readonly std: number;
  readonly n: number;
}

/** Mean over seeds with its t interval: mean ± t_{n−1}·s/√n. Needs n ≥ 2. */
export function meanInterval(values: readonly number[], confidence = 0.95): MeanInterval {
  if (values.length < 2) {
    throw new WeirError("WEIR_E_SHAPE", `an interval of a mean needs at least two values, got ${values.length}`);
  }
  const centre = mean(values);
  const std = standardDeviation(values, 1);
  const half = (studentQuantile(0.5 + confidence / 2, values.length - 1) * std) / Math.sqrt(values.length);
  return { mean: centre, std, n: values.length, low: centre - half, high: centre + half };
}

/**
 * Mean of values within [lower, upper], with an interval that stays within these bounds: Student's t on the logit scale.
 * With u = (mean − lower)/(upper − lower) and h = t_{n−1}·s/√n, the ends are logit(u) ± h/((upper − lower)·u(1 − u)),
 * mapped back (delta method). Where every value is the same bound, the interval is that bound. Needs n ≥ 2.
 */
export function boundedMeanInterval(
  values: readonly number[],
  lower: number,
  upper: number,
  confidence = 0.95,
): MeanInterval {
  const outside = values.find((value) => !(value >= lower && value <= upper));
  if (outside !== undefined) {
    throw new WeirError("WEIR_E_SHAPE", `expected values from ${lower} to ${upper}, got ${outside}`);
  }
  const plain = meanInterval(values, confidence);
  const { mean: centre, std, high } = plain;
  const range = upper - lower;
  const u = (centre - lower) / range;
  if (std === 0 || u <= 0 || u >= 1) return { ...plain, low: centre, high: centre };
  const logit = Math.log(u / (1 - u));
  const half = (high - centre) / (range * u * (1 - u));
  const back = (x: number) => lower + range / (1 + Math.exp(-x));
  return { ...plain, low: back(logit - half), high: back(logit + half) };
}

/**
 * Quantile of the standard normal distribution, p in (0, 1): Student's t with 10^8 degrees of freedom,
 * which agrees with the normal to about 1e-8 at the quantiles that intervals use.
 */
export function normalQuantile(p: number): number {
  return studentQuantile(p, 1e8);
}

/** Wilson score interval of a share; `correct` in [0, n], n ≥ 1. Within [0, 1], and wider than a point also at its ends. */
export function wilsonInterval(correct: number, n: number, confidence = 0.95): Interval {
  if (!(n >= 1) || !(correct >= 0) || correct > n) {
    throw new WeirError("WEIR_E_SHAPE", `a share needs 0 ≤ correct ≤ n and n ≥ 1, got ${correct} of ${n}`);
  }
  const z = normalQuantile(0.5 + confidence / 2);
  const p = correct / n;
  const denominator = 1 + (z * z) / n;
  const centre = (p + (z * z) / (2 * n)) / denominator;
  const half = (z / denominator) * Math.sqrt((p * (1 - p)) / n + (z * z) / (4 * n * n));
  return { low: correct === 0 ? 0 : centre - half, high: correct === n ? 1 : centre + half };
}

/**
 * Mean of per-seed shares with its interval, both in [0, 1]. The seeds' spread gives it (`boundedMeanInterval`); where all seeds
 * are at 0 or all at 1, there is no spread, and the Wilson interval of the pooled counts takes its place. Needs two seeds or more.
 */
export function shareInterval(seeds: readonly { readonly correct: number; readonly n: number }[]): MeanInterval {
  const spread = boundedMeanInterval(
    seeds.map(({ correct, n }) => correct / n),
    0,
    1,
  );
  if (spread.mean > 0 && spread.mean < 1) return spread;
  const sum = (of: (seed: { readonly correct: number; readonly n: number }) => number) =>
    seeds.reduce((total, seed) => total + of(seed), 0);
  return {
    ...spread,
    ...wilsonInterval(
      sum(({ correct }) => correct),
      sum(({ n }) => n),
    ),
  };
}
