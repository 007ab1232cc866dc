/** The clipped surrogate that GRPO, DAPO and Dr. GRPO share; they differ in aggregation and clip range. */
import type { LossSettings } from "../contracts/loss.js";
import type { Algebra } from "./algebra.js";
import { given, logRatio, type SettingOperands, type TokenInputs, type TokenTerms } from "./policy-loss.js";

/**
 * ℓ = max(−Aρ, −A·clip(ρ, 1 − ε_low, 1 + ε_high)) with ρ = π/π_old, and where A < 0 with a dual clip c at most −A·c
 * (Eq. 4 and 6 of QwenLong-L1; dual clip: arXiv 1912.09729). `largestRatio` bounds the ρ of the first term (TRL's delta).
 * dℓ/d(log π) = −Aρ where no clip is active, else 0.
 */
export function clippedRatio<T>(a: Algebra<T>, x: TokenInputs<T>, s: SettingOperands<T>): TokenTerms<T> {
  const { bounded, within } = logRatio(a, x);
  const ratio = a.exp(bounded);
  const gain = a.neg(x.advantages);
  const unclipped = a.mul(gain, s.largestRatio === null ? ratio : a.minimum(ratio, s.largestRatio));
  const low = a.sub(1, given(s.clipLow));
  const high = a.add(1, given(s.clipHigh));
  const clipped = a.mul(gain, a.minimum(a.maximum(ratio, low), high));
  const single = a.maximum(unclipped, clipped);
  const held = a.greater(clipped, unclipped);
  const moving = s.largestRatio === null ? within : a.and(within, a.not(a.greater(ratio, s.largestRatio)));
  const active = a.and(a.not(held), moving);
  if (s.dualClip === null) {
    return { loss: single, slope: a.select(active, unclipped, 0), clipped: held, clippedLower: a.zeros(ratio) };
  }
  const bound = a.mul(gain, s.dualClip);
  const heldLower = a.and(a.greater(gain, 0), a.greater(single, bound));
  return {
    loss: a.select(heldLower, bound, single),
    slope: a.select(a.and(active, a.not(heldLower)), unclipped, 0),
    clipped: held,
    clippedLower: heldLower,
  };
}

/** The clip bounds ρ for A > 0; for A < 0 the dual clip or the bound of ρ itself does. */
export function clippedRatioBounds({ dualClip, largestRatio }: LossSettings): boolean {
  return dualClip !== null || largestRatio !== null;
}
