/**
 * KL estimators per token. d = log π − log π_ref, nats. k1 is unbiased and may be negative; k2 and k3 are never negative
 * (Schulman, "Approximating KL Divergence").
 */
import type { KlMeasure } from "../contracts/guard.js";
import type { KlEstimator } from "../contracts/trainer.js";
import { mean, meanOfUnits } from "./statistics.js";

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

/** Log-probs of one response before and after an optimiser step, nats; NaN where a token does not count. */
export interface MovedRow {
  readonly before: readonly number[]; // [T]
  readonly after: readonly number[]; // [T]
}

/** k3 of KL(π_before ‖ π_after) at each token, not clamped: the tokens were drawn before the step. NaN where a token does not count. */
export function movedTokens({ before, after }: MovedRow): number[] {
  return before.map((value, t) => klEstimate(value, after[t] ?? Number.NaN, "k3", false)); // [T]
}

/** False for the measure of a policy whose log-probs are not finite. */
export const isFiniteKl = ({ k3, k1, max }: KlMeasure): boolean => [k3, k1, max].every(Number.isFinite);

/** KL(π_before ‖ π_after) over tokens that π_before drew; null where none counts. Its numbers are not finite where a log-prob is not. */
export function measureKl(rows: readonly MovedRow[]): KlMeasure | null {
  const counted = rows.map(({ before, after }) =>
    before.flatMap((value, t) => (Number.isNaN(value) ? [] : [[value, after[t] ?? Number.NaN] as const])),
  );
  const k3 = counted.map((row) => row.map(([before, after]) => klEstimate(before, after, "k3", false)));
  const whole = meanOfUnits(k3);
  if (whole === null) return null;
  return {
    k3: whole.mean,
    k1: mean(counted.flatMap((row) => row.map(([before, after]) => before - after))),
    standardError: whole.standardError,
    max: k3.flat().reduce((most, value) => (value > most || Number.isNaN(value) ? value : most), 0),
    tokens: k3.reduce((total, row) => total + row.length, 0),
  };
}
