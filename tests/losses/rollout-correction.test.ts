import { describe, expect, it } from "vitest";
import { effectiveShare } from "../../src/algorithms/statistics.js";
import { correctTokens, importanceWeights, keptTokens } from "../../src/losses/rollout-correction.js";

const old = [-1, -2, -3];
const sampler = [-1, -1, -4];

describe("importance weights of another sampler's tokens", () => {
  it("are ratios per token, cut at the upper bound (TIS)", () => {
    const weights = importanceWeights(old, sampler, { level: "token", lower: null, upper: 2 });
    expect(weights).toEqual([1, Math.exp(-1), 2]);
  });

  it("are 0 outside both bounds (IcePop)", () => {
    expect(importanceWeights(old, sampler, { level: "token", lower: 0.5, upper: 2 })).toEqual([1, 0, 0]);
  });

  it("are the product of the ratios for each token of a sequence", () => {
    expect(importanceWeights(old, [-1, -1, -3], { level: "sequence", lower: null, upper: 2 })).toEqual(
      new Array(3).fill(Math.exp(-1)),
    );
  });

  it("stay finite for a token that the sampler all but excluded", () => {
    const [weight] = importanceWeights([-1], [-1e9], { level: "token", lower: null, upper: 1e12 }) as [number];
    expect(weight).toBe(Math.exp(20));
  });

  it("refuse log-probs of another length", () => {
    expect(() => importanceWeights(old, [-1], { level: "token", lower: null, upper: 2 })).toThrow(/WEIR_E_SHAPE/);
    expect(() => keptTokens(old, [-1], { level: "token", estimator: "k1", lower: 0.5, upper: 2 })).toThrow(
      /WEIR_E_SHAPE/,
    );
  });
});

describe("the weights of a sequence", () => {
  it("are 1 without correction, the importance weights, or 0 where rejected", () => {
    const tis = { level: "token", lower: null, upper: 2 } as const;
    const within = { level: "token", estimator: "k1", lower: 0.5, upper: 2 } as const;
    expect(correctTokens(old, sampler, { importance: null, rejection: null })).toEqual({
      weights: [1, 1, 1],
      clipped: 0,
    });
    expect(correctTokens(old, sampler, { importance: tis, rejection: null })).toEqual({
      weights: [1, Math.exp(-1), 2],
      clipped: 1,
    });
    // Ratios 1, e^−1 = 0.37 and e = 2.7: the last two are rejected.
    expect(correctTokens(old, sampler, { importance: tis, rejection: within }).weights).toEqual([1, 0, 0]);
    expect(correctTokens(old, sampler, { importance: null, rejection: within }).weights).toEqual([1, 0, 0]);
  });

  it("count as clipped where IcePop removes a token", () => {
    const icepop = { level: "token", lower: 0.5, upper: 5 } as const;
    expect(correctTokens(old, sampler, { importance: icepop, rejection: null })).toEqual({
      weights: [1, 0, Math.exp(1)],
      clipped: 1,
    });
  });

  it("are 0, not NaN, for a rejected token that the sampler all but excluded", () => {
    const rejection = { level: "seq_max", estimator: "k3", lower: 0.5, upper: 0.1 } as const;
    const importance = { level: "sequence", lower: null, upper: Number.POSITIVE_INFINITY } as const;
    expect(correctTokens([-1, -1], [Number.NEGATIVE_INFINITY, -1], { importance, rejection }).weights).toEqual([0, 0]);
  });
});

describe("the effective share of weights", () => {
  it("is 1 where they are equal, 1/n where one counts alone, and 0 where none does", () => {
    expect(effectiveShare([2, 2, 2])).toBeCloseTo(1, 12);
    expect(effectiveShare([0, 3, 0, 0])).toBeCloseTo(0.25, 12);
    expect(effectiveShare([0, 0])).toBe(0);
  });
});
