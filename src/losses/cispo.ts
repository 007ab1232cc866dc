/** CISPO (arXiv 2506.13585): the ratio is a clipped weight without gradient, so that no token is dropped. */
import { given, logRatio, type TokenLevelLoss } from "./policy-loss.js";

/** ℓ = −sg(clip(ρ, 1 − ε_low, 1 + ε_high))·A·log π; dℓ/d(log π) = −clip(ρ)·A. With ε_low ≥ 1 there is no lower bound (TRL's form). */
export const CISPO: TokenLevelLoss = {
  name: "cispo",
  source: "CISPO (arXiv 2506.13585)",
  scope: "token",
  aggregation: "token-mean",
  defaults: { clipLow: 0.2, clipHigh: 0.28 },
  boundsRatio: () => true,
  terms(a, x, s) {
    const ratio = a.exp(logRatio(a, x).bounded);
    const weight = a.minimum(a.maximum(ratio, a.sub(1, given(s.clipLow))), a.add(1, given(s.clipHigh)));
    const slope = a.neg(a.mul(weight, x.advantages));
    return {
      loss: a.mul(slope, x.logprobs),
      slope,
      clipped: a.not(a.equal(weight, ratio)),
      clippedLower: a.zeros(ratio),
    };
  },
};
