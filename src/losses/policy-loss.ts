/**
 * A policy loss: a formula over whole sequences that gives each token's loss, the derivative of that loss with
 * respect to the token's log-prob, and counters. Aggregation is separate (aggregation.ts).
 */
import type { LossAggregation, LossName, LossSetting, LossSettings } from "../contracts/loss.js";
import type { Algebra, SequenceAlgebra } from "./algebra.js";

/** verl and weir clamp log π − log π_old to ±20 before exp, so that a single token cannot overflow. */
export const LOG_RATIO_CLAMP = 20;

/** Settings as operands of an algebra: numbers on the host, graph inputs in a traced graph. A null setting is null there too. */
export type SettingOperands<T> = Readonly<Record<LossSetting, T | number | null>>;

/** Input of a formula for each token, nats. */
export interface TokenInputs<T> {
  readonly logprobs: T; // [m] log π
  readonly old: T; // [m] log π_old, of the proximal policy
  readonly advantages: T; // [m]
}

/** Output of a formula for each token. */
export interface TokenTerms<T> {
  readonly loss: T; // [m]; lower is better
  /** dℓ/d(log π), with the stop-gradients of the loss's definition; 0 where clipping is active. */
  readonly slope: T; // [m]
  /** 1 where clipping changed the token's loss or weight. */
  readonly clipped: T; // [m]
  /** 1 where a lower bound (dual clip, largest weight) changed it. */
  readonly clippedLower: T; // [m]
}

interface LossFacts {
  readonly name: LossName;
  /** Where it is from. */
  readonly source: string;
  /** The aggregation that its authors use. */
  readonly aggregation: LossAggregation;
  /** Settings that it reads, with the values that it takes where the configuration says nothing. */
  readonly defaults: Partial<LossSettings>;
  /**
   * True where ρ weighs a token and |dℓ/d(log π)| ≤ c·|A| for every ρ and either sign of A. A pessimistic clip alone leaves ρ free
   * for A < 0, where samples of an older policy can make it any size.
   */
  boundsRatio(settings: LossSettings): boolean;
}

/** A loss whose tokens are independent of one another: any run of tokens may be evaluated on its own. */
export interface TokenLevelLoss extends LossFacts {
  readonly scope: "token";
  terms<T>(a: Algebra<T>, x: TokenInputs<T>, s: SettingOperands<T>): TokenTerms<T>;
}

/** A loss that needs whole sequences: its inputs are those of exactly one sequence. */
export interface SequenceLevelLoss extends LossFacts {
  readonly scope: "sequence";
  terms<T>(a: SequenceAlgebra<T>, x: TokenInputs<T>, s: SettingOperands<T>): TokenTerms<T>;
}

export type PolicyLoss = TokenLevelLoss | SequenceLevelLoss;

/** A setting that the loss requires. */
export function given<T>(value: T | number | null): T | number {
  if (value === null) throw new TypeError("a loss was evaluated without a setting that it needs");
  return value;
}

/** log π − log π_old and the same clamped to ±20; `within` is 1 where the clamp changes nothing. */
export function logRatio<T>(a: Algebra<T>, { logprobs, old }: TokenInputs<T>) {
  const difference = a.sub(logprobs, old);
  const bounded = a.minimum(a.maximum(difference, -LOG_RATIO_CLAMP), LOG_RATIO_CLAMP);
  return { difference, bounded, within: a.equal(bounded, difference) };
}
