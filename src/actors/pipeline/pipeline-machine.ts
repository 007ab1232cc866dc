import { type AnyActorRef, assign, enqueueActions, setup } from "xstate";
import type { SupervisedStage } from "../../streams/stage.js";
import { type StageFailed, type StageInput, stageMachine } from "./stage-machine.js";

/**
 * The supervisor of a pipeline's stages. It starts them together and stops them together: a stage that is given up takes the others
 * with it, since what one has in work the others wait for. The run decides what follows (its lifecycle restores a checkpoint, or fails).
 *
 *   idle ⇄ running ▸ failed
 */

export type PipelineEvent =
  | { readonly type: "START"; readonly stages: readonly SupervisedStage[] }
  /** Cancels what is in work. */
  | { readonly type: "HALT" }
  | StageFailed;

export interface PipelineInput extends Omit<StageInput, "stage"> {
  /** Given the supervisor once it is there. */
  readonly attached: (ref: AnyActorRef) => void;
  /** Called once when a stage was given up, after the others have been stopped. */
  readonly failed: (error: unknown) => void;
}

export interface PipelineMachineContext extends PipelineInput {
  readonly stages: readonly SupervisedStage[];
}

export const pipelineMachine = setup({
  types: {} as { context: PipelineMachineContext; events: PipelineEvent; input: PipelineInput },
  actors: { stage: stageMachine },
  actions: {
    takeStages: assign(({ event }) => (event.type === "START" ? { stages: event.stages } : {})),
    spawnStages: enqueueActions(({ context, enqueue }) => {
      const { stages, maxRestarts, restartDelayMs, changed } = context;
      for (const stage of stages)
        enqueue.spawnChild("stage", { id: stage.name, input: { stage, maxRestarts, restartDelayMs, changed } });
    }),
    stopStages: enqueueActions(({ context, enqueue }) => {
      for (const { name } of context.stages) enqueue.stopChild(name);
    }),
    tellFailure: ({ context, event }) => {
      if (event.type === "STAGE_FAILED") context.failed(event.error);
    },
  },
}).createMachine({
  id: "pipeline",
  context: ({ input }) => ({ ...input, stages: [] }),
  entry: ({ context, self }) => context.attached(self),
  initial: "idle",
  states: {
    idle: { on: { START: { target: "running", actions: "takeStages" } } },
    running: {
      entry: "spawnStages",
      exit: "stopStages",
      on: { HALT: "idle", STAGE_FAILED: { target: "failed", actions: "tellFailure" } },
    },
    failed: { on: { HALT: "idle" } },
  },
});
