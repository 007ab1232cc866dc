/**
 * Messages between the control plane and an engine process. Structured clone carries them (advanced serialisation), so
 * typed arrays and NaN cross unharmed. One request is at work at a time; `abort` overtakes.
 */
import type { EngineInfo, EngineOptions, EngineStats, MemoryPlan, MicroBatchSize } from "../../contracts/engine.js";
import type { LossEvaluation, LossSequence } from "../../contracts/loss.js";
import type { ModelInfo } from "../../contracts/model-info.js";
import type { PolicyVersion } from "../../contracts/policy-version.js";
import type { ArtifactKind, PublishedPolicy } from "../../contracts/published-policy.js";
import type { SampleReply } from "../../contracts/sampler.js";
import type {
  OptimiserConfig,
  OptimStepReply,
  PolicyBatch,
  PolicyMetrics,
  ScoredSequences,
  SftBatch,
  SftMetrics,
  Trainer,
} from "../../contracts/trainer.js";
import type { ErrorCode } from "../../errors.js";
import type { RotaryDtype } from "../transformer/rope.js";
import type { LogprobsRequest, SampleInput } from "./core.js";

/** Each request: its input and its answer. */
export interface EngineCalls {
  sample: { input: SampleInput; output: SampleReply };
  adopt: { input: PublishedPolicy; output: null };
  /** `asks`: the caller evaluates the loss; the engine sends it the sequences of each micro-batch. */
  forwardBackward: { input: { batch: PolicyBatch; asks: boolean }; output: PolicyMetrics };
  sftForwardBackward: { input: SftBatch; output: SftMetrics };
  gradientNorm: { input: null; output: number };
  discardGradients: { input: null; output: null };
  optimStep: {
    input: { config: OptimiserConfig; reportTensors: boolean; revisable: boolean };
    output: OptimStepReply;
  };
  reviseStep: { input: { share: number }; output: null };
  logprobs: { input: LogprobsRequest; output: Awaited<ReturnType<Trainer["logprobs"]>> };
  scoreSequences: { input: readonly (readonly number[])[]; output: ScoredSequences };
  freezeReference: { input: null; output: null };
  publish: { input: { as: ArtifactKind; folder: string | null }; output: PublishedPolicy };
  saveState: { input: { directory: string }; output: null };
  loadState: { input: { directory: string; above: number | null }; output: PolicyVersion };
  resetOptimiser: { input: null; output: null };
  stats: { input: null; output: EngineStats };
  planMemory: { input: MicroBatchSize; output: MemoryPlan };
}

export type EngineMethod = keyof EngineCalls;

/** What the process needs to begin; the first message it gets. */
export interface StartMessage {
  readonly kind: "start";
  readonly modelDir: string;
  readonly options: EngineOptions;
  readonly rotaryDtype: RotaryDtype | null;
}

export type ToEngine =
  | StartMessage
  | {
      [M in EngineMethod]: {
        readonly kind: "request";
        readonly id: number;
        readonly method: M;
        readonly input: EngineCalls[M]["input"];
      };
    }[EngineMethod]
  /** The caller's loss for the request that asked; `error` where it failed. */
  | { readonly kind: "evaluated"; readonly id: number; readonly evaluation: LossEvaluation }
  | { readonly kind: "unevaluated"; readonly id: number; readonly error: ErrorMessage }
  | { readonly kind: "abort"; readonly id: number }
  | { readonly kind: "close" };

/** An error in a form that crosses processes. */
export interface ErrorMessage {
  /** Null for errors that are not weir's. */
  readonly code: ErrorCode | null;
  readonly message: string;
  readonly details: Readonly<Record<string, unknown>>;
  readonly stack: string | undefined;
}

export type FromEngine =
  | {
      readonly kind: "ready";
      readonly info: EngineInfo;
      readonly model: ModelInfo;
      readonly version: PolicyVersion;
    }
  | { readonly kind: "refused"; readonly error: ErrorMessage }
  | { readonly kind: "reply"; readonly id: number; readonly output: unknown; readonly version: PolicyVersion }
  | { readonly kind: "error"; readonly id: number; readonly error: ErrorMessage }
  /** Asks the caller of a request for its loss over these sequences. */
  | { readonly kind: "evaluate"; readonly id: number; readonly sequences: readonly LossSequence[] }
  | { readonly kind: "heartbeat"; readonly rssBytes: number };
