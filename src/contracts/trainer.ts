import type { LossAggregation, LossEvaluation, LossName, LossSequence, LossSettings } from "./loss.js";
import type { PolicyVersion } from "./policy-version.js";

/** One response to a shared prompt, with what the policy loss needs of each of its tokens. */
export interface TrainCompletion {
  readonly tokenIds: readonly number[]; // [T]
  readonly advantages: readonly number[]; // [T]
  /**
   * Log-probs of the policy before this RL step (π_old), nats. Null where that is the policy at hand: then they are those of
   * this very pass, and the ratio is 1. All completions of a batch have them, or none.
   */
  readonly oldLogprobs: readonly number[] | null; // [T]
  /** Log-probs of the reference policy; null when no KL term is wanted. */
  readonly refLogprobs: readonly number[] | null; // [T]
  /**
   * Weight of each token in the loss, from rollout correction; null or left out is 1 for all. A token of weight 0 is rejected: it counts
   * in no denominator either.
   */
  readonly weights?: readonly number[] | null; // [T]
}

/** A prompt and its responses; the prompt runs once forward and backward, responses attend to it. */
export interface TrainGroup {
  readonly promptIds: readonly number[]; // [P]
  readonly completions: readonly TrainCompletion[]; // [G]
}

export type KlEstimator = "k1" | "k2" | "k3";

/** The policy loss of a batch: one of src/losses, or one of the caller's own (`TrainerCallOptions.evaluate`). */
export interface PolicyLossConfig {
  /** Null: the caller evaluates the loss. */
  readonly name: LossName | null;
  readonly settings: LossSettings;
  readonly aggregation: LossAggregation;
  /** Constant that seq-mean-token-sum-norm and seq-mean-token-sum-constant divide by, tokens; read only there. */
  readonly lossScale: number;
  readonly klCoefficient: number;
  readonly klEstimator: KlEstimator;
  /** Largest k3 of a token in the KL term; beyond it the gradient is 0. Null or left out: no bound. */
  readonly klClamp?: number | null;
  readonly entropyCoefficient: number;
  /** Log-probs and entropy are those of logits / temperature. */
  readonly temperature: number;
}

/** Denominators of the whole optimiser batch, computed before it is split (I6). */
export interface LossDenominators {
  readonly tokens: number;
  readonly sequences: number;
}

export interface PolicyBatch {
  readonly groups: readonly TrainGroup[];
  readonly loss: PolicyLossConfig;
  readonly denominators: LossDenominators;
  /** Upper bound of padded tokens in one micro-batch. */
  readonly microBatchTokens: number;
}

/** Sums and means over the batch; all finite, or the step is refused (I7). */
export interface PolicyMetrics {
  readonly loss: number;
  readonly pgLoss: number;
  /** Masked token mean of the chosen estimator against the reference; 0 without a reference. */
  readonly klRef: number;
  /** Masked token means of k1, k2, k3 of π_old against π (ppo_kl is k1). */
  readonly klOldK1: number;
  readonly klOldK3: number;
  readonly entropy: number;
  readonly clipFraction: number;
  readonly clipFractionLower: number;
  readonly ratioMax: number;
  readonly tokens: number;
  readonly paddedTokens: number;
  readonly microBatches: number;
  /** Per group, per completion: log-probs at the weights the gradient was taken at. */
  readonly logprobs: readonly (readonly (readonly number[])[])[]; // [P][G][T]
  /**
   * Where `logprobs` come from the activation cache: those of one completion by a forward pass of its own, for
   * comparing sampler and trainer (I8). Null or left out where all of them come from such passes.
   */
  readonly checked?: CheckedCompletion | null;
}

/** A completion of a batch, by group and place in it. */
export interface CheckedCompletion {
  readonly group: number;
  readonly completion: number;
  readonly logprobs: readonly number[]; // [T]
}

/** SFT row: ids with a loss mask (1 where the token is a supervised target). */
export interface SftRow {
  readonly tokenIds: readonly number[]; // [T]
  readonly lossMask: readonly number[]; // [T]; weights are allowed (0.1 on the document, 1 on the answer)
}

export interface SftBatch {
  readonly rows: readonly SftRow[];
  /** `seq-mean` is Eq. 11; `token-mean` is the release's. Denominators are global over the rows given (I6). */
  readonly aggregation: "seq-mean" | "token-mean";
  readonly microBatchTokens: number;
}

export interface SftMetrics {
  readonly loss: number;
  readonly tokens: number;
  readonly paddedTokens: number;
  readonly microBatches: number;
}

export interface OptimiserConfig {
  readonly learningRate: number;
  readonly betas: readonly [number, number];
  readonly epsilon: number;
  /** Decoupled (AdamW). */
  readonly weightDecay: number;
  /** Tensors that decay: every one, or only matrices (rank ≥ 2). */
  readonly decayScope: "all" | "matrices";
  /** Global L2 norm; null switches clipping off. */
  readonly maxGradNorm: number | null;
}

export interface OptimStepReply {
  /** False when a gradient was not finite: nothing was changed, gradients were cleared (I7). */
  readonly applied: boolean;
  /** Global L2 norm before clipping. */
  readonly gradNorm: number;
  /** Per tensor after clipping, keyed by Hugging Face name; only when asked for. */
  readonly gradNormByTensor: Readonly<Record<string, number>> | null;
  readonly version: PolicyVersion;
}

/** Log-probs and entropies of given sequences: token i (i ≥ 1) given tokens < i; arrays have length T-1. */
export interface ScoredSequences {
  readonly logprobs: readonly (readonly number[])[];
  readonly entropy: readonly (readonly number[])[];
}

/** A loss of the caller's own, over the whole sequences of one micro-batch. */
export type EvaluateLoss = (sequences: readonly LossSequence[]) => LossEvaluation | Promise<LossEvaluation>;

/** The learner: accumulates gradients, then commits them. Four primitives, so that any loop can be written over them. */
export interface Trainer {
  readonly kind: string;
  readonly specificationVersion: 1;
  /** `evaluate` is the loss where `batch.loss.name` is null; it is called with the sequences of each micro-batch. */
  forwardBackward(
    batch: PolicyBatch,
    options: { readonly signal: AbortSignal; readonly evaluate?: EvaluateLoss },
  ): Promise<PolicyMetrics>;
  sftForwardBackward(batch: SftBatch, options: { readonly signal: AbortSignal }): Promise<SftMetrics>;
  optimStep(
    config: OptimiserConfig,
    options: { readonly signal: AbortSignal; readonly reportTensors?: boolean },
  ): Promise<OptimStepReply>;
  /** Log-probs of completions given their prompts, `which` weights (the policy or the frozen reference). [P][G][T] */
  logprobs(
    groups: readonly { readonly promptIds: readonly number[]; readonly completions: readonly (readonly number[])[] }[],
    options: {
      readonly signal: AbortSignal;
      readonly temperature: number;
      readonly which: "policy" | "reference";
      readonly microBatchTokens: number;
    },
  ): Promise<{
    readonly logprobs: readonly (readonly (readonly number[])[])[];
    readonly entropies: readonly (readonly (readonly number[])[])[];
  }>;
}
