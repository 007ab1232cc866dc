/** Bootstrap intervals and paired tests, against values worked out apart from this code. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { bootstrapRatios } from "../../src/algorithms/bootstrap.js";
import { normalQuantile } from "../../src/algorithms/intervals.js";
import { permutationTest, signTest } from "../../src/algorithms/paired.js";
import { normal, uniform } from "../../src/algorithms/random.js";

const units = (values: readonly number[]) => values.map((sum) => ({ sum, count: 1 }));

describe("the bootstrap of ratios", () => {
  it("approaches mean ± z·s/√n for a mean of many values", () => {
    const values = Array.from({ length: 400 }, (_, i) => 0.5 + 0.1 * normal(7, i));
    const centre = values.reduce((a, b) => a + b, 0) / 400;
    const s = Math.sqrt(values.reduce((a, b) => a + (b - centre) ** 2, 0) / 400);
    const [interval] = bootstrapRatios([units(values)], { key: 3 });
    const half = (normalQuantile(0.975) * s) / 20;
    expect(interval?.low).toBeCloseTo(centre - half, 3);
    expect(interval?.high).toBeCloseTo(centre + half, 3);
  });

  it("draws units whole: ten copies of each of four responses are worth four, not forty", () => {
    const four = [0, 0, 1, 1];
    const clustered = four.map((value) => ({ sum: 10 * value, count: 10 }));
    const [single] = bootstrapRatios([units(four)], { key: 5 });
    const [copies] = bootstrapRatios([clustered], { key: 5 });
    expect(copies).toEqual(single);
    const [wrong] = bootstrapRatios([units(four.flatMap((value) => Array(10).fill(value)))], { key: 5 });
    expect((copies?.high ?? 0) - (copies?.low ?? 0)).toBeGreaterThan(2 * ((wrong?.high ?? 0) - (wrong?.low ?? 0)));
  });

  it("leaves resamples without a count out, gives none for one unit, and repeats itself under one key", () => {
    const rare = [{ sum: 1, count: 1 }, ...Array(5).fill({ sum: 0, count: 0 })];
    expect(bootstrapRatios([rare], { key: 1 })).toEqual([{ low: 1, high: 1 }]);
    expect(bootstrapRatios([units([1])], { key: 1 })).toEqual([null]);
    expect(bootstrapRatios([rare.map(() => ({ sum: 0, count: 0 }))], { key: 1 })).toEqual([null]);
    const values = units([0.1, 0.9, 0.4, 0.3]);
    expect(bootstrapRatios([values], { key: 9 })).toEqual(bootstrapRatios([values], { key: 9 }));
    expect(() => bootstrapRatios([values, units([1])], { key: 1 })).toThrow(/WEIR_E_SHAPE/);
  });
});

describe("the sign test", () => {
  it("is two-sided and exact: values of Python's math.comb", () => {
    const of = (wins: number, losses: number) => signTest([...Array(wins).fill(1), ...Array(losses).fill(-1), 0]).p;
    expect(of(8, 2)).toBeCloseTo(0.109375, 12);
    expect(of(5, 0)).toBeCloseTo(0.0625, 12);
    expect(of(3, 3)).toBe(1);
    // 2^1300 is beyond a double.
    expect(of(700, 600)).toBeCloseTo(0.0060157938610449525, 9);
    expect(signTest([0, 0])).toEqual({ wins: 0, losses: 0, ties: 2, p: 1 });
    expect(signTest([0.3, -0.1, 0.1 + 0.2 - 0.3])).toMatchObject({ wins: 1, losses: 1, ties: 1 });
  });
});

describe("the permutation test", () => {
  it("goes through every sign where there are few: 6 of 32 sums are as far out (Python's itertools.product)", () => {
    expect(permutationTest([0.5, 0.25, -0.25, 1, 0.75, 0], 1)).toEqual({ p: 0.1875, exact: true });
    expect(permutationTest([0, 0], 1)).toEqual({ p: 1, exact: true });
    expect(() => permutationTest([], 1)).toThrow(/WEIR_E_SHAPE/);
  });

  it("is near the normal approximation where signs are drawn, and never 0", () => {
    const differences = Array.from({ length: 100 }, (_, i) => (uniform(4, i) < 0.6 ? 1 : -1));
    const total = Math.abs(differences.reduce((a, b) => a + b, 0));
    const { p, exact } = permutationTest(differences, 2);
    expect(exact).toBe(false);
    // All are ±1, so the exact value is that of the sign test.
    expect(Math.abs(p - signTest(differences).p)).toBeLessThan(0.012);
    expect(total).toBeGreaterThan(0);
    expect(permutationTest(Array(60).fill(1), 2).p).toBeCloseTo(1 / 20_001, 9);
  });

  it("does not depend on which of the two is called first", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: -4, max: 4 }), { minLength: 1, maxLength: 12 }), (quarters) => {
        const differences = quarters.map((q) => q / 4);
        const turned = differences.map((d) => -d);
        expect(permutationTest(turned, 1).p).toBe(permutationTest(differences, 1).p);
        expect(signTest(turned).p).toBe(signTest(differences).p);
      }),
    );
  });
});
