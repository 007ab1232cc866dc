/** The KL term that is trained: k3 as documented, clamped to 10, in its value and in its gradient. */
import { beforeAll, describe, expect, it } from "vitest";
import { klEstimate } from "../../src/algorithms/kl.js";
import type { PolicyLossConfig } from "../../src/contracts/trainer.js";
import { PolicyMetricSums } from "../../src/losses/policy-metrics.js";
import { openBackend } from "../../src/model/engine/backend.js";
import { tf } from "../../src/model/tensor/tf.js";
import { policyTokenLoss } from "../../src/model/train/policy-gradient.js";
import { TEST_LOSS } from "../helpers/engines.js";

const LOSS: PolicyLossConfig = {
  ...TEST_LOSS,
  klCoefficient: 0.5,
  entropyCoefficient: 0,
  klEstimator: "k3",
  klClamp: 10,
};
/** d = log π − log π_ref of each token: within the clamp, far below, far above, at overflow. */
const GAPS = [0, 0.5, -1, -2.5, -2.7, -5, -30, -800, 11.5, 50];

/** Targets without advantage, so that the KL term is all there is; weight 1 each. */
function targets() {
  const count = GAPS.length;
  return {
    advantages: new Float32Array(count),
    old: null,
    reference: Float32Array.from(GAPS, (gap) => -1 - gap),
    weights: new Float32Array(count).fill(1),
  };
}

/** What the policy term gives of advantages that are all 0. */
const NOTHING = { value: 0, coefficients: [], clipped: 0, clippedLower: 0 };

describe("the trained KL term", () => {
  beforeAll(async () => {
    await openBackend("cpu", 0);
  });

  it("has the gradient of the clamped k3: 1 − e^(−d) where k3 ≤ 10, 0 beyond, finite everywhere (I7)", () => {
    const given = targets();
    const loss = policyTokenLoss(LOSS, given, null);
    const perToken = Object.fromEntries(
      Object.entries(loss.perToken).map(([name, values]) => [name, tf.tensor1d(values)]),
    );
    const scalars = Object.fromEntries(Object.entries(loss.scalars).map(([name, value]) => [name, tf.scalar(value)]));
    const { dLogprobs } = loss.gradient(scalars, perToken, tf.fill([GAPS.length], -1));
    const found = Array.from(dLogprobs.dataSync());
    // e^2.5 − 3.5 = 8.68 is within the clamp, e^2.7 − 3.7 = 11.18 beyond; 11.5 + e^(−11.5) − 1 = 10.5 beyond.
    const expected = [0, 1 - Math.exp(-0.5), 1 - Math.E, 1 - Math.exp(2.5), 0, 0, 0, 0, 0, 0];
    found.forEach((slope, i) => {
      expect(slope, `d = ${GAPS[i]}`).toBeCloseTo(0.5 * (expected[i] as number), 5);
    });
  });

  it("is that of k3 itself without a clamp, bounded at e^20", () => {
    const given = targets();
    const loss = policyTokenLoss({ ...LOSS, klClamp: null }, given, null);
    const perToken = Object.fromEntries(
      Object.entries(loss.perToken).map(([name, values]) => [name, tf.tensor1d(values)]),
    );
    const scalars = Object.fromEntries(Object.entries(loss.scalars).map(([name, value]) => [name, tf.scalar(value)]));
    const found = Array.from(loss.gradient(scalars, perToken, tf.fill([GAPS.length], -1)).dLogprobs.dataSync());
    expect(found[5] as number).toBeCloseTo(0.5 * (1 - Math.exp(5)), 3);
    expect((found[7] as number) / (0.5 * (1 - Math.exp(20)))).toBeCloseTo(1, 5);
  });

  it("agrees with a difference quotient of its value", () => {
    const h = 1e-5;
    for (const gap of [-2.5, -1, 0.5, -5, 50]) {
      const slope = (klEstimate(gap + h, 0, "k3") - klEstimate(gap - h, 0, "k3")) / (2 * h);
      const clamped = klEstimate(gap, 0, "k3") === 10;
      expect(slope, `d = ${gap}`).toBeCloseTo(clamped ? 0 : 1 - Math.exp(-gap), 4);
    }
  });

  it("is reported as it is trained: kl/ref and the loss hold 10 for an outlier, not e^30", () => {
    const sums = new PolicyMetricSums(LOSS);
    const logprobs = Float32Array.from(GAPS, () => -1);
    sums.add({ ...targets(), logprobs, entropies: new Float32Array(GAPS.length) }, NOTHING, GAPS.length);
    const metrics = sums.finish([]);
    const values = GAPS.map((gap) => Math.min(10, Math.exp(-gap) + gap - 1));
    const sum = values.reduce((total, value) => total + value, 0);
    expect(metrics.klRef).toBeCloseTo(sum / GAPS.length, 4);
    expect(metrics.loss).toBeCloseTo(0.5 * sum, 3);
  });
});
