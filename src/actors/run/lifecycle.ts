import { assign, fromPromise, setup } from "xstate";
import type { Initiator } from "../../contracts/knob.js";
import { WeirError } from "../../errors.js";
import { type PipelineInput, pipelineMachine } from "../pipeline/pipeline-machine.js";
import { type RollbackWish, wishOf } from "./rollback-wish.js";

/**
 * The lifecycle of a training run as a statechart:
 *
 *   operating ( deciding ⇄ preflight | evaluating | warmup | training | checkpointing | finishing ) ▸ completed
 *   with paused, draining, recovering, rollingBack, stopped and failed next to it; a history state brings a paused run back.
 *   The supervisor of the pipeline's stages is its child from start to end.
 *
 * Invariants: samples never pass through the machine, only what to do next; requests (pause, stop, checkpoint) take
 * effect at safe points, that is in `deciding`, between two pieces of work; every piece of work is an invoked actor that
 * resolves to the next plan, so that leaving a state cancels it.
 */

/** A piece of work of the run. */
export type Work = "preflight" | "evaluate" | "warmup" | "step" | "finish";

/** What to do next, as decided by the piece of work that has just ended. */
export interface Plan {
  readonly next: Work | "complete";
  /** Write a checkpoint before going on. */
  readonly checkpoint: boolean;
  /** Steps of warm-up and RL done; falls back with a restored checkpoint. */
  readonly done?: number;
  /** Pause for a person before going on. */
  readonly pause?: boolean;
  /** Go back before anything else: a restored run has come to where it was told to. */
  readonly rollback?: RollbackWish | null;
}

export interface LifecycleContext {
  readonly plan: Plan;
  readonly pauseRequested: boolean;
  readonly stopRequested: boolean;
  readonly checkpointRequested: boolean;
  /** Engine losses since the last new progress. */
  readonly recoveries: number;
  /** Most steps done so far. */
  readonly furthest: number;
  readonly maxRecoveries: number;
  /** The run is to go back to a snapshot before anything else; null where it is not. */
  readonly rollback: RollbackWish | null;
  readonly error: unknown;
  readonly pipeline: PipelineInput;
}

export type LifecycleEvent =
  | { readonly type: "PAUSE" }
  | { readonly type: "RESUME" }
  | { readonly type: "CHECKPOINT" }
  /** Go back to the end of RL step `to`, or of the last but one, between two pieces of work. */
  | { readonly type: "ROLL_BACK"; readonly to?: number; readonly by: Initiator; readonly reason: string }
  /** Drain: finish the current piece of work, write a checkpoint, end. */
  | { readonly type: "STOP" }
  /** End at once; what is in work is dropped. */
  | { readonly type: "ABORT" };

export interface LifecycleInput {
  readonly plan: Plan;
  readonly maxRecoveries: number;
  /** Of the pipeline's supervisor, which lives as long as the run. */
  readonly pipeline: PipelineInput;
}

/** Errors after which the engine can be restarted and the run restored. */
export function isRecoverable(error: unknown): boolean {
  return (
    WeirError.isInstance(error) && (error.code === "WEIR_E_ENGINE_CRASHED" || error.code === "WEIR_E_ENGINE_TIMEOUT")
  );
}

/** The guard wants the run back at a snapshot. */
function wantsRollback(error: unknown): boolean {
  return WeirError.isInstance(error) && error.code === "WEIR_E_ROLLBACK";
}

/** Errors that a person can put an end to; the run is paused and then tries the same piece of work again. */
export function isPausing(error: unknown): boolean {
  return WeirError.isInstance(error) && error.code === "WEIR_E_POLICY_BUDGET";
}

const unprovided = (name: string) =>
  fromPromise<Plan>(() =>
    Promise.reject(
      new WeirError("WEIR_E_ACTOR_MISSING", `lifecycle: no implementation was given for the work "${name}"`, { name }),
    ),
  );

