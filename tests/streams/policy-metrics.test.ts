/** KL of an update, its error, and ratios, against numbers by hand and a float64 oracle. */
import { describe, expect, it } from "vitest";
import { measureKl, movedTokens } from "../../src/algorithms/kl.js";
import { meanOfUnits } from "../../src/algorithms/statistics.js";
import {
  bucketMeans,
  gradientMetrics,
  referenceError,
  updateKlMetrics,
} from "../../src/streams/telemetry/policy-metrics.js";

describe("the KL of an update", () => {
  const rows = [
    { before: [-1, -2, -0.5], after: [-1.1, -1.7, -0.5] },
    { before: [-3], after: [-2.2] },
    { before: [], after: [] },
  ];
  const pairs = rows.flatMap(({ before, after }) => before.map((value, t) => [value, after[t] as number] as const));
  const k3 = pairs.map(([before, after]) => Math.exp(after - before) - (after - before) - 1);

  it("is KL(before || after) by k3 and k1 over all tokens, drawn before the step", () => {
    const found = measureKl(rows);
    expect(found?.tokens).toBe(4);
    expect(found?.k3).toBeCloseTo(k3.reduce((a, b) => a + b, 0) / 4, 14);
    expect(found?.k1).toBeCloseTo((0.1 - 0.3 + 0 - 0.8) / 4, 14);
    expect(found?.max).toBeCloseTo(Math.exp(0.8) - 0.8 - 1, 14);
    expect(movedTokens(rows[0] as (typeof rows)[number])).toEqual(k3.slice(0, 3).map((x) => expect.closeTo(x, 14)));
  });

  it("is the divergence itself where tokens come as often as the policy before draws them", () => {
    const [p, q] = [
      [0.5, 0.25, 0.25],
      [0.25, 0.5, 0.25],
    ] as const;
    const exact = p.reduce((sum, own, x) => sum + own * Math.log(own / (q[x] as number)), 0);
    const drawn = [0, 0, 1, 2];
    const row = {
      before: drawn.map((x) => Math.log(p[x] as number)),
      after: drawn.map((x) => Math.log(q[x] as number)),
    };
    expect(measureKl([row])?.k1).toBeCloseTo(exact, 14);
    expect(measureKl([row])?.k3).toBeCloseTo(exact, 14);
  });

  it("has an error over whole responses: the values of one response are one draw", () => {
    // Sums S and counts n of the two responses that have tokens; mean m = (S1+S2)/4; sqrt(2·Σ(S−m·n)²)/4.
    const [s1, s2] = [(k3[0] as number) + (k3[1] as number) + (k3[2] as number), k3[3] as number];
    const m = (s1 + s2) / 4;
    const expected = Math.sqrt(2 * ((s1 - 3 * m) ** 2 + (s2 - m) ** 2)) / 4;
    expect(measureKl(rows)?.standardError).toBeCloseTo(expected, 14);
    expect(measureKl(rows.slice(0, 1))?.standardError).toBeNull();
    expect(measureKl([])).toBeNull();
  });

  it("leaves out tokens that do not count, and is not finite where a log-prob is not", () => {
    const masked = measureKl([{ before: [Number.NaN, -1], after: [-9, -1.5] }]);
    expect(masked).toMatchObject({ tokens: 1, k1: 0.5 });
    expect(measureKl([{ before: [-1], after: [Number.NaN] }])?.k3).toBeNaN();
    expect(measureKl([{ before: [-1, -1], after: [Number.NaN, -1] }])?.max).toBeNaN();
  });

  it("covers the truth: the standard error is the spread of the mean over repeated draws", () => {
    // Responses of 1 or 5 equal tokens, value 0 or 1 each with probability 1/2: a plain error over tokens would be too small.
    let seed = 1;
    const coin = () => {
      seed = (seed * 48271) % 2147483647;
      return seed % 2 === 0;
    };
    const means: number[] = [];
    const errors: number[] = [];
    for (let i = 0; i < 400; i++) {
      const units = Array.from({ length: 40 }, (_, r) => new Array<number>(r % 2 === 0 ? 1 : 5).fill(coin() ? 1 : 0));
      const { mean, standardError } = meanOfUnits(units) as { mean: number; standardError: number };
      means.push(mean);
      errors.push(standardError);
    }
    const centre = means.reduce((a, b) => a + b, 0) / means.length;
    const spread = Math.sqrt(means.reduce((a, b) => a + (b - centre) ** 2, 0) / (means.length - 1));
    const error = errors.reduce((a, b) => a + b, 0) / errors.length;
    expect(Math.abs(error / spread - 1)).toBeLessThan(0.15);
  });

  it("of several optimiser steps is their mean by tokens, with the error of independent measurements", () => {
    const measures = [
      { k3: 0.1, k1: -0.02, standardError: 0.01, max: 0.5, tokens: 30 },
      { k3: 0.2, k1: 0.04, standardError: 0.03, max: 0.4, tokens: 10 },
    ];
    const values = updateKlMetrics(measures);
    expect(values["kl/update"]).toBeCloseTo((3 + 2) / 40, 14);
    expect(values["kl/update_k1"]).toBeCloseTo((-0.6 + 0.4) / 40, 14);
    expect(values["kl/update_max"]).toBe(0.5);
    expect(values["kl/update_se"]).toBeCloseTo(Math.sqrt(0.3 ** 2 + 0.3 ** 2) / 40, 14);
    expect(updateKlMetrics([])).toEqual({});
    const single = { ...(measures[0] as (typeof measures)[number]), standardError: null };
    expect(updateKlMetrics([single])).not.toHaveProperty("kl/update_se");
  });
});

