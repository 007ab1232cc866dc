import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { betaQuantile, logGamma, regularisedBeta, studentQuantile } from "../../src/algorithms/beta.js";
import {
  boundedMeanInterval,
  meanInterval,
  normalQuantile,
  shareInterval,
  wilsonInterval,
} from "../../src/algorithms/intervals.js";
import { passAtK } from "../../src/algorithms/pass-at-k.js";
import { median, medianAbsoluteDeviation, quantile, robustZ } from "../../src/algorithms/statistics.js";
import { difficulty, isCarriedByPaper, smoothedDifficulty } from "../oracle/difficulty.js";
import { jeffreysInterval } from "../oracle/intervals.js";

// Literals below were recomputed in Python: Simpson integration of the beta density and statistics.NormalDist.
describe("special functions", () => {
  it("give the quantiles that tables give", () => {
    expect(normalQuantile(0.975)).toBeCloseTo(1.95996398454, 6);
    expect(studentQuantile(0.975, 2)).toBeCloseTo(4.302652729749464, 9);
    expect(studentQuantile(0.95, 9)).toBeCloseTo(1.83311293265, 9);
    expect(studentQuantile(0.05, 9)).toBeCloseTo(-1.83311293265, 9);
    expect(betaQuantile(0.5, 2, 2)).toBeCloseTo(0.5, 12);
    expect(betaQuantile(0.95, 1, 9)).toBeCloseTo(1 - 0.05 ** (1 / 9), 12);
    expect(regularisedBeta(0.3, 2, 5)).toBeCloseTo(0.579825, 9);
    expect(logGamma(10)).toBeCloseTo(Math.log(362880), 10);
    expect(logGamma(0.5)).toBeCloseTo(0.5 * Math.log(Math.PI), 12);
  });

  it("invert each other", () => {
    const shape = fc.double({ min: 0.5, max: 50, noNaN: true });
    fc.assert(
      fc.property(fc.double({ min: 0.01, max: 0.99, noNaN: true }), shape, shape, (p, a, b) => {
        expect(Math.abs(regularisedBeta(betaQuantile(p, a, b), a, b) - p)).toBeLessThan(1e-9);
      }),
    );
  });
});

describe("intervals", () => {
  it("of Wilson and Jeffreys for 8 of 10", () => {
    const wilson = wilsonInterval(8, 10);
    expect(wilson.low).toBeCloseTo(0.49016247154, 6);
    expect(wilson.high).toBeCloseTo(0.94331784855, 6);
    const jeffreys = jeffreysInterval(8, 10);
    expect(jeffreys.low).toBeCloseTo(0.49722550356, 9);
    expect(jeffreys.high).toBeCloseTo(0.95594058645, 9);
  });

  it("contain the share and stay in [0, 1]", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 300 }), fc.nat(300), (n, c) => {
        const correct = Math.min(c, n);
        for (const { low, high } of [wilsonInterval(correct, n), jeffreysInterval(correct, n)]) {
          expect(low).toBeGreaterThanOrEqual(0);
          expect(high).toBeLessThanOrEqual(1);
          expect(low).toBeLessThanOrEqual(correct / n);
          expect(high).toBeGreaterThanOrEqual(correct / n);
        }
      }),
      { numRuns: 60 },
    );
    expect(() => wilsonInterval(3, 2)).toThrow(/WEIR_E_SHAPE/);
  });

  it("of a mean over three seeds uses Student's t: 1, 2, 3 is 2 ± 2.4841", () => {
    const { mean, std, low, high } = meanInterval([1, 2, 3]);
    expect([mean, std]).toEqual([2, 1]);
    expect(low).toBeCloseTo(2 - 2.484137, 5);
    expect(high).toBeCloseTo(2 + 2.484137, 5);
    expect(() => meanInterval([1])).toThrow(/WEIR_E_SHAPE/);
  });

  it("of bounded values is Student's t on the logit scale", () => {
    // Python: h = 4.302652729749464 · 10 / √3 = 24.84137, u = 0.9, logit(0.9) ± 0.2484137 / 0.09.
    const nearTop = boundedMeanInterval([80, 90, 100], 0, 100);
    expect(nearTop.mean).toBe(90);
    expect(nearTop.low).toBeCloseTo(36.287015, 4);
    expect(nearTop.high).toBeCloseTo(99.301775, 4);
    // Shifted and scaled with its bounds: gains from −100 to 100 have twice the width.
    const gain = boundedMeanInterval([60, 80, 100], -100, 100);
    expect(gain.low).toBeCloseTo(2 * nearTop.low - 100, 9);
    expect(gain.high).toBeCloseTo(2 * nearTop.high - 100, 9);
    expect(() => boundedMeanInterval([0.2, 1.1], 0, 1)).toThrow(/WEIR_E_SHAPE.*got 1.1/);
    expect(() => boundedMeanInterval([0.2], 0, 1)).toThrow(/WEIR_E_SHAPE/);
  });

  it("of bounded values never pass the bounds, and hold the mean", () => {
    const share = fc.double({ min: 0, max: 1, noNaN: true });
    fc.assert(
      fc.property(fc.array(share, { minLength: 2, maxLength: 8 }), (values) => {
        const { mean, low, high } = boundedMeanInterval(values, 0, 1);
        expect(low).toBeGreaterThanOrEqual(0);
        expect(high).toBeLessThanOrEqual(1);
        expect(low).toBeLessThanOrEqual(mean + 1e-12);
        expect(high).toBeGreaterThanOrEqual(mean - 1e-12);
      }),
    );
    expect(boundedMeanInterval([100, 100], 0, 100)).toMatchObject({ mean: 100, low: 100, high: 100 });
  });

  it("of shares at 0 and at 100 % take the pooled counts: 0 and 384 of 384", () => {
    const seeds = (correct: number) => [1, 2, 3].map(() => ({ correct, n: 128 }));
    // Wilson of 0 of n: high = z² / (n + z²) with z² = 3.841458821.
    expect(shareInterval(seeds(0))).toMatchObject({ mean: 0, low: 0 });
    expect(shareInterval(seeds(0)).high).toBeCloseTo(3.841458821 / 387.841458821, 7);
    expect(shareInterval(seeds(128))).toMatchObject({ mean: 1, high: 1 });
    expect(shareInterval(seeds(128)).low).toBeCloseTo(384 / 387.841458821, 7);
    const spread = shareInterval([
      { correct: 102, n: 128 },
      { correct: 64, n: 64 },
    ]);
    expect(spread).toEqual(boundedMeanInterval([102 / 128, 1], 0, 1));
  });
});

