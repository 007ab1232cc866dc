import { describe, expect, it } from "vitest";
import type { Distribution } from "../../src/contracts/distribution.js";
import { Draws, drawn } from "../../src/simulation/latency.js";

const many = (distribution: Distribution) =>
  Array.from({ length: 4000 }, (_, counter) => drawn(distribution, 7, counter)).toSorted((a, b) => a - b);
const at = (values: readonly number[], q: number) => values[Math.round(q * (values.length - 1))] as number;

describe("latencies", () => {
  it("are a number where that is what was asked for", () => {
    expect(drawn(2.5, 1, 1)).toBe(2.5);
  });

  it("are even between two ends", () => {
    const values = many({ uniform: [2, 4] });
    expect(at(values, 0)).toBeGreaterThanOrEqual(2);
    expect(at(values, 1)).toBeLessThan(4);
    expect(at(values, 0.5)).toBeCloseTo(3, 1);
    expect(at(values, 0.25)).toBeCloseTo(2.5, 1);
  });

  // Quantiles of the log-normal: median · exp(sigma · z), z(0.5) = 0, z(0.9) = 1.2816.
  it("are log-normal with the median and sigma given", () => {
    const values = many({ lognormal: { median: 10, sigma: 0.5 } });
    expect(at(values, 0.5) / 10).toBeCloseTo(1, 1);
    expect(at(values, 0.9) / (10 * Math.exp(0.5 * 1.2816))).toBeCloseTo(1, 1);
  });

  it("follow measured quantiles, with straight lines between them", () => {
    const values = many({ quantiles: [1, 2, 10] });
    expect(at(values, 0.5)).toBeCloseTo(2, 1);
    expect(at(values, 0.75)).toBeCloseTo(6, 0);
    expect(at(values, 0)).toBeGreaterThanOrEqual(1);
    expect(at(values, 1)).toBeLessThanOrEqual(10);
  });

  it("I12: do not depend on what else is drawn", () => {
    const [alone, among] = [new Draws(3, "test", 0), new Draws(3, "test", 0)];
    const take = (draws: Draws) => draws.of("reward", { uniform: [0, 1] });
    const first = [take(alone), take(alone), take(alone)];
    const second = [1, 2, 3].map(() => {
      among.next("other");
      return take(among);
    });
    expect(second).toEqual(first);
    expect(new Set(first).size).toBe(3);
    expect(take(new Draws(3, "test", 1))).not.toBe(first[0]);
  });
});
