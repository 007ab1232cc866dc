/** How an RL step is trained, by its entropy: the AEPO latch and the adaptive entropy coefficient. Pure. */
import type { Preparation } from "../../contracts/guard.js";
import { show } from "../../streams/telemetry/finding.js";

/** Bounds of the latch, nats. */
export interface AepoOptions {
  readonly low: number;
  readonly high: number;
}

/** The coefficient grows while entropy is below the target, and falls while it is not. */
export interface EntropyTargetOptions {
  /** Nats. */
  readonly target: number;
  /** Change of the coefficient per step. */
  readonly change: number;
  /** Largest coefficient. */
  readonly max: number;
}

export interface EntropyControlState {
  /** Responses with a negative advantage are left out. */
  readonly masked: boolean;
  /** Null before the first step with an entropy. */
  readonly coefficient: number | null;
}

export const NO_CONTROL: EntropyControlState = { masked: false, coefficient: null };

/**
 * AEPO (arXiv 2512.12967 Eq. 11): above `high` only positive advantages are trained on, below `low` all are; between the two it stays as
 * it is.
 */
export function latched(masked: boolean, entropy: number, { low, high }: AepoOptions): boolean {
  if (entropy > high) return true;
  return entropy < low ? false : masked;
}

/** Adaptive entropy control (arXiv 2505.22312 §3): c ± change towards the target, within [0, max]. */
export function adapted(coefficient: number, entropy: number, { target, change, max }: EntropyTargetOptions): number {
  const next = coefficient + (entropy < target ? change : -change);
  return Math.min(max, Math.max(0, next));
}

export interface EntropyControlOptions {
  readonly aepo: AepoOptions | null;
  readonly entropyTarget: EntropyTargetOptions | null;
}

/** What is to be done in a step of this entropy, and the state after it. Without an entropy everything stays as it is. */
export function controlled(
  before: EntropyControlState,
  entropy: number | null,
  configured: number,
  { aepo, entropyTarget }: EntropyControlOptions,
): { readonly state: EntropyControlState; readonly preparation: Preparation } {
  const known = entropy !== null;
  const masked = aepo === null ? false : known ? latched(before.masked, entropy, aepo) : before.masked;
  const last = before.coefficient ?? configured;
  const coefficient =
    entropyTarget === null ? null : known ? adapted(last, entropy, entropyTarget) : before.coefficient;
  const reasons: string[] = [];
  if (masked && aepo !== null)
    reasons.push(`entropy went above ${aepo.high} nats and is not below ${aepo.low}: only positive advantages count`);
  if (coefficient !== null && entropyTarget !== null)
    reasons.push(`the entropy coefficient is ${show(coefficient)}, for an entropy of ${entropyTarget.target} nats`);
  const reason = reasons.length === 0 ? null : reasons.join("; ");
  return {
    state: { masked, coefficient },
    preparation: { maskNegatives: masked, entropyCoefficient: coefficient, reason },
  };
}