const lifecycleSetup = setup({
  types: {} as { context: LifecycleContext; events: LifecycleEvent; input: LifecycleInput },
  actors: {
    pipeline: pipelineMachine,
    preflight: unprovided("preflight"),
    evaluate: unprovided("evaluate"),
    warmup: unprovided("warmup"),
    step: unprovided("step"),
    checkpoint: unprovided("checkpoint"),
    finish: unprovided("finish"),
    recover: unprovided("recover"),
    rollBack: unprovided("rollBack"),
    drain: unprovided("drain"),
  },
  actions: {
    // Steps that are only repeated after a loss are not progress: an engine that fails at the same step each time, such as
    // for lack of memory, must not be restarted forever.
    takePlan: assign(({ context }, params: { plan: Plan; progressed: boolean }) => {
      const { plan, progressed } = params;
      const done = plan.done ?? context.furthest + 1;
      const rollback = plan.rollback ?? context.rollback;
      if (!progressed || done <= context.furthest) return { plan, rollback };
      return { plan, rollback, recoveries: 0, furthest: done };
    }),
    takeError: assign((_, params: { error: unknown }) => ({ error: params.error })),
    noteWish: assign((_, params: { error: unknown }) => ({ rollback: wishOf(params.error) })),
    // A guard's own wish is not replaced: the trainer stands in the middle of a step.
    takeWish: assign(({ context, event }) => {
      if (event.type !== "ROLL_BACK" || context.rollback !== null) return {};
      const { to = null, by, reason } = event;
      return { rollback: { to, by, reason, error: null } };
    }),
    wentBack: assign(({ context }, params: { plan: Plan }) => ({
      rollback: null,
      pauseRequested: context.pauseRequested || params.plan.pause === true,
    })),
    dropWish: assign({ rollback: null }),
    // The guard will say so again, if it still finds reason.
    dropGuardsWish: assign(({ context }) => (context.rollback?.by.kind === "guard" ? { rollback: null } : {})),
    countRecovery: assign(({ context }) => ({ recoveries: context.recoveries + 1 })),
    checkpointDone: assign(({ context }) => ({
      checkpointRequested: false,
      plan: { ...context.plan, checkpoint: false },
    })),
    clearError: assign({ error: null }),
    requestPause: assign({ pauseRequested: true }),
    clearPause: assign({ pauseRequested: false }),
    requestCheckpoint: assign({ checkpointRequested: true }),
    requestStop: assign({ stopRequested: true }),
  },
  guards: {
    recoverable: ({ context }, params: { error: unknown }) =>
      isRecoverable(params.error) && context.recoveries < context.maxRecoveries,
    rollback: (_, params: { error: unknown }) => wantsRollback(params.error),
    rollbackWanted: ({ context }) => context.rollback !== null,
    pausing: (_, params: { error: unknown }) => isPausing(params.error),
    recoveriesLeft: ({ context }) => context.recoveries < context.maxRecoveries,
    stopRequested: ({ context }) => context.stopRequested,
    pauseRequested: ({ context }) => context.pauseRequested,
    checkpointDue: ({ context }) => context.checkpointRequested || context.plan.checkpoint,
    nextIs: ({ context }, params: { work: Work }) => context.plan.next === params.work,
  },
});

interface Failed {
  readonly event: { readonly error: unknown };
}

const errorOf = ({ event }: Failed) => ({ error: event.error });
const noteError = { type: "takeError", params: errorOf } as const;
const fail = { target: "#lifecycle.failed", actions: noteError } as const;

const failOrRecover = [
  {
    guard: { type: "recoverable", params: errorOf },
    target: "#lifecycle.recovering",
    actions: ["countRecovery", "dropGuardsWish", noteError],
  },
  {
    guard: { type: "rollback", params: errorOf },
    target: "#lifecycle.rollingBack",
    actions: [{ type: "noteWish", params: errorOf }, noteError],
  },
  { guard: { type: "pausing", params: errorOf }, target: "#lifecycle.paused", actions: noteError },
  fail,
] as const;

/** Work that ends in a plan; losing the engine leads to `recovering`, anything else to `failed`. */
function work<const Source extends Work>(src: Source) {
  return {
    invoke: {
      src,
      onDone: {
        target: "deciding",
        actions: {
          type: "takePlan",
          params: ({ event }: { readonly event: { readonly output: Plan } }) => ({
            plan: event.output,
            progressed: src === "step" || src === "warmup",
          }),
        },
      },
      onError: failOrRecover,
    },
  } as const;
}

