/**
 * Owns what a policy loss is: a formula of whole sequences that gives each token's loss, the derivative of that loss with
 * respect to the token's log-prob, and counters. How token losses become one number (aggregation) is not its matter.
 */
import type { LossAggregation } from "../contracts/trainer.js";
import type { Algebra, SequenceAlgebra } from "./algebra.js";

/** verl and weir clamp log π − log π_old to ±20 before exp, so that one wild token cannot overflow. */
export const LOG_RATIO_CLAMP = 20;

/** The numbers that losses are set by. A loss reads those that its `reads` names. */
export interface LossSettings {
  /** ε_low > 0: the clip range's distance below 1 (gmpo: below 0, in log space; dppo_tv: in probability). */
  readonly clipLow: number;
  /** ε_high > 0, the same above. */
  readonly clipHigh: number;
  /** Dual-clip constant c > 1 (dppo_tv: the largest ratio that weighs a token); null switches it off. */
  readonly dualClip: number | null;
  /** Bound of ρ itself before it is clipped (TRL's delta, "two-sided clipping"); null switches it off. */
  readonly largestRatio: number | null;
  /** Temperature of sapo's gate where A > 0, and elsewhere. */
  readonly tauPositive: number;
  readonly tauNegative: number;
}

export type LossSetting = keyof LossSettings;

/** Settings as operands of an algebra: numbers on the host, graph inputs in a traced graph. A null setting is null there too. */
export type SettingOperands<T> = Readonly<Record<LossSetting, T | number | null>>;

/** What a formula is given of each token. nats. */
export interface TokenInputs<T> {
  readonly logprobs: T; // [m] log π
  readonly old: T; // [m] log π_old, of the proximal policy
  readonly advantages: T; // [m]
}

/** What a formula gives of each token. */
export interface TokenTerms<T> {
  readonly loss: T; // [m]; lower is better
  /** dℓ/d(log π), with the stop-gradients of the loss's definition; 0 where clipping holds the token. */
  readonly slope: T; // [m]
  /** 1 where clipping changed the token's loss or weight. */
  readonly clipped: T; // [m]
  /** 1 where a lower bound (dual clip, largest weight) did. */
  readonly clippedLower: T; // [m]
}

interface LossFacts {
  readonly name: string;
  /** Where it is from. */
  readonly source: string;
  /** The aggregation that its authors use. */
  readonly aggregation: LossAggregation;
  /** Settings that it reads, with the values that it takes where the configuration says nothing. */
  readonly defaults: Partial<LossSettings>;
}

/** A loss whose tokens are independent of one another: any run of tokens may be evaluated on its own. */
export interface TokenLevelLoss extends LossFacts {
  readonly scope: "token";
  terms<T>(a: Algebra<T>, x: TokenInputs<T>, s: SettingOperands<T>): TokenTerms<T>;
}

/** A loss that needs a sequence whole: inputs are those of exactly one sequence. */
export interface SequenceLevelLoss extends LossFacts {
  readonly scope: "sequence";
  terms<T>(a: SequenceAlgebra<T>, x: TokenInputs<T>, s: SettingOperands<T>): TokenTerms<T>;
}

export type PolicyLoss = TokenLevelLoss | SequenceLevelLoss;

/** A setting that the loss cannot do without. */
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

/** Zero for each token. */
export function zeros<T>(a: Algebra<T>, like: T): T {
  return a.sub(like, like);
}
