import { assign, fromPromise, setup } from "xstate";
import type { Initiator } from "../../contracts/knob.js";
import { type ErrorCode, WeirError } from "../../errors.js";
import { type PipelineInput, pipelineMachine } from "../pipeline/pipeline-machine.js";
import { type RollbackWish, wishOf } from "./rollback-wish.js";

/**
 * The lifecycle of a training run as a statechart:
 *
 *   operating ( deciding ⇄ preflight | evaluating | warmup | training | checkpointing | finishing ) ▸ completed
 *   with paused, draining, recovering, rollingBack, stopped and failed next to it; a history state brings a paused run back.
 *   A run that is paused because a server cannot be reached goes on by itself once the server answers.
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
  /** Losses of an engine, or of a server's state, since the last new progress. */
  readonly recoveries: number;
  /** Most steps done so far. */
  readonly furthest: number;
  readonly maxRecoveries: number;
  /** The run is to go back to a snapshot before anything else; null where it is not. */
  readonly rollback: RollbackWish | null;
  readonly error: unknown;
  /** How the run goes on once its servers answer again; null where it waits for none. */
  readonly away: Return | null;
  readonly pipeline: PipelineInput;
}

/**
 * `retry`: with the same piece of work; `restore`: from the last checkpoint, since the piece of work may have changed weights without
 * telling, and nothing is to be applied twice.
 */
export type Return = "retry" | "restore";

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

const RECOVERABLE: readonly ErrorCode[] = ["WEIR_E_ENGINE_CRASHED", "WEIR_E_ENGINE_TIMEOUT", "WEIR_E_REMOTE_STATE"];

/** Errors after which the engine can be restarted, servers asked anew, and the run restored. */
export function isRecoverable(error: unknown): boolean {
  return WeirError.isInstance(error) && RECOVERABLE.includes(error.code);
}

/** A server cannot be reached; the run is paused until it can. */
export function isUnreachable(error: unknown): boolean {
  return WeirError.isInstance(error) && error.code === "WEIR_E_UNREACHABLE";
}

/** The guard wants the run back at a snapshot. */
function wantsRollback(error: unknown): boolean {
  return WeirError.isInstance(error) && error.code === "WEIR_E_ROLLBACK";
}

/** Errors that a person can put an end to; the run is paused until it is resumed, and tries the same piece of work again. */
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
    /** Resolves once every server answers, to how the run goes on; never where it waits for none. */
    reconnect: fromPromise<Return, { readonly away: Return | null }>(() => new Promise(() => undefined)),
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
    clearError: assign({ error: null, away: null }),
    restored: assign(({ context }) => (context.away === null ? {} : { away: null, error: null })),
    wait: assign((_, params: { after: Return }) => ({ away: params.after })),
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
    unreachable: (_, params: { error: unknown }) => isUnreachable(params.error),
    unreachableAtStop: ({ context }, params: { error: unknown }) =>
      context.stopRequested && isUnreachable(params.error),
    waitsForServers: ({ context }) => context.away !== null,
    restores: (_, params: { how: Return }) => params.how === "restore",
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

/** What follows an error of a piece of work. `after`: how the run goes on where the error is that a server cannot be reached. */
function failOrRecover<const After extends Return>(after: After) {
  return [
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
    // A server that cannot be reached saves no state: the last checkpoint is where the run can go on.
    {
      guard: { type: "unreachableAtStop", params: errorOf },
      target: "#lifecycle.stopped",
      actions: noteError,
    },
    {
      guard: { type: "unreachable", params: errorOf },
      target: "#lifecycle.paused",
      actions: ["dropGuardsWish", { type: "wait", params: { after } }, noteError],
    },
    { guard: { type: "pausing", params: errorOf }, target: "#lifecycle.paused", actions: noteError },
    fail,
  ] as const;
}

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
      // An update that was under way may have been applied.
      onError: failOrRecover(src === "step" || src === "warmup" ? "restore" : "retry"),
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
    away: null,
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
            onError: failOrRecover("retry"),
          },
        },
        hist: { type: "history" },
      },
    },
    paused: {
      invoke: {
        src: "reconnect",
        input: ({ context }) => ({ away: context.away }),
        onDone: [
          {
            guard: { type: "restores", params: ({ event }) => ({ how: event.output }) },
            target: "recovering",
          },
          { target: "operating.hist", actions: "clearError" },
        ],
        onError: fail,
      },
      on: {
        // Until it has gone back, a run whose guard asked for it has weights that belong to no step.
        RESUME: [
          // Asks the servers at once.
          { guard: "waitsForServers", target: "paused", reenter: true, actions: "clearPause" },
          { guard: "rollbackWanted", target: "rollingBack", actions: ["clearPause", "clearError"] },
          { target: "operating.hist", actions: ["clearPause", "clearError"] },
        ],
        PAUSE: { guard: "waitsForServers", actions: "requestPause" },
        CHECKPOINT: [
          { guard: "waitsForServers", actions: "requestCheckpoint" },
          { guard: "rollbackWanted", actions: "requestCheckpoint" },
          { target: "operating.checkpointing", actions: ["requestPause", "clearError"] },
        ],
        ROLL_BACK: [
          { guard: "waitsForServers", actions: "takeWish" },
          { target: "rollingBack", actions: ["takeWish", "requestPause", "clearError"] },
        ],
        STOP: [
          { guard: "waitsForServers", target: "stopped" },
          { guard: "rollbackWanted", target: "stopped" },
          { target: "draining" },
        ],
      },
    },
    recovering: {
      on: requests,
      invoke: {
        src: "recover",
        onDone: {
          target: "operating",
          actions: [
            { type: "takePlan", params: ({ event }) => ({ plan: event.output, progressed: false }) },
            "restored",
          ],
        },
        onError: [
          {
            guard: { type: "unreachable", params: errorOf },
            target: "paused",
            actions: [{ type: "wait", params: { after: "restore" } }, noteError],
          },
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
          {
            guard: { type: "recoverable", params: errorOf },
            target: "recovering",
            actions: ["countRecovery", "dropWish", noteError],
          },
          {
            guard: { type: "unreachable", params: errorOf },
            target: "paused",
            actions: ["dropWish", { type: "wait", params: { after: "restore" } }, noteError],
          },
          { guard: { type: "pausing", params: errorOf }, target: "paused", actions: noteError },
          fail,
        ],
      },
    },
    draining: {
      invoke: {
        src: "drain",
        onDone: "stopped",
        onError: [{ guard: { type: "unreachable", params: errorOf }, target: "stopped", actions: noteError }, fail],
      },
    },
    completed: { type: "final" },
    stopped: { type: "final" },
    failed: { type: "final" },
  },
});
