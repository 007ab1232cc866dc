import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type AccumulationExit,
  accumulateRound,
  emptyAccumulation,
  exhaustedError,
  hasVariance,
  leastScored,
} from "../../src/algorithms/dynamic-sampling.js";
import { overlongPenalty } from "../../src/algorithms/overlong.js";
import { phaseOf, phasesFrom } from "../../src/algorithms/phases.js";
import { learningRateMultiplier } from "../../src/algorithms/schedules.js";
import { truncateMiddle } from "../../src/algorithms/truncation.js";
import { entropy, logprobs, logSumExp } from "../oracle/logprob.js";
import { maskedMean, maskedVariance, maskedWhiten } from "../oracle/masked.js";
import { shapedRewards } from "../oracle/overlong.js";

describe("overlong shaping (Eq. 7)", () => {
  const options = { maxTokens: 10_000, bufferTokens: 1_000, factor: 1 };

  it("differs between paper and release only beyond the longest response", () => {
    expect(overlongPenalty(10_500, { ...options, mode: "paper" })).toBe(-1);
    expect(overlongPenalty(10_500, { ...options, mode: "released" })).toBe(-1.5);
    fc.assert(
      fc.property(fc.nat(10_000), (length) => {
        const paper = overlongPenalty(length, { ...options, mode: "paper" });
        expect(overlongPenalty(length, { ...options, mode: "released" })).toBe(paper);
        expect(paper).toBeGreaterThanOrEqual(-1);
        expect(paper).toBeLessThanOrEqual(0);
      }),
    );
  });

  it("is off with a buffer of 0, and refuses one longer than the response", () => {
    expect(overlongPenalty(99_999, { ...options, bufferTokens: 0, mode: "paper" })).toBe(0);
    expect(() => overlongPenalty(1, { ...options, bufferTokens: 10_001, mode: "paper" })).toThrow(/WEIR_E_CONFIG/);
    expect(() => shapedRewards([1], [], { ...options, mode: "paper" })).toThrow(/WEIR_E_SHAPE/);
  });
});

