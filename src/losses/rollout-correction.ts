/**
 * Correction for samples of another policy than the trained one: importance weights w = π_old/π_sampler per token or
 * per sequence, truncated (TIS) or cut (IcePop), and rejection of tokens or sequences whose ratio is too far from 1.
 * Pure. Invariant: a rejected token's weight is selected to 0, never multiplied, so ∞·0 does not arise.
 * Sources: TIS (arXiv 2512.05591's survey of the practice; verl rollout_corr_helper.py), IcePop (ringtech 2025), geometric
 * rejection (seq_mean). Sums run over the tokens given, which are those that count.
 */
import { klEstimate } from "../algorithms/kl.js";
import type { ImportanceLevel, RejectionLevel } from "../contracts/loss.js";
import type { KlEstimator } from "../contracts/trainer.js";
import { WeirError } from "../errors.js";
import { LOG_RATIO_CLAMP } from "./policy-loss.js";

export interface ImportanceOptions {
  /** `token`: one weight per token. `sequence`: their product, for each token of the sequence. */
  readonly level: ImportanceLevel;
  /** Null lower bound: weights above `upper` become `upper` (TIS). Else weights outside [lower, upper] become 0 (IcePop). */
  readonly lower: number | null;
  readonly upper: number;
}

/** What is summed up to decide a rejection: d = log π_sampler − log π_old (k1), d²/2 (k2), e^(−d) + d − 1 (k3). */
export interface RejectionOptions {
  readonly level: RejectionLevel;
  readonly estimator: KlEstimator;
  /** k1: bounds of the ratio, compared in log space. k2, k3: `lower` is not read. */
  readonly lower: number;
  readonly upper: number;
}

/** Log ratios are clamped before exp. */
const clamped = (value: number) => Math.min(Math.max(value, -LOG_RATIO_CLAMP), LOG_RATIO_CLAMP);

function logRatios(old: ArrayLike<number>, sampler: ArrayLike<number>): number[] {
  if (old.length !== sampler.length)
    throw new WeirError(
      "WEIR_E_SHAPE",
      `rollout correction compares one log-prob per token: got ${old.length} of the trainer and ${sampler.length} of the sampler`,
    );
  return Array.from(old, (value, t) => value - (sampler[t] as number));
}

/** Importance weight of each token of a sequence. [T]. Throws WEIR_E_SHAPE where lengths differ. */
export function importanceWeights(
  old: ArrayLike<number>, // [T] nats
  sampler: ArrayLike<number>, // [T] nats
  options: ImportanceOptions,
): number[] {
  const ratios = logRatios(old, sampler);
  const whole = options.level === "sequence" ? ratios.reduce((sum, ratio) => sum + ratio, 0) : null;
  return ratios.map((ratio) => {
    const weight = Math.exp(clamped(whole ?? ratio));
    if (options.lower === null) return Math.min(weight, options.upper);
    return weight >= options.lower && weight <= options.upper ? weight : 0;
  });
}

/** True for each token of a sequence that stays. [T]. Throws WEIR_E_SHAPE where lengths differ. */
export function keptTokens(
  old: ArrayLike<number>, // [T] nats
  sampler: ArrayLike<number>, // [T] nats
  options: RejectionOptions,
): boolean[] {
  const values = logRatios(old, sampler).map((ratio) => klEstimate(-clamped(ratio), 0, options.estimator, null));
  const k1 = options.estimator === "k1";
  const within = (value: number) =>
    k1 ? value >= Math.log(options.lower) && value <= Math.log(options.upper) : value <= options.upper;
  if (options.level === "token" || values.length === 0) return values.map(within);
  const sum = values.reduce((total, value) => total + value, 0);
  const statistic =
    options.level === "seq_sum" ? sum : options.level === "seq_mean" ? sum / values.length : Math.max(...values);
  const kept = within(statistic);
  return values.map(() => kept);
}

/** The correction of a batch; each part is left out where it is null. */
export interface CorrectionOptions {
  readonly importance: ImportanceOptions | null;
  readonly rejection: RejectionOptions | null;
}

/** What correction does to a sequence. */
export interface CorrectedTokens {
  /** Importance weight, 1 without importance, and 0 for a token that does not count. */
  readonly weights: readonly number[]; // [T]
  /** Number of tokens whose importance weight a bound changed. */
  readonly clipped: number;
}

/** Weights of a sequence's tokens in the loss. Throws WEIR_E_SHAPE where lengths differ. */
export function correctTokens(
  old: ArrayLike<number>, // [T] nats
  sampler: ArrayLike<number>, // [T] nats
  { importance, rejection }: CorrectionOptions,
): CorrectedTokens {
  const unbounded = { level: importance?.level ?? "token", lower: null, upper: Number.POSITIVE_INFINITY };
  const ratios = importanceWeights(old, sampler, unbounded);
  const bounded = importance === null ? ratios.map(() => 1) : importanceWeights(old, sampler, importance);
  const kept = rejection === null ? null : keptTokens(old, sampler, rejection);
  return {
    weights: bounded.map((weight, t) => (kept === null || kept[t] ? weight : 0)),
    clipped: importance === null ? 0 : bounded.filter((weight, t) => weight !== ratios[t]).length,
  };
}
