/** Jeffreys intervals of proportions: a check of the beta quantiles that the product uses. */
import { betaQuantile } from "../../src/algorithms/beta.js";
import type { Interval } from "../../src/algorithms/intervals.js";
import { WeirError } from "../../src/errors.js";

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
