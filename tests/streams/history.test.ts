/** What the steps before say of a metric, within a phase and across its border. */
import { describe, expect, it } from "vitest";
import type { MetricValues } from "../../src/contracts/metrics.js";
import {
  deviationOf,
  type Histories,
  historiesOf,
  lastOf,
  NO_HISTORIES,
  observed,
  type Scales,
} from "../../src/streams/telemetry/history.js";

const SCALES: Scales = {
  "entropy/mean": { kind: "linear", least: 0.01 },
  "gradient/norm": { kind: "log", least: 0.25 },
};
const WINDOW = 20;

const following = (histories: Histories, phase: number, list: readonly MetricValues[]) =>
  list.reduce<Histories>((before, values) => observed(before, { phase, values }, SCALES, WINDOW), histories);

/** Entropy 0.50, 0.52, 0.54, 0.56, 0.58 in turn. */
const steady = (count: number, level = 0.5) =>
  Array.from({ length: count }, (_, i) => ({ "entropy/mean": level + 0.02 * (i % 5) }));

const entropy = (histories: Histories, phase: number, value: number) =>
  deviationOf(histories, { phase, metric: "entropy/mean", value }, SCALES, WINDOW);

describe("a deviation", () => {
  it("is a robust z-score against the median of the steps before", () => {
    const histories = following(NO_HISTORIES, 1, steady(10));
    // Median 0.54, MAD 0.02: (0.70 − 0.54) / (1.4826 · 0.02).
    expect(entropy(histories, 1, 0.7)).toEqual({
      z: expect.closeTo(5.396, 3),
      level: expect.closeTo(0.54, 12),
      border: false,
    });
  });

  it("is judged by factors on a log scale, a value of 0 included", () => {
    const norms = [1, 2, 1, 2, 1, 2, 1, 2].map((norm) => ({ "gradient/norm": norm }));
    const histories = following(NO_HISTORIES, 1, norms);
    const of = (value: number) => deviationOf(histories, { phase: 1, metric: "gradient/norm", value }, SCALES, WINDOW);
    // Median √2, MAD ln(2)/2: ln(100/√2) / (1.4826 · 0.34657).
    expect(of(100)).toMatchObject({ z: expect.closeTo(8.288, 3), level: expect.closeTo(Math.SQRT2, 9) });
    expect(Number.isFinite(of(0)?.z)).toBe(true);
  });

  it("is unknown for fewer than eight steps, and for metrics without a scale", () => {
    expect(entropy(following(NO_HISTORIES, 1, steady(7)), 1, 9)).toBeNull();
    const histories = following(NO_HISTORIES, 1, Array(10).fill({ "loss/total": 1 }));
    expect(deviationOf(histories, { phase: 1, metric: "loss/total", value: 9 }, SCALES, WINDOW)).toBeNull();
  });

  it("does not take noise around a constant history for a jump", () => {
    const histories = following(NO_HISTORIES, 1, Array(10).fill({ "entropy/mean": 0.5 }));
    expect(entropy(histories, 1, 0.53)?.z).toBeCloseTo(3, 9);
  });

  it("takes no value in that is not finite, and none of more steps than the window", () => {
    const broken = following(NO_HISTORIES, 1, [...steady(10), { "entropy/mean": Number.NaN }, {}]);
    expect(entropy(broken, 1, 0.7)?.z).toBeCloseTo(5.396, 3);
    const moved = following(NO_HISTORIES, 1, [...steady(20), ...steady(20, 3)]);
    expect(entropy(moved, 1, 3.04)?.z).toBeCloseTo(0, 9);
  });
});

describe("across the border of a phase", () => {
  const before = following(NO_HISTORIES, 1, steady(10));

  it("the first step is judged against the phase before, and said to be near a border", () => {
    expect(entropy(before, 2, 0.7)).toMatchObject({ z: expect.closeTo(5.396, 3), border: true });
  });

  it("a step may be at the old level or the new one until the level is known", () => {
    const one = following(before, 2, [{ "entropy/mean": 2 }]);
    expect(entropy(one, 2, 2.02)).toMatchObject({ z: expect.closeTo(0.674, 3), level: 2, border: true });
    expect(entropy(one, 2, 0.54)).toMatchObject({ z: expect.closeTo(0, 9), border: true });
  });

  it("after four steps the level has moved and the spread is kept", () => {
    const four = following(before, 2, steady(4, 2));
    // Median of the four 2.03; the spread of all fourteen is that of the old ten.
    expect(entropy(four, 2, 2.19)).toMatchObject({ z: expect.closeTo(5.396, 1), border: false });
    expect(entropy(four, 2, 0.54)?.z).toBeLessThan(-40);
  });

  it("a second border before the level was known forgets nothing", () => {
    const twice = following(following(before, 2, steady(2, 2)), 3, steady(4, 4));
    expect(entropy(twice, 3, 4.03)).toMatchObject({ border: false });
    expect(Math.abs(entropy(twice, 3, 4.03)?.z ?? 9)).toBeLessThan(1);
  });
});

describe("the last values", () => {
  it("are given in the metric's own unit, where there are enough of them and no border is near", () => {
    const histories = historiesOf(1, [["gradient/norm", [1, 2, 4]]], SCALES);
    expect(lastOf(histories, "gradient/norm", SCALES, 2)).toEqual([expect.closeTo(2, 12), expect.closeTo(4, 12)]);
    expect(lastOf(histories, "gradient/norm", SCALES, 4)).toBeNull();
    expect(lastOf(following(histories, 2, [{ "gradient/norm": 1 }]), "gradient/norm", SCALES, 2)).toBeNull();
  });
});
