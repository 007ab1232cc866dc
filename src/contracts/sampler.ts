import type { PolicySpan } from "./policy-version.js";
import type { ProductPrecision } from "./precision.js";
import type { ArtifactKind, PublishedPolicy } from "./published-policy.js";
import type { FinishReason } from "./rollout.js";

export interface SamplingParams {
  /** 0 means greedy. */
  readonly temperature: number;
  /** Nucleus mass in (0, 1]; 1 switches it off. */
  readonly topP: number;
  /** 0 switches it off. */
  readonly topK: number;
  readonly maxTokens: number;
  readonly stopIds: readonly number[];
}

/** One prompt and the random keys of the sequences wanted for it; the prompt is prefilled once for all of them. */
export interface SamplePrompt {
  readonly promptIds: readonly number[]; // [P]
  /** One 32-bit key per wanted sequence; token t of it draws from counter (key, t) only (I12). */
  readonly seeds: readonly number[]; // [G]
}

/** Which policy a request wants, by version number: this very one, or this one or any newer. */
export type PolicyWanted = { readonly exactly: number } | { readonly atLeast: number };

export interface SampleRequest {
  /** Names the attempt, for logs and for stopping it; never used again for other contents. */
  readonly id: string;
  readonly prompts: readonly SamplePrompt[]; // [P]
  readonly params: SamplingParams;
  /** Null takes whatever policy the sampler has. Errors of `sample`: WEIR_E_POLICY_VERSION where it cannot be had. */
  readonly policy: PolicyWanted | null;
  /** What the sequences are for. A sampler may serve training first; it changes nothing about the sequences. */
  readonly purpose: "training" | "evaluation";
  /** The answer has to be there within this time, ms. */
  readonly deadlineMs: number;
}

export interface SampledSequence {
  /** Includes the stop id when finish is `stop`. */
  readonly tokenIds: readonly number[]; // [T]
  /** In the sampler's basis (`SamplerCapabilities.logprobBasis`); under temperature 1 when greedy. Nats. */
  readonly logprobs: readonly number[]; // [T]
  /** Entropy of the distribution in that basis, nats; null where the sampler gives none. */
  readonly entropies: readonly number[] | null; // [T]
  readonly finish: FinishReason;
  /** Which policy drew which tokens; in order and without gaps over [0, T). */
  readonly spans: readonly PolicySpan[];
}

export interface SampleReply {
  /** [prompt][G] */
  readonly sequences: readonly (readonly SampledSequence[])[];
  /** Time at work, s. */
  readonly seconds: number;
}

/**
 * What log-probs are of: `scaled`: softmax(logits / T) over the whole vocabulary; `raw`: softmax(logits); `processed`: after T, top-p
 * and top-k, renormalised.
 */
export const LOGPROB_BASES = ["scaled", "raw", "processed"] as const;
export type LogprobBasis = (typeof LOGPROB_BASES)[number];

export interface SamplerCapabilities {
  readonly logprobBasis: LogprobBasis;
  /** Whether a seed repeats a sequence whatever else is in the request, repeats the request, or nothing. */
  readonly seeds: "per-sequence" | "per-request" | "none";
  /** A sequence may span several policies, and says which token is whose. */
  readonly tokenVersions: boolean;
  /** Forms of published policies that `adopt` takes. */
  readonly adopts: readonly ArtifactKind[];
  /** Versions that can be sampled from at one time. */
  readonly heldVersions: number;
  readonly entropies: boolean;
  /** The signal ends the work at the sampler too, not only the wait for it. */
  readonly abort: boolean;
  /**
   * Element type of its large matrix products, which says how far its log-probs may be from the trainer's (I8); null or left out where
   * it is not known.
   */
  readonly precision?: ProductPrecision | null;
}

export interface SamplerLoad {
  readonly running: number;
  readonly waiting: number;
  /** Share of the KV cache in use; null where it is not known. */
  readonly cacheUse: number | null;
  /** Versions that can be sampled from now. */
  readonly versions: readonly number[];
}

/** Draws sequences from published policies. */
export interface Sampler {
  readonly kind: string;
  readonly specificationVersion: 2;
  readonly capabilities: SamplerCapabilities;
  sample(request: SampleRequest, options: { readonly signal: AbortSignal }): Promise<SampleReply>;
  /**
   * Makes a policy available; a second call with the same version and hash does nothing. `inFlight`: what becomes of sequences
   * that are being drawn.
   * Errors: WEIR_E_POLICY_VERSION for an artifact that this sampler cannot read.
   */
  adopt(
    policy: PublishedPolicy,
    options: { readonly signal: AbortSignal; readonly inFlight: "keep" | "wait" | "abort" },
  ): Promise<void>;
  /** Gives a version up; one that is not held is no error. */
  release(version: number, options: { readonly signal: AbortSignal }): Promise<void>;
  load(options: { readonly signal: AbortSignal }): Promise<SamplerLoad>;
  /** Connects to its server; called once before anything else, and again after a loss. Errors: WEIR_E_UNREACHABLE, WEIR_E_REMOTE. */
  connect?(options: { readonly signal: AbortSignal }): Promise<void>;
  dispose?(): Promise<void> | void;
}
