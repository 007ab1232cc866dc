/** DPPO with binary total variation (arXiv 2602.04879): tokens whose probability moved too far give no gradient. */
import { given, logRatio, type TokenLevelLoss } from "./policy-loss.js";

/**
 * A token is kept while π − π_old ≤ ε_high (A > 0) or π − π_old ≥ −ε_low (else), in probability.
 * ℓ = −A·sg(min(ρ, c))·log π on kept tokens, 0 on others; dℓ/d(log π) = −A·min(ρ, c) there.
 */
export const DPPO_TV: TokenLevelLoss = {
  name: "dppo_tv",
  source: "DPPO, binary TV (arXiv 2602.04879)",
  scope: "token",
  aggregation: "token-mean",
  defaults: { clipLow: 0.2, clipHigh: 0.2, dualClip: 20 },
  boundsRatio: () => true,
  terms(a, x, s) {
    const ratio = a.exp(logRatio(a, x).bounded);
    const largest = given(s.dualClip);
    const moved = a.sub(a.exp(x.logprobs), a.exp(x.old));
    const keptUp = a.not(a.greater(moved, given(s.clipHigh)));
    const keptDown = a.greaterEqual(moved, a.sub(0, given(s.clipLow)));
    const positive = a.greater(x.advantages, 0);
    const dropped = a.not(a.and(a.not(a.and(positive, a.not(keptUp))), a.not(a.and(a.not(positive), a.not(keptDown)))));
    const kept = a.not(dropped);
    const slope = a.select(kept, a.neg(a.mul(x.advantages, a.minimum(ratio, largest))), 0);
    return {
      loss: a.select(kept, a.mul(slope, x.logprobs), 0),
      slope,
      clipped: dropped,
      clippedLower: a.and(a.greater(ratio, largest), kept),
    };
  },
};
