import type { PolicySpan } from "./policy-version.js";

/** Why generation of a rollout ended. `stop` includes the stop token in `tokenIds`. */
export type FinishReason = "stop" | "length" | "aborted";

/** One sampled response of a task. Token ids are the record; `text` is a view of them. */
export interface Rollout {
  readonly id: string;
  readonly taskId: string;
  readonly groupId: string;
  /** g in [0, G). */
  readonly sampleIndex: number;
  readonly promptIds: readonly number[]; // [P]
  readonly tokenIds: readonly number[]; // [T]
  /** log π(token) in the sampler's basis, nats: under the temperature-scaled full softmax where that is the embedded engine. */
  readonly samplerLogprobs: readonly number[]; // [T]
  /** Entropy of that distribution at each token, nats; null where the sampler gives none. */
  readonly entropies: readonly number[] | null; // [T]
  readonly finish: FinishReason;
  readonly policy: readonly PolicySpan[];
  /** 32-bit key of this rollout's counter-based random stream (I12). */
  readonly seed: number;
  /** Decoded response with special tokens. */
  readonly text: string;
}
