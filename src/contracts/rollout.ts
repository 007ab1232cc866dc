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
  /** log π(token) under the temperature-scaled full softmax, nats. */
  readonly samplerLogprobs: readonly number[]; // [T]
  /** Entropy of the temperature-scaled distribution at each token, nats. */
  readonly entropies: readonly number[]; // [T]
  readonly finish: FinishReason;
  readonly policy: readonly PolicySpan[];
  /** 32-bit key of this rollout's counter-based random stream (I12). */
  readonly seed: number;
  /** Decoded response with special tokens. */
  readonly text: string;
}