describe("difficulty (Eq. 10)", () => {
  it("is 1/mean, infinite for a task never solved, which alone is carried by the paper", () => {
    expect(difficulty([1, 0, 0, 0])).toBe(4);
    expect(difficulty([0, 0])).toBe(Number.POSITIVE_INFINITY);
    expect([[0, 0], [0, 1], []].map(isCarriedByPaper)).toEqual([true, false, false]);
  });

  it("smoothed stays finite and grows surer with evidence", () => {
    const once = smoothedDifficulty([0]);
    const often = smoothedDifficulty(new Array(64).fill(0));
    expect(once.difficulty).toBe(3);
    expect(often.difficulty).toBe(66);
    expect(once.low).toBeLessThan(often.low);
    const half = (n: number) => smoothedDifficulty([...new Array(n).fill(0), ...new Array(n).fill(1)]);
    expect(half(2).high - half(2).low).toBeGreaterThan(half(40).high - half(40).low);
    expect(half(40).difficulty).toBe(2);
  });
});

describe("robust statistics", () => {
  it("ignore a minority of wild values", () => {
    expect(median([3, 1, 2])).toBe(2);
    expect(median([4, 1, 2, 3])).toBe(2.5);
    expect(medianAbsoluteDeviation([1, 1, 2, 2, 4, 6, 9])).toBe(1);
    expect(quantile([0, 10], 0.25)).toBe(2.5);
    expect(robustZ(10, [1, 2, 3, 4, 1e9], 1e-3)).toBeCloseTo((10 - 3) / 1.4826022185056018, 12);
    expect(robustZ(1.5, [1, 1, 1], 0.1)).toBeCloseTo(5, 12);
  });
});

describe("pass@k", () => {
  it("equals the chance that a random choice of k holds a right one", () => {
    const choose = (n: number, k: number): number => (k === 0 ? 1 : (choose(n - 1, k - 1) * n) / k);
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 20 }), fc.nat(20), fc.integer({ min: 1, max: 20 }), (n, c, k) => {
        fc.pre(c <= n && k <= n);
        const wrong = n - c >= k ? choose(n - c, k) / choose(n, k) : 0;
        expect(Math.abs(passAtK(n, c, k) - (1 - wrong))).toBeLessThan(1e-9);
      }),
    );
    expect(() => passAtK(4, 1, 5)).toThrow(/WEIR_E_SHAPE/);
  });
});
