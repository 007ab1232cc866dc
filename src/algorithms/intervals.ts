/** Owns uncertainty statements: intervals for accuracies (Wilson, Jeffreys) and for means over seeds (Student's t). */
import { WeirError } from "../errors.js";
import { betaQuantile, normalQuantile, studentQuantile } from "./beta.js";
import { mean, standardDeviation } from "./statistics.js";

/** Two-sided interval. */
export interface Interval {
  readonly low: number;
  readonly high: number;
}

/** Wilson score interval of a proportion; `correct` in [0, n], n ≥ 1. */
export function wilsonInterval(correct: number, n: number, confidence = 0.95): Interval {
  checkCounts(correct, n);
  const z = normalQuantile(0.5 + confidence / 2);
  const p = correct / n;
  const denominator = 1 + (z * z) / n;
  const centre = (p + (z * z) / (2 * n)) / denominator;
  const half = (z / denominator) * Math.sqrt((p * (1 - p)) / n + (z * z) / (4 * n * n));
  return { low: correct === 0 ? 0 : centre - half, high: correct === n ? 1 : centre + half };
}

/** Jeffreys interval: quantiles of Beta(correct + ½, n − correct + ½), 0 and 1 at the edges (Brown, Cai, DasGupta 2001). */
export function jeffreysInterval(correct: number, n: number, confidence = 0.95): Interval {
  checkCounts(correct, n);
  const tail = (1 - confidence) / 2;
  const a = correct + 0.5;
  const b = n - correct + 0.5;
  return {
    low: correct === 0 ? 0 : betaQuantile(tail, a, b),
    high: correct === n ? 1 : betaQuantile(1 - tail, a, b),
  };
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

function checkCounts(correct: number, n: number): void {
  if (!(n >= 1) || !(correct >= 0) || correct > n) {
    throw new WeirError("WEIR_E_SHAPE", `a proportion needs 0 ≤ correct ≤ n and n ≥ 1, got ${correct} of ${n}`);
  }
}
