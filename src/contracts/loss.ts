/** How token losses become one number; see `tokenWeight` in src/losses/aggregation.ts. */
export const LOSS_AGGREGATIONS = [
  "token-mean",
  "seq-mean-token-mean",
  "seq-mean-token-sum",
  "seq-mean-token-sum-norm",
  "seq-mean-token-sum-constant",
] as const;
export type LossAggregation = (typeof LOSS_AGGREGATIONS)[number];

/** What one importance weight is computed from: each token, or the product over its sequence. */
export const IMPORTANCE_LEVELS = ["token", "sequence"] as const;
export type ImportanceLevel = (typeof IMPORTANCE_LEVELS)[number];

/** What decides a rejection: each token, or the sum, mean or maximum over its sequence. */
export const REJECTION_LEVELS = ["token", "seq_sum", "seq_mean", "seq_max"] as const;
export type RejectionLevel = (typeof REJECTION_LEVELS)[number];

/** Name of a built-in policy loss; each is a file of src/losses. */
export type LossName = string;

/** Settings of the built-in losses. Each loss reads some of them. */
export interface LossSettings {
  /** ε_low > 0: the clip range's distance below 1 (gmpo: below 0, in log space; dppo_tv: in probability). */
  readonly clipLow: number;
  /** ε_high > 0, the same above. */
  readonly clipHigh: number;
  /** Dual-clip constant c > 1 (dppo_tv: the largest ratio used as a weight); null switches it off. */
  readonly dualClip: number | null;
  /** Bound of ρ itself before it is clipped (TRL's delta, "two-sided clipping"); null switches it off. */
  readonly largestRatio: number | null;
  /** Temperature of sapo's gate where A > 0, and elsewhere. */
  readonly tauPositive: number;
  readonly tauNegative: number;
}

export type LossSetting = keyof LossSettings;

/** One whole response as a loss sees it. Tokens that rejection left out have weight 0. */
export interface LossSequence {
  /** log π at the current weights, nats. */
  readonly logprobs: ArrayLike<number>; // [T]
  /** log π_old, of the proximal policy; equal to log π where that is the current policy. */
  readonly old: ArrayLike<number>; // [T]
  /** Log-probs of the reference policy; null where there is none. */
  readonly reference: ArrayLike<number> | null; // [T]
  readonly advantages: ArrayLike<number>; // [T]
  /** Weight of each token's loss in the batch's: aggregation and rollout correction. */
  readonly weights: ArrayLike<number>; // [T]
}

/** The result of a loss over some sequences of a batch. Values of parts of a batch add up to that of the whole (I6). */
export interface LossEvaluation {
  /** Σ weight·ℓ; lower is better. */
  readonly value: number;
  /** dvalue/d(log π) of each token, stop-gradients as the loss defines them. */
  readonly coefficients: readonly ArrayLike<number>[]; // [N][T]
  /** Number of tokens that clipping changed, and of those that a lower bound changed. */
  readonly clipped: number;
  readonly clippedLower: number;
}

/**
 * A custom policy loss. It is called with the whole sequences of one micro-batch, between the forward and the backward
 * pass, in the control process; the KL term and the entropy bonus of the configuration are added by the engine.
 */
export interface LossPart {
  readonly kind: string;
  readonly specificationVersion: 1;
  /** The aggregation that `weights` follow where the configuration names none. */
  readonly aggregation: LossAggregation;
  evaluate(sequences: readonly LossSequence[]): LossEvaluation | Promise<LossEvaluation>;
  dispose?(): Promise<void> | void;
}
