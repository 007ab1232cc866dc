import { pipe } from "rxjs";
import type { LagStatus } from "../../contracts/actor-status.js";
import type { Group, SampleGroup } from "../../contracts/group.js";
import type { PolicyVersion } from "../../contracts/policy-version.js";
import { WeirError } from "../../errors.js";
import type { FormedBatch, JudgedRound } from "../../streams/batch-former.js";
import type { END } from "../../streams/bounded-queue.js";
import {
  type IssuedTask,
  type RolloutOptions,
  type RolloutParts,
  rolloutStages,
} from "../../streams/rollout-stages.js";
import { type Flow, type Remedy, source, stage } from "../../streams/stage.js";
import type { UpdateResult } from "../update/update.js";
import type { RolloutSeconds } from "./step-time.js";

/** The stages of training, put together. What each of them does is given. */

/** What the batch stage hears: groups that were judged, or that an RL step asks for its batch. */
export type BatchInput = { readonly round: JudgedRound } | "asked";

/** A batch with the weights that it will be trained on. */
export interface FormedStep {
  readonly batch: FormedBatch;
  readonly policy: PolicyVersion;
}

export interface SampledStep extends FormedStep {
  readonly kept: readonly SampleGroup[];
}

/** Where the time of a step went, s. */
export interface StepSeconds extends RolloutSeconds {
  readonly train: number;
  /** From naming the weights to having them in the store. */
  readonly publish: number;
  /** Of an adoption by the sampler that has ended since the step before; null where none has. */
  readonly adopt: number | null;
}

/** What came of an RL step. */
export interface TrainedStep extends SampledStep {
  readonly update: UpdateResult;
  /** Tokens of the batch by lag. */
  readonly lag: LagStatus;
  readonly seconds: StepSeconds;
}

export interface TrainingHandlers {
  /** The tasks of the next sampler call. */
  nextCall(signal: AbortSignal): Promise<readonly IssuedTask[] | typeof END>;
  judge(groups: readonly Group[], signal: AbortSignal): Promise<JudgedRound>;
  /** The batch that was asked for, once there is enough for it. */
  form(input: BatchInput): readonly FormedStep[];
  advantages(formed: FormedStep, signal: AbortSignal): Promise<SampledStep>;
  train(sampled: SampledStep, signal: AbortSignal): Promise<TrainedStep>;
  publish(trained: TrainedStep, signal: AbortSignal): Promise<void>;
}

/** The whole pipeline; it is complete, so that nothing comes out at its end. */
export function trainingStages(
  rollout: { readonly parts: RolloutParts; readonly options: RolloutOptions },
  handlers: TrainingHandlers,
): Flow<never> {
  const { queueGroups } = rollout.options;
  return pipe(
    rolloutStages({ ...rollout.parts, onSamplerError: remedyOf }, rollout.options),
    stage<readonly Group[], BatchInput>({
      name: "filter",
      queue: "groups",
      bound: queueGroups,
      workers: 1,
      handle: async (groups, { signal }) => [{ round: await handlers.judge(groups, signal) }],
      onError: remedyOf,
    }),
    stage<BatchInput, FormedStep>({
      name: "batch",
      queue: "judged",
      bound: queueGroups,
      workers: 1,
      handle: (input) => handlers.form(input),
    }),
    stage<FormedStep, SampledStep>({
      name: "advantage",
      queue: "batches",
      bound: 1,
      workers: 1,
      handle: async (formed, { signal }) => [await handlers.advantages(formed, signal)],
      onError: remedyOf,
    }),
    // Half an update cannot be repeated: the run's lifecycle restores a checkpoint.
    stage<SampledStep, TrainedStep>({
      name: "update",
      queue: "samples",
      bound: 1,
      workers: 1,
      handle: async (sampled, { signal }) => [await handlers.train(sampled, signal)],
    }),
    stage<TrainedStep, never>({
      name: "publish",
      queue: "updates",
      bound: 1,
      workers: 1,
      handle: async (trained, { signal }) => {
        await handlers.publish(trained, signal);
        return [];
      },
      onError: remedyOf,
    }),
  )(source({ name: "tasks", next: ({ signal }) => handlers.nextCall(signal) }));
}

/**
 * What may be tried again: a part that threw, or an error that nobody has named. A broken contract, a lost engine and a verdict of the
 * guard are for the run to decide.
 */
export function remedyOf(error: unknown): Remedy {
  if (!WeirError.isInstance(error)) return { action: "restart" };
  return { action: error.code === "WEIR_E_PART" && error.cause !== undefined ? "restart" : "fail" };
}
