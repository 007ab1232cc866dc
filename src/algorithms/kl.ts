/**
 * KL estimators per token. d = log π − log π_ref, nats. k1 is unbiased and may be negative; k2 and k3 are never negative
 * (Schulman, "Approximating KL Divergence").
 */
import type { KlEstimator } from "../contracts/trainer.js";

/**
 * k3 in the KL term of the loss, and in `kl/ref` which reports it, is clamped to ±10 as in verl, so that one token cannot dominate;
 * beyond the clamp its gradient is 0. This is the default of `loss.klClamp`. Diagnostics that nothing is trained on (`kl/old_k3`,
 * `mismatch_kl`, contributions of rollouts) are not clamped: outliers are what they are meant to show.
 */
export const K3_CLAMP = 10;
/** −d is clamped to ±20 before exp (verl upstream); without effect on the clamped k3. */
export const K3_EXPONENT_CLAMP = 20;

export type KlEstimatorName = KlEstimator | "abs";

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
