/** Owns intervals of proportions (Wilson, Jeffreys): checks of the quantiles that the product uses. */
import { betaQuantile, studentQuantile } from "../../src/algorithms/beta.js";
import type { Interval } from "../../src/algorithms/intervals.js";
import { WeirError } from "../../src/errors.js";

/**
 * Quantile of the standard normal distribution, p in (0, 1): Student's t with 10^8 degrees of freedom,
 * which agrees with the normal to about 1e-8 at the quantiles that intervals use.
 */
export function normalQuantile(p: number): number {
  return studentQuantile(p, 1e8);
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

function checkCounts(correct: number, n: number): void {
  if (!(n >= 1) || !(correct >= 0) || correct > n) {
    throw new WeirError("WEIR_E_SHAPE", `a proportion needs 0 ≤ correct ≤ n and n ≥ 1, got ${correct} of ${n}`);
  }
}
