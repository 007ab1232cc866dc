import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { advantagesByGroup, groupAdvantages, leaveOneOutAdvantages } from "../../src/algorithms/advantages.js";
import { broadcastAdvantages } from "../oracle/advantages.js";

const rewards = fc.array(fc.double({ min: -2, max: 2, noNaN: true }), { minLength: 2, maxLength: 16 });

describe("group advantages (Eq. 5)", () => {
  it("are exactly 0 for equal rewards, whatever the rounding of their mean", () => {
    expect(groupAdvantages([0.1, 0.1, 0.1])).toEqual([0, 0, 0]);
    expect(leaveOneOutAdvantages([0.1, 0.1, 0.1])).toEqual([0, 0, 0]);
  });

  it("keep the reward of a group of one, scaled only where the release scales it", () => {
    expect(groupAdvantages([1])).toEqual([1 / 1.000001]);
    expect(groupAdvantages([1], { normaliseByStd: false })).toEqual([1]);
    expect(leaveOneOutAdvantages([1])).toEqual([1]);
  });

  it("sum to 0 and keep the order of rewards", () => {
    fc.assert(
      fc.property(rewards, fc.constantFrom<"loop" | "vectorised">("loop", "vectorised"), (r, variant) => {
        const advantages = groupAdvantages(r, { variant });
        expect(Math.abs(advantages.reduce((a, b) => a + b, 0))).toBeLessThan(1e-6);
        r.forEach((reward, i) => {
          r.forEach((other, j) => {
            if (reward > other) expect(advantages[i]).toBeGreaterThanOrEqual(advantages[j] as number);
          });
        });
      }),
    );
  });

  it("of RLOO are the reward minus the mean of the others", () => {
    fc.assert(
      fc.property(rewards, (r) => {
        leaveOneOutAdvantages(r).forEach((advantage, i) => {
          const others = r.filter((_, j) => j !== i);
          const expected = (r[i] as number) - others.reduce((a, b) => a + b, 0) / others.length;
          expect(Math.abs(advantage - expected)).toBeLessThan(1e-9);
        });
      }),
    );
  });

  it("refuse empty groups and rewards that are no numbers", () => {
    expect(() => groupAdvantages([])).toThrow(/WEIR_E_SHAPE/);
    expect(() => groupAdvantages([1, Number.NaN])).toThrow(/WEIR_E_NON_FINITE.*index 1/);
    expect(() => leaveOneOutAdvantages([Number.POSITIVE_INFINITY])).toThrow(/WEIR_E_NON_FINITE/);
    expect(() => advantagesByGroup([1], [], groupAdvantages)).toThrow(/WEIR_E_SHAPE/);
    expect(() => broadcastAdvantages([1], [])).toThrow(/WEIR_E_SHAPE/);
  });
});