describe("dynamic sampling", () => {
  const bounds = { groupsPerStep: 2, maxRounds: 2 };
  const metric = (group: readonly number[]) => group;

  it("drops equal rewards exactly, whatever their rounding", () => {
    expect(hasVariance([0.1, 0.1, 0.1])).toBe(false);
    expect(hasVariance([0, 1])).toBe(true);
    expect(hasVariance([])).toBe(false);
  });

  it("ends as incomplete, complete or exhausted, and says what is missing", () => {
    const none = [
      [0, 0],
      [1, 1],
    ];
    const first = accumulateRound(emptyAccumulation<number[]>(), [...none, [0, 1]], metric, bounds);
    expect(first).toEqual({
      kind: "incomplete",
      state: { kept: [[0, 1]], rounds: 1, zeroVariance: 2 },
      missing: 1,
    });
    const second = accumulateRound(first.state, none, metric, bounds);
    expect(second).toMatchObject({ kind: "exhausted", missing: 1, state: { rounds: 2, zeroVariance: 4 } });
    const exit = second as Extract<AccumulationExit<number[]>, { kind: "exhausted" }>;
    expect(exhaustedError(exit, bounds).message).toMatch(
      /WEIR_E_DYNAMIC_SAMPLING_EXHAUSTED: expected 2 .* within 2 rounds, got 1 \(4 were dropped/,
    );
    const done = accumulateRound(first.state, [[1, 0], [0, 2], ...none], metric, bounds);
    expect(done).toMatchObject({
      kind: "complete",
      trained: [
        [0, 1],
        [1, 0],
      ],
      surplus: [[0, 2]],
    });
    const unbounded = { ...bounds, maxRounds: 0 };
    expect(accumulateRound(second.state, none, metric, unbounded).kind).toBe("incomplete");
  });
});

describe("the scored responses that a group needs", () => {
  it("are a share of the group, rounded up, at least two and at least what the advantage compares", () => {
    const of = (share: number) => [1, 2, 3, 4, 8, 10, 16].map((size) => leastScored(size, share));
    expect(of(0.75)).toEqual([1, 2, 3, 3, 6, 8, 12]);
    expect(of(0.01)).toEqual([1, 2, 2, 2, 2, 2, 2]);
    expect(of(1)).toEqual([1, 2, 3, 4, 8, 10, 16]);
    // 0.7 · 10 is 7.000000000000001 in floating point.
    expect(leastScored(10, 0.7)).toBe(7);
    expect(leastScored(8, 0.25, 3)).toBe(3);
    expect(leastScored(2, 0.25, 3)).toBe(2);
  });
});

describe("log-probs and entropy", () => {
  it("sum to 1 and lie between 0 and log V at any temperature", () => {
    const logits = fc.array(fc.double({ min: -50, max: 50, noNaN: true }), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(logits, fc.double({ min: 0.1, max: 5, noNaN: true }), (values, temperature) => {
        const total = logprobs(values, temperature).reduce((sum, value) => sum + Math.exp(value), 0);
        expect(Math.abs(total - 1)).toBeLessThan(1e-9);
        expect(entropy(values, temperature)).toBeGreaterThanOrEqual(-1e-12);
        expect(entropy(values, temperature)).toBeLessThanOrEqual(Math.log(values.length) + 1e-9);
      }),
    );
    expect(logSumExp([-1e300, 0])).toBe(0);
    expect(() => entropy([1], 0)).toThrow(/WEIR_E_CONFIG/);
  });
});

describe("masked reductions", () => {
  it("need something unmasked, and whiten to mean 0 and variance 1", () => {
    expect(() => maskedMean([[1]], [[0]])).toThrow(/WEIR_E_SHAPE/);
    expect(() => maskedVariance([[1]], [[1]])).toThrow(/WEIR_E_SHAPE/);
    const mask = [[1, 1, 1, 0]];
    const white = maskedWhiten([[1, 2, 6, Number.NaN]], mask);
    expect(maskedMean(white, mask)).toBeCloseTo(0, 12);
    expect(maskedVariance(white, mask)).toBeCloseTo(1, 6);
    expect(maskedMean(maskedWhiten([[1, 2, 6, 0]], mask, false), mask)).toBeCloseTo(3, 12);
  });
});

describe("phases (Eq. 9)", () => {
  const bounds = fc.uniqueArray(fc.integer({ min: 1, max: 1000 }), { minLength: 1, maxLength: 6 });

  it("partition the lengths: each in [1, L_K] lies in exactly one", () => {
    fc.assert(
      fc.property(bounds, fc.integer({ min: -5, max: 1200 }), (raw, length) => {
        const sorted = [...raw].sort((a, b) => a - b);
        const phases = phasesFrom(sorted.map((maxTokens) => ({ maxTokens, steps: 1 })));
        const holding = phases.filter(({ minTokens, maxTokens }) => length > minTokens && length <= maxTokens);
        const inside = length >= 1 && length <= (sorted.at(-1) as number);
        expect(holding).toHaveLength(inside ? 1 : 0);
        expect(phaseOf(length, sorted)).toBe(holding[0]?.k ?? null);
      }),
    );
  });

  it("refuse bounds that do not grow", () => {
    expect(() => phaseOf(1, [20, 20])).toThrow(/WEIR_E_CONFIG.*20, 20/);
    expect(() => phasesFrom([{ maxTokens: 0, steps: 1 }])).toThrow(/WEIR_E_CONFIG/);
  });
});

describe("middle truncation", () => {
  it("keeps at most the limit, head and tail in order, the odd one in the tail", () => {
    fc.assert(
      fc.property(fc.nat(60), fc.integer({ min: 1, max: 70 }), (n, max) => {
        const items = Array.from({ length: n }, (_, i) => i);
        const kept = truncateMiddle(items, max);
        expect(kept).toHaveLength(Math.min(n, max));
        expect(kept).toEqual([...kept].sort((a, b) => a - b));
        if (n > max) expect(kept.filter((i) => i >= n - Math.ceil(max / 2))).toHaveLength(Math.ceil(max / 2));
      }),
    );
    expect(() => truncateMiddle([1], 0)).toThrow(/WEIR_E_SHAPE/);
  });
});

describe("learning-rate schedules", () => {
  it("rise linearly, then stay or fall along a cosine to the floor", () => {
    const cosine = { kind: "cosine", warmupSteps: 10, totalSteps: 100, minRatio: 0.1 } as const;
    expect([0, 5, 10, 55, 100, 500].map((step) => learningRateMultiplier(step, cosine))).toEqual([
      0,
      0.5,
      1,
      expect.closeTo(0.55, 12),
      0.1,
      0.1,
    ]);
    const constant = { kind: "constant", warmupSteps: 0, totalSteps: 0 } as const;
    expect([0, 9].map((step) => learningRateMultiplier(step, constant))).toEqual([1, 1]);
    expect(() => learningRateMultiplier(-1, constant)).toThrow(/WEIR_E_CONFIG/);
  });
});
