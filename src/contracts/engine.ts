import type { ModelInfo } from "./model-info.js";
import type { PolicyStore } from "./policy-store.js";
import type { PolicyVersion } from "./policy-version.js";
import type { EnginePrecision } from "./precision.js";
import type { Sampler } from "./sampler.js";
import type { ScoredSequences, Trainer } from "./trainer.js";

/** Numerics backends, the fastest first: `auto` takes the first that works. */
export const BACKENDS = ["tensorflow", "wasm", "cpu"] as const;
export type BackendName = (typeof BACKENDS)[number];
/** What a caller may ask for. */
export const BACKEND_CHOICES = ["auto", ...BACKENDS] as const;

export const EXECUTORS = ["eager", "compiled"] as const;
export type ExecutorName = (typeof EXECUTORS)[number];
export const EXECUTOR_CHOICES = ["auto", ...EXECUTORS] as const;

export { type EnginePrecision, PRECISIONS, WEIGHT_DTYPES, type WeightDtype } from "./precision.js";

/** Matrices of a layer that adapters can be put on. */
export const LORA_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"] as const;
type LoraTarget = (typeof LORA_TARGETS)[number];

const isOfMlp = (name: LoraTarget) => !/^[qkvo]_/.test(name);
/** Those of the attention block, and those of the MLP. */
export const ATTENTION_TARGETS: readonly LoraTarget[] = LORA_TARGETS.filter((name) => !isOfMlp(name));
export const MLP_TARGETS: readonly LoraTarget[] = LORA_TARGETS.filter(isOfMlp);

/** Low-rank adaptation: W = W₀ + (alpha/rank)·B·A, where only A and B are trained (arXiv 2106.09685). */
export interface LoraOptions {
  readonly rank: number;
  readonly alpha: number;
  readonly targets: readonly (typeof LORA_TARGETS)[number][];
  /** Of A's first values. */
  readonly seed: number;
}

export interface EngineOptions {
  /** `auto`: tensorflow where the native engine is set up, else wasm, else cpu. */
  readonly backend: (typeof BACKEND_CHOICES)[number];
  /** Intra-op threads; 0 leaves the choice to the backend. */
  readonly threads: number;
  /** `auto`: compiled graphs where the backend can run them, else eager, with the reason stated. */
  readonly executor: (typeof EXECUTOR_CHOICES)[number];
  /** Element type of the large matrix products; weights, softmax, norms, loss and moments are float32 either way. */
  readonly precision: EnginePrecision;
  /** Memory that the engine process plans for, GiB; null takes 80 % of what is free at start, within the container's limit; on a GPU, of its memory. */
  readonly memoryGiB: number | null;
  /** Null trains every parameter. */
  readonly lora: LoraOptions | null;
  /** Deadline of one request, ms. */
  readonly requestTimeoutMs: number;
  /** Deadline of start-up and model load, ms. */
  readonly startTimeoutMs: number;
  /** The engine must show a sign of life at least this often while idle, ms. */
  readonly heartbeatMs: number;
}

export interface EngineInfo {
  readonly backend: BackendName;
  /** Why this backend, in one sentence. */
  readonly reason: string;
  readonly executor: ExecutorName;
  /** Why this executor, in one sentence. */
  readonly executorReason: string;
  readonly precision: EnginePrecision;
  readonly backendVersion: string;
  readonly pid: number;
}

export interface EngineStats {
  readonly tensors: number;
  readonly bytes: number;
  readonly rssBytes: number;
  /** Largest resident memory of the process so far. */
  readonly peakRssBytes: number;
  /** Graphs compiled so far, and the time that took (tracing, loading, first run). */
  readonly graphs: number;
  readonly compileSeconds: number;
}

/** Tokens of one micro-batch in its padded layout. */
export interface MicroBatchSize {
  /** Tokens of prompts or whole sequences. */
  readonly prefixTokens: number;
  /** Tokens of completions. */
  readonly rowTokens: number;
  /** Places of the same in attention, where every row is laid out at full length; as many as tokens where not given. */
  readonly prefixSlots?: number;
  readonly rowSlots?: number;
  /** Tokens that the loss is taken over. */
  readonly targets: number;
  /** An optimiser step that can be undone is measured on it, too (`guard.trial`). */
  readonly trial?: boolean;
}

export interface MemoryPlan {
  /** Program, weights, moments, gradient sums and copies. */
  readonly stateBytes: number;
  /** Activations that layers save for the backward pass. */
  readonly activationBytes: number;
  /** The widest moment on top of both. */
  readonly workBytes: number;
  /** Copies of trained weights and moments while a step can be undone; 0 without. They and `activationBytes` never meet. */
  readonly trialBytes: number;
  readonly peakBytes: number;
  readonly budgetBytes: number;
  readonly layers: number;
  /** Layers that save their activations; the others are recomputed in the backward pass. */
  readonly savedLayers: number;
  /** The plan in one line. */
  readonly text: string;
}

/**
 * A supervised process that holds one policy (and, when asked, a frozen reference of it). Its sampler and trainer work on the same
 * weights, so that a publication moves none: a policy is handed over as a handle.
 * Every call has a deadline and rejects with WEIR_E_ENGINE_* on crash, timeout or abort (I5).
 */
export interface Engine {
  readonly info: EngineInfo;
  readonly model: ModelInfo;
  readonly sampler: Sampler;
  readonly trainer: Trainer;
  readonly policyStore: PolicyStore;
  /** The policy that was published last; the current weights may be newer. */
  version(): PolicyVersion;
  /** Plain sequences, for `weir logprobs`. */
  scoreSequences(
    sequences: readonly (readonly number[])[],
    options: { readonly signal: AbortSignal },
  ): Promise<ScoredSequences>;
  stats(options: { readonly signal: AbortSignal }): Promise<EngineStats>;
  /** What a micro-batch of this size would take; nothing is run. */
  planMemory(size: MicroBatchSize, options: { readonly signal: AbortSignal }): Promise<MemoryPlan>;
  /** Resolves when the process is gone, with the reason; never rejects. */
  readonly exited: Promise<{ readonly expected: boolean; readonly reason: string }>;
  close(): Promise<void>;
}
