import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { klEstimate } from "../../src/algorithms/kl.js";
import { klInReward } from "../oracle/kl.js";
import {
  aggregateLoss,
  aggregateLossFork,
  denominatorsOf,
  type LossMode,
  microBatchLoss,
} from "../oracle/loss-aggregation.js";
import { policyLoss, policyLossBatch } from "../oracle/policy-loss.js";
import { sftMask, sftSequenceMean, sftTokenMean } from "../oracle/sft.js";
import { tokenPolicyLoss } from "../oracle/token-policy-loss.js";

const MODES: readonly LossMode[] = [
  "token-mean",
  "seq-mean-token-mean",
  "seq-mean-token-sum",
  "seq-mean-token-sum-norm",
];

const batch = fc
  .array(fc.tuple(fc.array(fc.double({ min: -5, max: 5, noNaN: true }), { minLength: 6, maxLength: 6 }), fc.nat(6)), {
    minLength: 1,
    maxLength: 6,
  })
  .map((rows) => ({
    loss: rows.map(([values]) => values),
    mask: rows.map(([, length]) => [0, 1, 2, 3, 4, 5].map((t) => (t < length ? 1 : 0))),
  }))
  .filter(({ mask }) => denominatorsOf(mask).tokens > 0);

describe("loss aggregation", () => {
  it("does not depend on how the batch is split (I6)", () => {
    fc.assert(
      fc.property(batch, fc.array(fc.nat(2), { minLength: 6, maxLength: 6 }), (data, parts) => {
        const split = [0, 1, 2].map((part) => data.loss.flatMap((_, row) => (parts[row] === part ? [row] : [])));
        for (const mode of MODES) {
          const whole = aggregateLoss(data.loss, data.mask, mode);
          expect(Math.abs(microBatchLoss(data.loss, data.mask, split, mode) - whole)).toBeLessThan(1e-9);
        }
      }),
    );
  });

  it("gives Eq. 4 and Eq. 6 their values on rows 1,2,3,4 · 10,20 · 5", () => {
    const loss = [
      [1, 2, 3, 4],
      [10, 20, 99, 99],
      [5, 99, 99, Number.NaN],
    ];
    const mask = [
      [1, 1, 1, 1],
      [1, 1, 0, 0],
      [1, 0, 0, 0],
    ];
    expect(aggregateLoss(loss, mask, "token-mean")).toBe(45 / 7);
    expect(aggregateLoss(loss, mask, "seq-mean-token-mean")).toBe(7.5);
    expect(aggregateLoss(loss, mask, "seq-mean-token-sum")).toBe(15);
    expect(aggregateLoss(loss, mask, "seq-mean-token-sum-norm", { scale: 100 })).toBe(0.45);
  });

  it("refuses a batch without a token", () => {
    for (const mode of MODES.slice(0, 3)) expect(() => aggregateLoss([[1]], [[0]], mode)).toThrow(/WEIR_E_SHAPE/);
    expect(() => aggregateLossFork([], [], "sequence-level")).toThrow(/WEIR_E_SHAPE/);
    expect(() => aggregateLoss([[1, 2]], [[1]], "token-mean")).toThrow(/WEIR_E_SHAPE.*row 0/);
  });
});

describe("the clipped policy loss", () => {
  const options = { clipLow: 0.2, clipHigh: 0.28, dualClip: 3 } as const;

  it("has the derivative that finite differences give, away from the kinks", () => {
    fc.assert(
      fc.property(fc.double({ min: -2, max: 2, noNaN: true }), fc.double({ min: -2, max: 2, noNaN: true }), (d, a) => {
        const at = (logRatio: number) => tokenPolicyLoss(Math.exp(logRatio), a, options).loss;
        const kinks = [Math.log(0.8), Math.log(1.28), Math.log(3)];
        fc.pre(kinks.every((kink) => Math.abs(d - kink) > 1e-4));
        const numeric = (at(d + 1e-6) - at(d - 1e-6)) / 2e-6;
        expect(Math.abs(tokenPolicyLoss(Math.exp(d), a, options).derivative - numeric)).toBeLessThan(1e-5);
      }),
    );
  });

  it("never lets masked garbage into a sum (I7)", () => {
    const garbage = { advantages: [[1, Number.NaN]], mask: [[1, 0]], ...options };
    const input = { newLogprobs: [[-1, Number.NaN]], oldLogprobs: [[-1, -999]], variant: "fork" as const, ...garbage };
    expect(policyLoss(input, "token-mean")).toBe(-1);
    const { perToken, clipFraction, oldKlK1 } = policyLossBatch(input);
    expect([perToken, clipFraction, Math.abs(oldKlK1)]).toEqual([[[-1, 0]], 0, 0]);
  });

  it("clamps the log-ratio to 20 upstream, where the release overflows", () => {
    const wild = { newLogprobs: [[0]], oldLogprobs: [[-800]], advantages: [[-1]], mask: [[1]], ...options };
    const unbounded = { ...wild, dualClip: null };
    expect(policyLoss({ ...unbounded, variant: "upstream" }, "token-mean")).toBe(Math.exp(20));
    expect(policyLoss({ ...unbounded, variant: "fork" }, "token-mean")).toBe(Number.POSITIVE_INFINITY);
    expect(policyLoss({ ...wild, variant: "fork" }, "token-mean")).toBe(3);
  });

  it("refuses a dual clip of 1 or less", () => {
    expect(() => tokenPolicyLoss(1, 1, { ...options, dualClip: 1 })).toThrow(/WEIR_E_CONFIG/);
  });
});

describe("KL", () => {
  it("of k2 and k3 is never negative; k3 lies above k1", () => {
    fc.assert(
      fc.property(
        fc.double({ min: -30, max: 0, noNaN: true }),
        fc.double({ min: -30, max: 0, noNaN: true }),
        (p, q) => {
          expect(klEstimate(p, q, "k2")).toBeGreaterThanOrEqual(0);
          expect(klEstimate(p, q, "k3")).toBeGreaterThanOrEqual(-1e-12);
          expect(klEstimate(p, q, "k3")).toBeLessThanOrEqual(10);
        },
      ),
    );
  });

  it("in the reward leaves masked tokens alone", () => {
    const { rewards } = klInReward({
      scores: [[0, 1]],
      logprobs: [[-1, 5]],
      references: [[-2, 0]],
      mask: [[1, 0]],
      beta: 1,
    });
    expect(rewards).toEqual([[-1, 1]]);
  });
});

describe("supervised losses", () => {
  it("agree where every sequence is as long (Eq. 11 and the release)", () => {
    const nll = [
      [1, 2],
      [3, 4],
    ];
    const mask = [
      [1, 1],
      [1, 1],
    ];
    expect(sftSequenceMean(nll, mask)).toBe(2.5);
    expect(sftTokenMean(nll, mask, 2)).toBe(2.5);
    expect(() => sftSequenceMean([[1]], [[0]])).toThrow(/WEIR_E_SHAPE/);
  });

  it("supervise the response and its end token, cut where the row is", () => {
    expect(sftMask(3, 2, 7).targetPositions).toEqual([3, 4]);
    expect(sftMask(3, 9, 5)).toEqual({
      attentionMask: [1, 1, 1, 1, 1],
      lossMask: [0, 0, 1, 1, 0],
      targetPositions: [3, 4],
    });
    expect(sftMask(0, 2, 3).targetPositions).toEqual([1]);
  });
});
