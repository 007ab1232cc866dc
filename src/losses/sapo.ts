/** SAPO (arXiv 2511.20347): a smooth gate around ρ = 1 instead of a clip, steeper for negative advantages. */
import { given, logRatio, type TokenLevelLoss } from "./policy-loss.js";

/**
 * ℓ = −A·(4/τ)·σ(τ(ρ − 1)), τ = τ₊ where A > 0, else τ₋.
 * dℓ/d(log π) = −A·4·σ(τ(ρ − 1))·(1 − σ(τ(ρ − 1)))·ρ, which is −A at ρ = 1; 0 where log ρ is clamped.
 */
export const SAPO: TokenLevelLoss = {
  name: "sapo",
  source: "SAPO (arXiv 2511.20347)",
  scope: "token",
  aggregation: "seq-mean-token-mean",
  defaults: { tauPositive: 1, tauNegative: 1.05 },
  boundsRatio: () => true,
  terms(a, x, s) {
    const { bounded, within } = logRatio(a, x);
    const ratio = a.exp(bounded);
    const tau = a.select(a.greater(x.advantages, 0), given(s.tauPositive), given(s.tauNegative));
    const gate = a.sigmoid(a.mul(tau, a.sub(ratio, 1)));
    const none = a.zeros(ratio);
    // σ(1 − σ) falls as fast as e^(−τρ), so its product with the largest ratio (e²⁰) stays finite.
    const steep = a.mul(a.mul(4, gate), a.mul(a.sub(1, gate), ratio));
    return {
      loss: a.neg(a.mul(x.advantages, a.mul(a.div(4, tau), gate))),
      slope: a.select(within, a.neg(a.mul(x.advantages, steep)), 0),
      clipped: none,
      clippedLower: none,
    };
  },
};
