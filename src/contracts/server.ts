import type { SamplerCapabilities } from "./sampler.js";
import type { TrainerCapabilities } from "./trainer.js";

/** What a server says of itself, for `weir doctor --engine` and for the check of a configuration at the start. */
export interface ServerDescription {
  readonly kind: "vllm" | "sglang" | "tinker" | "nats";
  readonly url: string;
  /** Null where the server does not tell. */
  readonly version: string | null;
  /** Names of the base models that it serves. */
  readonly models: readonly string[];
  /** Longest sequence, prompt and response together, tokens; null where it is not known. */
  readonly maxTokens: number | null;
  /** Null where it samples nothing. */
  readonly sampler: SamplerCapabilities | null;
  /** Null where it trains nothing. */
  readonly trainer: TrainerCapabilities | null;
  /** What else is worth knowing, one line each, by name: `largest rank`, `adapters held`. */
  readonly notes: Readonly<Record<string, string>>;
  /** What keeps weir from working with it at all, each with what to do; empty where nothing does. */
  readonly problems: readonly string[];
}