const requests = {
  PAUSE: { actions: "requestPause" },
  RESUME: { actions: "clearPause" },
  CHECKPOINT: { actions: "requestCheckpoint" },
  STOP: { actions: "requestStop" },
  ROLL_BACK: { actions: "takeWish" },
} as const;

const when = <const W extends Work>(workName: W) => ({ type: "nextIs", params: { work: workName } }) as const;

export const lifecycleMachine = lifecycleSetup.createMachine({
  id: "lifecycle",
  context: ({ input }) => ({
    plan: input.plan,
    pauseRequested: false,
    stopRequested: false,
    checkpointRequested: false,
    recoveries: 0,
    furthest: input.plan.done ?? 0,
    maxRecoveries: input.maxRecoveries,
    rollback: input.plan.rollback ?? null,
    error: null,
    pipeline: input.pipeline,
  }),
  invoke: { src: "pipeline", id: "pipeline", input: ({ context }) => context.pipeline },
  initial: "operating",
  on: { ABORT: ".stopped" },
  states: {
    operating: {
      initial: "deciding",
      on: requests,
      states: {
        deciding: {
          always: [
            { guard: "rollbackWanted", target: "#lifecycle.rollingBack" },
            { guard: "stopRequested", target: "#lifecycle.draining" },
            { guard: "checkpointDue", target: "checkpointing" },
            { guard: "pauseRequested", target: "#lifecycle.paused" },
            { guard: when("preflight"), target: "preflight" },
            { guard: when("evaluate"), target: "evaluating" },
            { guard: when("warmup"), target: "warmup" },
            { guard: when("step"), target: "training" },
            { guard: when("finish"), target: "finishing" },
            { target: "#lifecycle.completed" },
          ],
        },
        preflight: work("preflight"),
        evaluating: work("evaluate"),
        warmup: work("warmup"),
        training: work("step"),
        finishing: work("finish"),
        checkpointing: {
          invoke: {
            src: "checkpoint",
            onDone: { target: "deciding", actions: "checkpointDone" },
            onError: failOrRecover,
          },
        },
        hist: { type: "history" },
      },
    },
    paused: {
      on: {
        // Until it has gone back, a run whose guard asked for it has weights that belong to no step.
        RESUME: [
          { guard: "rollbackWanted", target: "rollingBack", actions: ["clearPause", "clearError"] },
          { target: "operating.hist", actions: ["clearPause", "clearError"] },
        ],
        CHECKPOINT: [
          { guard: "rollbackWanted", actions: "requestCheckpoint" },
          { target: "operating.checkpointing", actions: ["requestPause", "clearError"] },
        ],
        ROLL_BACK: { target: "rollingBack", actions: ["takeWish", "requestPause", "clearError"] },
        STOP: [{ guard: "rollbackWanted", target: "stopped" }, { target: "draining" }],
      },
    },
    recovering: {
      on: requests,
      invoke: {
        src: "recover",
        onDone: {
          target: "operating",
          actions: { type: "takePlan", params: ({ event }) => ({ plan: event.output, progressed: false }) },
        },
        onError: [
          { guard: "recoveriesLeft", target: "recovering", reenter: true, actions: ["countRecovery", noteError] },
          fail,
        ],
      },
    },
    rollingBack: {
      on: requests,
      invoke: {
        src: "rollBack",
        onDone: {
          target: "operating",
          actions: [
            { type: "takePlan", params: ({ event }) => ({ plan: event.output, progressed: false }) },
            { type: "wentBack", params: ({ event }) => ({ plan: event.output }) },
          ],
        },
        // What a person wanted is in the run folder by then: the restored run comes to it again.
        onError: [
          { ...failOrRecover[0], actions: ["countRecovery", "dropWish", noteError] },
          ...failOrRecover.slice(1),
        ],
      },
    },
    draining: { invoke: { src: "drain", onDone: "stopped", onError: fail } },
    completed: { type: "final" },
    stopped: { type: "final" },
    failed: { type: "final" },
  },
});