describe("ratios and advantages", () => {
  it("give percentiles, the effective share, the negative share and the share beyond the clip range", () => {
    const ratios = Array.from({ length: 101 }, (_, i) => 0.5 + i / 100);
    const advantages = ratios.map((_, i) => (i < 25 ? -3 : 2));
    const values = gradientMetrics([
      { ratios: ratios.slice(0, 60), advantages: advantages.slice(0, 60), clipped: { low: 4, high: 1 } },
      { ratios: ratios.slice(60), advantages: advantages.slice(60), clipped: { low: 0, high: 2 } },
    ]);
    expect(values["ratio/p01"]).toBeCloseTo(0.51, 12);
    expect(values["ratio/p99"]).toBeCloseTo(1.49, 12);
    const [one, two] = [ratios.reduce((a, b) => a + b, 0), ratios.reduce((a, b) => a + b * b, 0)];
    expect(values["ratio/effective_share"]).toBeCloseTo((one * one) / (101 * two), 12);
    expect(values["advantage/negative_token_share"]).toBeCloseTo(25 / 101, 12);
    expect(values["advantage/max_abs"]).toBe(3);
    expect(values["clip/fraction_low"]).toBeCloseTo(4 / 101, 12);
    expect(values["clip/fraction_high"]).toBeCloseTo(3 / 101, 12);
  });

  it("I1: are absent without a token, and clip shares without a clip", () => {
    expect(gradientMetrics([])).toEqual({});
    expect(gradientMetrics([{ ratios: [1], advantages: [1], clipped: null }])).not.toHaveProperty("clip/fraction_low");
  });
});

describe("values by length bucket", () => {
  const phases = [
    { k: 1, minTokens: 0, maxTokens: 10 },
    { k: 2, minTokens: 10, maxTokens: 20 },
    { k: 3, minTokens: 20, maxTokens: 30 },
  ];
  const responses = [
    { promptTokens: 4, values: [1, 2, 3] },
    { promptTokens: 9, values: [6] },
    { promptTokens: 12, values: [0.5, Number.NaN] },
  ];

  it("are token means over the responses of each bucket; a bucket without one is absent", () => {
    expect(bucketMeans("kl/ref_bucket_", responses, phases)).toEqual({
      "kl/ref_bucket_1": 3,
      "kl/ref_bucket_2": 0.5,
    });
  });

  it("have an error over responses", () => {
    // Mean 12.5/5 = 2.5; Σ(S − 2.5n)²: (6−7.5)² + (6−2.5)² + (0.5−2.5)²; times 3/2.
    expect(referenceError(responses)["kl/ref_se"]).toBeCloseTo(Math.sqrt(1.5 * (2.25 + 12.25 + 4)) / 5, 12);
    expect(referenceError(responses.slice(0, 1))).toEqual({});
  });
});
