/** Numbers of an evaluation, worked out by hand. */
import { describe, expect, it } from "vitest";
import { compareResponses } from "../../src/actors/evaluation/compare.js";
import { bucketLabels, DEFAULT_BUCKETS, lengthBucket } from "../../src/actors/evaluation/length-buckets.js";
import { evaluationReport } from "../../src/actors/evaluation/report.js";
import { passCounts, summarise, summariseBenchmark } from "../../src/actors/evaluation/summary.js";
import { responseOf } from "./responses.js";

const OPTIONS = {
  samples: 4,
  correctAt: 1,
  bucketOf: (tokens: number | null) => lengthBucket(tokens, [10, 20]),
  bucketLabels: bucketLabels([10, 20]),
  seed: 1,
};

/** Four samples each: a is right twice, b never, of c two have no score and one is right. */
const RESPONSES = [
  ...[1, 0, 1, 0].map((value, sample) => responseOf({ item: "a", row: 0, sample, questionTokens: 5, value })),
  ...[0, 0, 0.5, 0].map((value, sample) => responseOf({ item: "b", row: 1, sample, questionTokens: 15, value })),
  ...[1, null, 0, null].map((value, sample) => responseOf({ item: "c", row: 2, sample, questionTokens: 30, value })),
];

describe("the summary of a benchmark", () => {
  it("counts failures in the one denominator and not in the other, and names both", () => {
    const { all } = summariseBenchmark("b", RESPONSES, OPTIONS);
    expect(all).toMatchObject({ items: 3, responses: 12, scored: 10, unscored: 2, unanswered: 0 });
    // Σ value = 2 + 0.5 + 1
    expect(all.scoreOverAll?.value).toBeCloseTo(3.5 / 12, 12);
    expect(all.scoreOverScored?.value).toBeCloseTo(3.5 / 10, 12);
    // 0.5 is below correctAt 1.
    expect(all.accuracyOverAll?.value).toBeCloseTo(3 / 12, 12);
    expect(all.accuracyOverScored?.value).toBeCloseTo(3 / 10, 12);
  });

  it("gives pass@k over the items that have k scored responses", () => {
    const { all } = summariseBenchmark("b", RESPONSES, OPTIONS);
    expect(all.passAt.map(({ k, items }) => [k, items])).toEqual([
      [1, 3],
      [2, 3],
      [4, 2],
    ]);
    // k = 1: (2/4 + 0 + 1/2)/3; k = 2: a 1 − C(2,2)/C(4,2) = 5/6, b 0, c 1; k = 4: a 1, b 0.
    expect(all.passAt.map(({ value }) => value)).toEqual([
      expect.closeTo(1 / 3, 12),
      expect.closeTo((5 / 6 + 1) / 3, 12),
      expect.closeTo(1 / 2, 12),
    ]);
    expect(passCounts(1)).toEqual([1]);
    expect(passCounts(16)).toEqual([1, 2, 4, 8, 16]);
    expect(passCounts(6)).toEqual([1, 2, 4, 6]);
  });

  it("has a row per length bucket in growing order, and per source", () => {
    const mixed = RESPONSES.map((one) => ({ ...one, source: one.item === "a" ? "x" : "w" }));
    const { byBucket, bySource } = summariseBenchmark("b", mixed, OPTIONS);
    expect(Object.entries(byBucket).map(([label, { responses }]) => [label, responses])).toEqual([
      ["1-10", 4],
      ["11-20", 4],
      ["21+", 4],
    ]);
    expect(Object.keys(bySource)).toEqual(["w", "x"]);
    expect(byBucket["21+"]?.scoreOverAll?.value).toBeCloseTo(0.25, 12);
    expect(byBucket["21+"]?.scoreOverScored?.value).toBeCloseTo(0.5, 12);
  });

  it("I1: where nothing has a score, the score over the scored is absent, and the failures are told by code", () => {
    const failed = RESPONSES.map((one) => responseOf({ ...one, value: null }));
    const { all, failures } = summariseBenchmark("b", failed, OPTIONS);
    expect(all.scoreOverScored).toBeNull();
    expect(all.passAt).toEqual([]);
    expect(failures).toEqual({ WEIR_E_JUDGE: 12 });
    expect(all.scoreOverAll?.value).toBe(0);
  });

  it("has an interval that is wider than a point also where everything is wrong: Wilson's for 0 of 3", () => {
    const wrong = RESPONSES.map((one) => responseOf({ ...one, value: 0 }));
    const { scoreOverScored } = summarise(wrong, OPTIONS, 1);
    expect(scoreOverScored?.value).toBe(0);
    expect(scoreOverScored?.low).toBe(0);
    // z²/(n + z²) with z = 1.959964, n = 3
    expect(scoreOverScored?.high).toBeCloseTo(3.841459 / 6.841459, 5);
  });

  it("does not depend on the order in which responses came", () => {
    expect(summariseBenchmark("b", [...RESPONSES].reverse(), OPTIONS).all.scoreOverAll?.value).toBeCloseTo(
      3.5 / 12,
      12,
    );
  });
});

