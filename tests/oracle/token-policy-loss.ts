/** The clipped policy loss of one token (Eq. 3, 4 and 6). The minus sign is included: lower is better. */
import { WeirError } from "../../src/errors.js";

export interface ClipOptions {
  /** ε_low in (0, 1). */
  readonly clipLow: number;
  /** ε_high > 0. */
  readonly clipHigh: number;
  /** Dual-clip constant c > 1, or null. */
  readonly dualClip: number | null;
}

export interface TokenLoss {
  /** ℓ1 = −A·ρ */
  readonly unclipped: number;
  /** ℓ2 = −A·clip(ρ, 1 − ε_low, 1 + ε_high) */
  readonly clipped: number;
  /** max(ℓ1, ℓ2), and where A < 0 with a dual clip min(that, −A·c) */
  readonly loss: number;
  /** 1 where ℓ2 > ℓ1. */
  readonly countedClipped: 0 | 1;
  /** 1 where the dual clip holds the loss. */
  readonly countedClippedLower: 0 | 1;
  /** dℓ/d(log π): −A·ρ where neither clip is active, else 0. */
  readonly derivative: number;
}

/** Loss of one token from its ratio ρ = π/π_old and advantage A. Throws WEIR_E_CONFIG where c ≤ 1. */
export function tokenPolicyLoss(ratio: number, advantage: number, options: ClipOptions): TokenLoss {
  const { clipLow, clipHigh, dualClip } = options;
  if (dualClip !== null && !(dualClip > 1)) {
    throw new WeirError("WEIR_E_CONFIG", `the dual-clip constant must be greater than 1 or null, got ${dualClip}`);
  }
  const unclipped = -advantage * ratio;
  const clipped = -advantage * Math.min(Math.max(ratio, 1 - clipLow), 1 + clipHigh);
  const single = Math.max(unclipped, clipped);
  const countedClipped = clipped > unclipped ? 1 : 0;
  const bound = dualClip !== null && advantage < 0 ? -advantage * dualClip : Number.POSITIVE_INFINITY;
  const countedClippedLower = single > bound ? 1 : 0;
  const active = countedClipped === 1 || countedClippedLower === 1;
  return {
    unclipped,
    clipped,
    loss: Math.min(single, bound),
    countedClipped,
    countedClippedLower,
    derivative: active ? 0 : unclipped,
  };
}
