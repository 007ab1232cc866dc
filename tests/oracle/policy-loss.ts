/**
 * The clipped policy loss of a batch [B, T] (Eq. 4 and 6) in float64: reference of the engine's.
 * Invariant: masked tokens take part in nothing, so garbage in padding (NaN too) never reaches a sum.
 */
import { at } from "../../src/algorithms/shapes.js";
import { LOG_RATIO_CLAMP } from "../../src/losses/policy-loss.js";
import { aggregateLoss, type LossMode } from "./loss-aggregation.js";
import { maskCount, maskedMean } from "./masked.js";
import { assertSameShape, type Matrix } from "./shapes.js";
import { type ClipOptions, tokenPolicyLoss } from "./token-policy-loss.js";

export interface PolicyLossInput extends ClipOptions {
  readonly newLogprobs: Matrix; // [B, T] nats
  readonly oldLogprobs: Matrix; // [B, T] nats
  readonly advantages: Matrix; // [B, T]
  readonly mask: Matrix; // [B, T]
  /** `upstream` clamps the log-ratio to ±20; `fork` (the release) does not. */
  readonly variant: "fork" | "upstream";
}

export interface PolicyLossBatch {
  /** Per token, 0 where masked. */
  readonly perToken: number[][]; // [B, T]
  /** dℓ_t/d(log π_t) before aggregation, 0 where masked. */
  readonly derivative: number[][]; // [B, T]
  readonly clipFraction: number;
  readonly clipFractionLower: number;
  /** Masked mean of log π_old − log π (verl's ppo_kl). */
  readonly oldKlK1: number;
}

/** Per-token losses, their derivatives and the counters of a batch. WEIR_E_SHAPE where shapes differ or nothing is unmasked. */
export function policyLossBatch(input: PolicyLossInput): PolicyLossBatch {
  const { newLogprobs, oldLogprobs, advantages, mask, variant } = input;
  assertSameShape("newLogprobs, oldLogprobs, advantages, mask", newLogprobs, oldLogprobs, advantages, mask);
  const zeros = () => mask.map((row) => row.map(() => 0));
  const perToken = zeros();
  const derivative = zeros();
  const clipped = zeros();
  const clippedLower = zeros();
  const kl = zeros();
  mask.forEach((row, b) => {
    row.forEach((m, t) => {
      if (m === 0) return;
      const difference = at(at(newLogprobs, b), t) - at(at(oldLogprobs, b), t);
      const clamped = Math.min(Math.max(difference, -LOG_RATIO_CLAMP), LOG_RATIO_CLAMP);
      const logRatio = variant === "upstream" ? clamped : difference;
      const token = tokenPolicyLoss(Math.exp(logRatio), at(at(advantages, b), t), input);
      set(perToken, b, t, token.loss);
      set(derivative, b, t, logRatio === difference ? token.derivative : 0);
      set(clipped, b, t, token.countedClipped);
      set(clippedLower, b, t, token.countedClippedLower);
      set(kl, b, t, -logRatio);
    });
  });
  return {
    perToken,
    derivative,
    clipFraction: maskedMean(clipped, mask),
    clipFractionLower: maskedMean(clippedLower, mask),
    oldKlK1: maskedMean(kl, mask),
  };
}

/** Eq. 4 (`seq-mean-token-mean`) or Eq. 6 (`token-mean`) of a batch, as a number. */
export function policyLoss(input: PolicyLossInput, mode: LossMode): number {
  return aggregateLoss(policyLossBatch(input).perToken, input.mask, mode);
}

/** Gradient of the token mean (Eq. 6) with respect to each log-prob: derivative / Σ mask. [B, T] */
export function tokenMeanGradient(batch: PolicyLossBatch, mask: Matrix): number[][] {
  const count = maskCount(mask);
  return batch.derivative.map((row) => row.map((value) => value / count));
}

/** policy loss = pg − entropyCoefficient·H + klCoefficient·kl. */
export function totalPolicyLoss(terms: {
  readonly policy: number;
  readonly entropy: number;
  readonly entropyCoefficient: number;
  readonly kl: number;
  readonly klCoefficient: number;
}): number {
  return terms.policy - terms.entropyCoefficient * terms.entropy + terms.klCoefficient * terms.kl;
}

function set(matrix: number[][], b: number, t: number, value: number): void {
  (matrix[b] as number[])[t] = value;
}
