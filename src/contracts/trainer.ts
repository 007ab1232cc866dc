import type { LossAggregation, LossEvaluation, LossName, LossSequence, LossSettings } from "./loss.js";
import type { ModelInfo } from "./model-info.js";
import type { PolicyVersion } from "./policy-version.js";
import type { ProductPrecision } from "./precision.js";
import type { ArtifactKind, PublishedPolicy } from "./published-policy.js";

/** One response to a shared prompt, with what the policy loss needs of each of its tokens. */
export interface TrainCompletion {
  readonly tokenIds: readonly number[]; // [T]
  readonly advantages: readonly number[]; // [T]
  /**
   * Log-probs of the policy before this RL step (π_old), nats. Null where `PolicyBatch.oldPolicy` says that these are the trainer's
   * present weights, for which the ratio is 1. All completions of a batch have them, or none.
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

/** Estimators of a KL divergence from samples; formulas in src/algorithms/kl.ts. */
export const KL_ESTIMATORS = ["k1", "k2", "k3"] as const;
export type KlEstimator = (typeof KL_ESTIMATORS)[number];

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
  /**
   * π_old as a published version, for a batch without `oldLogprobs`; null with them.
   * Errors of `forwardBackward`: WEIR_E_POLICY_VERSION where the trainer's present weights are not that version.
   */
  readonly oldPolicy: PolicyVersion | null;
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
  /** Masked token mean, nats; null where the trainer gives none. */
  readonly entropy: number | null;
  readonly clipFraction: number;
  readonly clipFractionLower: number;
  readonly ratioMax: number;
  readonly tokens: number;
  readonly paddedTokens: number;
  readonly microBatches: number;
  /** Per group, per completion: log-probs at the weights the gradient was taken at. */
  readonly logprobs: readonly (readonly (readonly number[])[])[]; // [P][G][T]
}

/** SFT row: ids with a loss mask (1 where the token is a supervised target). */
export interface SftRow {
  readonly tokenIds: readonly number[]; // [T]
  readonly lossMask: readonly number[]; // [T]; weights are allowed (0.1 on the document, 1 on the answer)
}

/** `seq-mean` is Eq. 11; `token-mean` is the release's. */
export const SFT_AGGREGATIONS = ["seq-mean", "token-mean"] as const;
export type SftAggregation = (typeof SFT_AGGREGATIONS)[number];

export interface SftBatch {
  readonly rows: readonly SftRow[];
  /** Denominators are global over the rows given (I6). */
  readonly aggregation: SftAggregation;
  readonly microBatchTokens: number;
}

export interface SftMetrics {
  readonly loss: number;
  readonly tokens: number;
  readonly paddedTokens: number;
  readonly microBatches: number;
}

/** Tensors that decay: every one, or only matrices (rank ≥ 2). */
export const DECAY_SCOPES = ["all", "matrices"] as const;
export type DecayScope = (typeof DECAY_SCOPES)[number];

/** Who gives the log-probs of π_old: the trainer, or the sampler. */
export const OLD_LOGPROB_SOURCES = ["recompute", "sampler"] as const;
export type OldLogprobSource = (typeof OLD_LOGPROB_SOURCES)[number];

export interface OptimiserConfig {
  readonly learningRate: number;
  readonly betas: readonly [number, number];
  readonly epsilon: number;
  /** Decoupled (AdamW). */
  readonly weightDecay: number;
  readonly decayScope: DecayScope;
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
}

/** Log-probs and entropies of given sequences: token i (i ≥ 1) given tokens < i; arrays have length T-1. */
export interface ScoredSequences {
  readonly logprobs: readonly (readonly number[])[];
  readonly entropy: readonly (readonly number[])[];
}

/** A loss of the caller's own, over the whole sequences of one micro-batch. */
export type EvaluateLoss = (sequences: readonly LossSequence[]) => LossEvaluation | Promise<LossEvaluation>;

/** What servers that take no denominators make of token losses: the mean over rows of each row's mean, or their sum. */
export const SERVER_LOSS_SCALES = ["row-mean", "sum"] as const;
export type ServerLossScale = (typeof SERVER_LOSS_SCALES)[number];

export interface TrainerCapabilities {
  /** Built-in losses that it evaluates itself. */
  readonly losses: readonly LossName[];
  /** Takes a loss of the caller's own (`evaluate`). */
  readonly evaluates: boolean;
  /**
   * `denominators`: the loss is that of `PolicyBatch.denominators` and of every aggregation, whatever the arithmetic behind it does;
   * a trainer whose server divides by itself scales what it sends. The others are refused.
   */
  readonly lossScale: "denominators" | ServerLossScale;
  /** Temperatures of the log-probs that it computes and trains on; left out: any. */
  readonly temperatures?: "any" | "one";
  /** Gives entropies, and takes an entropy bonus; left out: it does. */
  readonly entropies?: boolean;
  readonly trains: "full" | "adapter";
  readonly clipsGradients: boolean;
  /**
   * `gradientNorm` and `discardGradients` work: a gradient can be judged, and thrown away, before it is applied. Where they do not,
   * `rehearse` gives the numbers that a batch is judged by before its gradient is computed.
   */
  readonly discardsGradients: boolean;
  /** `reviseStep` works: an optimiser step can be measured, and then made smaller or undone. Left out: it cannot. */
  readonly revisesSteps?: boolean;
  /**
   * Can freeze a copy of its weights as the reference policy. `base`: its reference policy is the base model that adapters are trained
   * on, so that the KL to it can be measured, and be no term of the loss.
   */
  readonly reference: boolean | "base";
  /**
   * Log-probs of `forwardBackward` may come from activations that sampling left behind, so that they are no independent check of
   * the sampler (I8); those of `logprobs` always come from a forward pass of the completion.
   */
  readonly reusesActivations: boolean;
  /** Forms in which it can publish its weights. */
  readonly publishes: readonly ArtifactKind[];
  /** What `saveState` writes: all of a state, or the address of one that is kept elsewhere; left out: all of it. */
  readonly savesState?: "files" | "address";
  /** Element type of its large matrix products; null or left out where it is not known. */
  readonly precision?: ProductPrecision | null;
}

