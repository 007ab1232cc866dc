/** KL over batches [B, T], KL in the reward and the adaptive coefficient: references of the tests. */
import { type KlEstimatorName, klEstimate } from "../../src/algorithms/kl.js";
import { at } from "../../src/algorithms/shapes.js";
import { WeirError } from "../../src/errors.js";
import { maskedMean } from "./masked.js";
import { assertSameShape, type Matrix } from "./shapes.js";

/** Estimator of every token. [B, T] */
export function klMatrix(logprobs: Matrix, references: Matrix, estimator: KlEstimatorName): number[][] {
  assertSameShape("logprobs, references", logprobs, references);
  return logprobs.map((row, b) => row.map((value, t) => klEstimate(value, at(at(references, b), t), estimator)));
}

/** Masked token mean of the estimator. */
export function klLoss(logprobs: Matrix, references: Matrix, mask: Matrix, estimator: KlEstimatorName): number {
  return maskedMean(klMatrix(logprobs, references, estimator), mask);
}

/**
 * KL in the reward (off in the paper): r_t = score_t − β·k1_t·mask_t.
 * `currentKl` is the mean over sequences of the masked token mean of k1. Matrices [B, T].
 */
export function klInReward(input: {
  readonly scores: Matrix;
  readonly logprobs: Matrix;
  readonly references: Matrix;
  readonly mask: Matrix;
  readonly beta: number;
}): { readonly rewards: number[][]; readonly currentKl: number } {
  const { scores, logprobs, references, mask, beta } = input;
  assertSameShape("scores, logprobs, references, mask", scores, logprobs, references, mask);
  const kl = klMatrix(logprobs, references, "k1");
  const rewards = scores.map((row, b) =>
    row.map((score, t) => (at(at(mask, b), t) === 0 ? score : score - beta * at(at(kl, b), t))),
  );
  const perSequence = kl.map((row, b) => maskedMean([row], [at(mask, b)]));
  return { rewards, currentKl: perSequence.reduce((a, b) => a + b, 0) / perSequence.length };
}

/** Adaptive coefficient: β ← β·(1 + clip(kl/target − 1, ±0.2)·n/horizon) (Ziegler et al. 2019). */
export function adaptKlCoefficient(
  coefficient: number,
  controller: { readonly target: number; readonly horizon: number },
  currentKl: number,
  steps: number,
): number {
  if (!(controller.target > 0) || !(controller.horizon > 0)) {
    throw new WeirError(
      "WEIR_E_CONFIG",
      `the adaptive KL controller needs a positive target and horizon, got ${controller.target} and ${controller.horizon}`,
    );
  }
  const error = Math.min(Math.max(currentKl / controller.target - 1, -0.2), 0.2);
  return coefficient * (1 + (error * steps) / controller.horizon);
}
