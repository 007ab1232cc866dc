/**
 * Owns KL estimators per token, their masked mean as a loss, KL inside the reward, and the adaptive coefficient.
 * d = log π − log π_ref, nats. k1 is unbiased and may be negative; k2 and k3 are never negative (Schulman, "Approximating KL").
 */
import { WeirError } from "../errors.js";
import { maskedMean } from "./masked.js";
import { assertSameShape, at, type Matrix } from "./shapes.js";

/**
 * k3 in the KL term of the loss, and in `kl/ref` which reports it, is clamped to ±10 as in verl, so that one token cannot dominate;
 * beyond the clamp its gradient is 0. This is the default of `loss.klClamp`. Diagnostics that nothing is trained on (`kl/old_k3`,
 * `mismatch_kl`, contributions of rollouts) are not clamped: there the outlier is what is looked for.
 */
export const K3_CLAMP = 10;
/** −d is clamped to ±20 before exp (verl upstream); without effect on the clamped k3. */
export const K3_EXPONENT_CLAMP = 20;

export type KlEstimatorName = "k1" | "abs" | "k2" | "k3";

/** k1 = d; abs = |d|; k2 = d²/2; k3 = e^(−d) + d − 1, clamped to ±`clamp`; null or false leaves it as it is. */
export function klEstimate(
  logprob: number,
  reference: number,
  estimator: KlEstimatorName,
  clamp: number | null | false = K3_CLAMP,
): number {
  const d = logprob - reference;
  switch (estimator) {
    case "k1":
      return d;
    case "abs":
      return Math.abs(d);
    case "k2":
      return 0.5 * d * d;
    case "k3": {
      if (clamp === null || clamp === false) return Math.exp(-d) + d - 1;
      const negative = Math.min(Math.max(-d, -K3_EXPONENT_CLAMP), K3_EXPONENT_CLAMP);
      return Math.min(Math.max(Math.exp(negative) - negative - 1, -clamp), clamp);
    }
  }
}

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
