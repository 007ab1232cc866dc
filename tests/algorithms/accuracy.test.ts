import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isCorrect, successOf } from "../../src/algorithms/accuracy.js";

describe("a reward is correct", () => {
  it("from the threshold on, and not only at exactly 1", () => {
    expect([0, 0.49, 0.5, 0.7, 1, 10].map((reward) => isCorrect(reward, 0.5))).toEqual([
      false,
      false,
      true,
      true,
      true,
      true,
    ]);
    expect([-0.2, -0.1, 0].map((reward) => isCorrect(reward, -0.1))).toEqual([false, true, true]);
    expect([9.99, 10].map((reward) => isCorrect(reward, 10))).toEqual([false, true]);
  });

  it("where a sum of parts misses the threshold by a rounding error, and no more", () => {
    // 0.7 + 0.1 + 0.1 + 0.1 is 0.9999999999999999 in float64.
    expect(0.7 + 0.1 + 0.1 + 0.1).toBeLessThan(1);
    expect(isCorrect(0.7 + 0.1 + 0.1 + 0.1, 1)).toBe(true);
    expect(isCorrect(0.999_999, 1)).toBe(false);
  });
});

describe("the success that a reward stands for", () => {
  it("is its share of the threshold, within 0 and 1", () => {
    expect([-3, 0, 0.25, 1, 4].map((reward) => successOf(reward, 1))).toEqual([0, 0, 0.25, 1, 1]);
    expect([-10, 0, 5, 10, 12].map((reward) => successOf(reward, 10))).toEqual([0, 0, 0.5, 1, 1]);
  });

  it("has nothing between wrong and right where the threshold is not above 0", () => {
    expect([-5, -1, -0.5, 0].map((reward) => successOf(reward, -0.5))).toEqual([0, 0, 1, 1]);
    expect([-1, 0, 1].map((reward) => successOf(reward, 0))).toEqual([0, 1, 1]);
  });

  it("lies in [0, 1] and grows with the reward, for every scale", () => {
    const number = fc.double({ min: -100, max: 100, noNaN: true });
    fc.assert(
      fc.property(number, number, number, (a, b, correctAt) => {
        const [low, high] = [successOf(Math.min(a, b), correctAt), successOf(Math.max(a, b), correctAt)];
        expect(low).toBeGreaterThanOrEqual(0);
        expect(high).toBeLessThanOrEqual(1);
        expect(low).toBeLessThanOrEqual(high);
      }),
    );
  });
});