/** Gradients are summed over calls until they are applied or thrown away, so that any loop can be written over these operations. */
export interface GradientOperations {
  /** `evaluate` is the loss where `batch.loss.name` is null; it is called with the sequences of each micro-batch. */
  forwardBackward(
    batch: PolicyBatch,
    options: { readonly signal: AbortSignal; readonly evaluate?: EvaluateLoss },
  ): Promise<PolicyMetrics>;
  sftForwardBackward(batch: SftBatch, options: { readonly signal: AbortSignal }): Promise<SftMetrics>;
  /** What `forwardBackward` of the batch would give, from a forward pass alone: no gradient, no weight changes. */
  rehearse?(
    batch: PolicyBatch,
    options: { readonly signal: AbortSignal; readonly evaluate?: EvaluateLoss },
  ): Promise<PolicyMetrics>;
  /** The same for `sftForwardBackward`. */
  rehearseSft?(batch: SftBatch, options: { readonly signal: AbortSignal }): Promise<SftMetrics>;
  /** Global L2 norm of the summed gradients before clipping; NaN or infinity where one is not finite. Errors: WEIR_E_STATE without gradients. */
  gradientNorm(options: { readonly signal: AbortSignal }): Promise<number>;
  /** Throws the summed gradients away; weights and moments stay as they are. */
  discardGradients(options: { readonly signal: AbortSignal }): Promise<void>;
  /** With `revisable` weights and moments before the step are kept until `reviseStep` says what becomes of it. */
  optimStep(
    config: OptimiserConfig,
    options: { readonly signal: AbortSignal; readonly reportTensors?: boolean; readonly revisable?: boolean },
  ): Promise<OptimStepReply>;
  /**
   * Says what becomes of a revisable step: 1 leaves it, 0 undoes it whole, with moments and step count; between them that share of
   * the weights' change stays, with the moments of the whole step. Errors: WEIR_E_STATE where no revisable step was taken last.
   */
  reviseStep?(scale: number, options: { readonly signal: AbortSignal }): Promise<void>;
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
    /** Null where the trainer gives none. */
    readonly entropies: readonly (readonly (readonly number[])[])[] | null;
  }>;
}

export interface StateOperations {
  /**
   * Names the current weights, by the next version number where they have changed since the last publication, and hands them over
   * in the form `as`, in `folder` where that form is files.
   */
  publish(options: {
    readonly signal: AbortSignal;
    readonly as: ArtifactKind;
    readonly folder: string | null;
  }): Promise<PublishedPolicy>;
  /** Puts into `folder` all that `loadState` needs: weights, moments and version, or their address. Names no version. */
  saveState(folder: string, options: { readonly signal: AbortSignal }): Promise<void>;
  /**
   * Takes weights, moments and version from a folder that `saveState` wrote; a model folder gives weights alone, as version 0.
   * With `above` the weights count as changed, and the next publication names them by a number above it: numbers are never used twice.
   */
  loadState(folder: string, options: { readonly signal: AbortSignal; readonly above?: number }): Promise<PolicyVersion>;
  /**
   * Gives up what `saveState` has put elsewhere for a folder, which is about to be removed; nothing where the folder names no state, or
   * one that is gone already. Left out where folders hold all of a state. Errors: WEIR_E_UNREACHABLE: asked again later; others: the
   * state stays.
   */
  forgetState?(folder: string, options: { readonly signal: AbortSignal }): Promise<void>;
  /** Freezes a copy of the current weights as the reference policy. */
  freezeReference(options: { readonly signal: AbortSignal }): Promise<void>;
  /** Forgets Adam moments and step count. */
  resetOptimiser(options: { readonly signal: AbortSignal }): Promise<void>;
}

/** Holds the weights that are trained: sums gradients, applies them, and hands the weights over. */
export interface Trainer extends GradientOperations, StateOperations {
  readonly kind: string;
  readonly specificationVersion: 2;
  readonly capabilities: TrainerCapabilities;
  readonly model: ModelInfo;
  /**
   * Connects to what does the arithmetic; called once before anything else, and again after a loss, which may have been another part's:
   * weights and gradients that are still there stay, and what is gone is told by the next call that needs it (WEIR_E_REMOTE_STATE).
   * `capabilities` and `model` hold from then on. Errors: WEIR_E_UNREACHABLE; WEIR_E_REMOTE for a server that cannot do what the configuration asks.
   */
  connect?(options: { readonly signal: AbortSignal }): Promise<void>;
  /** Journals training calls before they are sent; see the fact `trainer.called`. Called once, before the first of them. */
  journalTo?(write: (call: TrainingCall) => void): void;
  dispose?(): Promise<void> | void;
}

/** A call that changes a trainer's state elsewhere, as it is journalled before it is sent. */
export interface TrainingCall {
  /** The model at the server. */
  readonly model: string;
  /** Grows by one with each call of the model. */
  readonly number: number;
  /** Name of the call at the server, such as `forward_backward`. */
  readonly call: string;
  /** Hex SHA-256 of the body. */
  readonly sha256: string;
}
