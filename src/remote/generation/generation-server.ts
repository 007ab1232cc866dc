/** What weir needs of a server that generates from token ids, whatever its wire. One server each; vLLM and SGLang implement it. */
import type { ProductPrecision } from "../../contracts/precision.js";
import type { ArtifactKind } from "../../contracts/published-policy.js";
import type { SamplerCapabilities, SamplingParams } from "../../contracts/sampler.js";

/** The forms of weights that such a server takes: an adapter by its name, or a whole model folder in the place of its weights. */
export type PolicyForm = Extract<ArtifactKind, "adapter" | "checkpoint">;

/** What a server said of itself when it was asked. */
export interface ServerFacts {
  readonly version: string | null;
  /** Base models that it serves; adapters are not among them. */
  readonly models: readonly string[];
  /** Longest sequence, prompt and response together, tokens; null where it does not tell. */
  readonly maxTokens: number | null;
  readonly adopts: readonly PolicyForm[];
  /** Adapters that it has loaded, whoever loaded them. */
  readonly adapters: readonly string[];
  /** Largest rank of an adapter; null where it does not tell. */
  readonly maxRank: number | null;
  readonly seeds: SamplerCapabilities["seeds"];
  /** Of its large matrix products; null where it does not tell, or its weights are quantised. */
  readonly precision: ProductPrecision | null;
  /** Name of its base weights; null where they are those that it was started with. */
  readonly label: string | null;
  /** It takes requests and draws nothing until it is told to go on; null where it does not tell. */
  readonly paused: boolean | null;
  readonly notes: Readonly<Record<string, string>>;
  /** What keeps weir from working with it, each with what to do. */
  readonly problems: readonly string[];
}

/** One prompt and what is wanted for it. */
export interface Draw {
  /** Never used twice. */
  readonly id: string;
  /** Name of an adapter; null for the base weights. */
  readonly adapter: string | null;
  /** Keeps cached prefixes of different weights apart. */
  readonly cacheSalt: string;
  readonly promptIds: readonly number[]; // [P]
  readonly seeds: readonly number[]; // [G]
  readonly params: SamplingParams;
  readonly deadlineMs: number;
}

/** Tokens [start, end) that base weights of the name `label` drew; null: those that the server was started with. */
export interface LabelSpan {
  readonly label: string | null;
  readonly start: number;
  readonly end: number;
}

export interface Drawn {
  readonly tokenIds: readonly number[]; // [T]
  readonly logprobs: readonly number[]; // [T]
  readonly finish: "stop" | "length" | "aborted";
  readonly labels: readonly LabelSpan[];
}

/** The log-probs of one next token. */
export interface Peek {
  readonly drawn: number;
  /** The largest ones, the largest first. */
  readonly top: readonly number[];
}

/** What every call to a server has. */
export interface Call {
  readonly signal: AbortSignal;
}

export interface GenerationServer {
  readonly url: string;
  /** Errors: WEIR_E_UNREACHABLE; WEIR_E_REMOTE for a wrong key or something that is no such server; WEIR_E_CONFIG for an unknown model. */
  inspect(options: Call): Promise<ServerFacts>;
  /** Draws one token after `promptIds` and tells its log-prob and the largest five. */
  peek(
    promptIds: readonly number[],
    at: { readonly temperature: number; readonly topK: number },
    options: Call,
  ): Promise<Peek>;
  /**
   * Errors: WEIR_E_REMOTE_STATE for an adapter that the server does not have; WEIR_E_UNREACHABLE for a server that is gone, broken or
   * does not answer within `deadlineMs`; WEIR_E_REMOTE for a refusal.
   */
  draw(draw: Draw, options: Call): Promise<readonly Drawn[]>;
  /** Loads an adapter from a folder that the server can read; one of that name is replaced. */
  loadAdapter(name: string, folder: string, options: Call): Promise<void>;
  /** One that is not there is no error. */
  unloadAdapter(name: string, options: Call): Promise<void>;
  /** Puts a model folder in the place of the base weights, under a name; requests in flight go on with the new weights. */
  loadFolder(folder: string, label: string, options: Call): Promise<void>;
  /** Goes on after a pause; one that is not paused stays as it is. */
  resume(options: Call): Promise<void>;
  load(
    options: Call,
  ): Promise<{ readonly running: number; readonly waiting: number; readonly cacheUse: number | null }>;
}
