/** Overlong shaping: a length penalty added to the reward before the advantage. Lengths in tokens. */
import { WeirError } from "../errors.js";

export interface OverlongOptions {
  /** L_max, longest response. */
  readonly maxTokens: number;
  /** L_cache in [0, L_max]; 0 switches the penalty off. */
  readonly bufferTokens: number;
  /** Scale of the penalty; Eq. 7 has 1. */
  readonly factor: number;
  /** `paper`: Eq. 7, at most −factor. `released`: linear without a floor. They differ only beyond L_max. */
  readonly mode: "paper" | "released";
}

/**
 * Eq. 7: 0 up to L_max − L_cache, then −(n − (L_max − L_cache))/L_cache·factor; beyond L_max −factor (paper) or linear on.
 * Throws WEIR_E_CONFIG where the buffer is negative or longer than L_max.
 */
export function overlongPenalty(length: number, options: OverlongOptions): number {
  const { maxTokens, bufferTokens, factor, mode } = options;
  if (bufferTokens < 0 || bufferTokens > maxTokens) {
    throw new WeirError(
      "WEIR_E_CONFIG",
      `the overlong buffer must lie in [0, ${maxTokens}] tokens, got ${bufferTokens}; shorten it or allow longer responses`,
    );
  }
  if (bufferTokens === 0) return 0;
  if (mode === "paper" && length > maxTokens) return -factor;
  const excess = length - (maxTokens - bufferTokens);
  return excess <= 0 ? 0 : -((excess / bufferTokens) * factor);
}