describe("length buckets", () => {
  it("hold their upper bound, have one beyond the last, and one for lengths that nobody told", () => {
    expect([1, 4096, 4097, 131_072, 131_073].map((tokens) => lengthBucket(tokens, DEFAULT_BUCKETS))).toEqual([
      "1-4096",
      "1-4096",
      "4097-8192",
      "65537-131072",
      "131073+",
    ]);
    expect(lengthBucket(null, DEFAULT_BUCKETS)).toBe("unknown");
    expect(bucketLabels([10, 20])).toEqual(["1-10", "11-20", "21+", "unknown"]);
  });
});

describe("the report", () => {
  it("weighs benchmarks equally and has no mean where one of them has no score", () => {
    const other = [responseOf({ benchmark: "other", value: 1 })];
    const both = [
      { name: "b", correctAt: 1 },
      { name: "other", correctAt: 1 },
    ];
    const report = evaluationReport(both, [...RESPONSES, ...other], OPTIONS, null);
    expect(Object.keys(report.benchmarks)).toEqual(["b", "other"]);
    expect(report.mean.scoreOverScored).toBeCloseTo((0.35 + 1) / 2, 12);
    const failed = [responseOf({ benchmark: "other", value: null })];
    expect(evaluationReport(both, [...RESPONSES, ...failed], OPTIONS, null).mean.scoreOverScored).toBeNull();
  });
});

describe("the comparison of two evaluations", () => {
  const values = (all: readonly (number | null)[], asked = "same") =>
    all.map((value, row) => responseOf({ item: `q${row}`, row, value, asked }));

  it("pairs items, leaves out those without a score in one, and tests the differences", () => {
    const found = compareResponses(values([0, 0, 0, 0, 1, 1, null]), values([1, 1, 1, 1, 1, 0, 1]), 3);
    expect(found).toMatchObject({ pairs: 6, unpaired: 1, askedOtherwise: 0 });
    expect(found?.a).toBeCloseTo(2 / 6, 12);
    expect(found?.b).toBeCloseTo(5 / 6, 12);
    expect(found?.difference).toBeCloseTo(0.5, 12);
    // 4 better, 1 worse: 2·(1 + 5)/32; of 32 sums of ±1 five are ±5, ±3: 2·(1 + 5)/32.
    expect(found?.sign).toEqual({ wins: 4, losses: 1, ties: 1, p: 0.375 });
    expect(found?.permutation).toEqual({ p: 0.375, exact: true });
  });

  it("takes the mean over an item's scored samples, and says where questions were asked otherwise", () => {
    const a = [0, 1, null].map((value, sample) => responseOf({ item: "q", sample, value }));
    const found = compareResponses(
      a,
      values([1], "another prompt").map((one) => ({ ...one, item: "q" })),
      3,
    );
    expect(found).toMatchObject({ pairs: 1, a: 0.5, b: 1, askedOtherwise: 1, low: null });
    expect(compareResponses(a, values([1]), 3)).toBeNull();
  });
});
