import type { PolicyVersion } from "./policy-version.js";
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

export interface SampleRequest {
  readonly prompts: readonly SamplePrompt[];
  readonly params: SamplingParams;
  /**
   * Prompts and sequences will be trained on, or scored, at these weights: what the engine computes of them may be cached until
   * the weights change, as memory permits. Left out: no.
   */
  readonly keepForTraining?: boolean;
}

export interface SampledSequence {
  /** Includes the stop id when finish is `stop`. */
  readonly tokenIds: readonly number[]; // [T]
  /** Under the temperature-scaled full softmax (before top-p/top-k); under temperature 1 when greedy. Nats. */
  readonly logprobs: readonly number[]; // [T]
  readonly entropies: readonly number[]; // [T]
  readonly finish: FinishReason;
}

export interface SampleReply {
  /** [prompt][G] */
  readonly sequences: readonly (readonly SampledSequence[])[];
  readonly version: PolicyVersion;
  readonly seconds: number;
}

/** Draws sequences from the current policy. */
export interface Sampler {
  readonly kind: string;
  readonly specificationVersion: 1;
  sample(request: SampleRequest, options: { readonly signal: AbortSignal }): Promise<SampleReply>;
}
