import { assign, fromObservable, sendParent, setup } from "xstate";
import { StageFailure, type StageStatus, type SupervisedStage } from "../../streams/stage.js";

/**
 * A stage as an actor. The machine owns the stage's work: while it is in `working` the stage's workers run, and leaving that state
 * cancels them. What it decides: whether an error of a worker leads to a restart, after which wait, and when the stage is given up,
 * which its supervisor is told. Nothing passes through it for each item: what the workers wait for is told a few times a second.
 *
 *   working ( running | waitingForInput | waitingForRoom | draining ) ⇄ restarting ▸ stopped | failed
 */

export interface StageInput {
  readonly stage: SupervisedStage;
  /** Restarts in a row, without an item finished in between. */
  readonly maxRestarts: number;
  /** Wait before the first restart, ms; doubles with each further one in a row. */
  readonly restartDelayMs: number;
  /** Told of restarts and failures. */
  readonly changed: (change: StageChange) => void;
}

export interface StageChange {
  readonly stage: string;
  readonly state: "restarting" | "running" | "failed";
  readonly error: unknown;
  readonly restarts: number;
}

export interface StageContext extends StageInput {
  readonly restarts: number;
  readonly inRow: number;
  /** Items finished when the last restart began. */
  readonly handledBefore: number;
  readonly error: unknown;
}

export type StageEvent =
  /** What the workers do now. */
  { readonly type: "OBSERVED"; readonly status: StageStatus };

/** Told to the supervisor. */
export interface StageFailed {
  readonly type: "STAGE_FAILED";
  readonly stage: string;
  readonly error: unknown;
}

const causeOf = (error: unknown) => (error instanceof StageFailure ? error.cause : error);

export const stageMachine = setup({
  types: {} as { context: StageContext; events: StageEvent; input: StageInput },
  actors: {
    work: fromObservable<never, { readonly stage: SupervisedStage }>(({ input }) => input.stage.running),
  },
  delays: { backoff: ({ context }) => context.restartDelayMs * 2 ** Math.max(0, context.inRow - 1) },
  actions: {
    countRestart: assign(({ context }, { error }: { error: unknown }) => {
      const { handled } = context.stage.status();
      const inRow = handled > context.handledBefore ? 1 : context.inRow + 1;
      return { restarts: context.restarts + 1, inRow, handledBefore: handled, error: causeOf(error) };
    }),
    takeError: assign((_, { error }: { error: unknown }) => ({ error: causeOf(error) })),
    tell: ({ context }, { state }: { state: StageChange["state"] }) =>
      context.changed({
        stage: context.stage.name,
        state,
        error: state === "running" ? null : context.error,
        restarts: context.restarts,
      }),
    escalate: sendParent(
      ({ context }): StageFailed => ({ type: "STAGE_FAILED", stage: context.stage.name, error: context.error }),
    ),
  },
  guards: {
    mayRestart: ({ context }, { error }: { error: unknown }) => {
      if (!(error instanceof StageFailure) || !error.restartable) return false;
      const inRow = context.stage.status().handled > context.handledBefore ? 0 : context.inRow;
      return inRow < context.maxRestarts;
    },
    draining: ({ event }) => event.status.ended,
    waitsForInput: ({ event }) => event.status.busy === 0,
    waitsForRoom: ({ event }) => event.status.busy > 0 && event.status.waitingForRoom === event.status.busy,
  },
}).createMachine({
  id: "stage",
  context: ({ input }) => ({ ...input, restarts: 0, inRow: 0, handledBefore: 0, error: null }),
  initial: "working",
  states: {
    working: {
      initial: "running",
      invoke: {
        src: "work",
        input: ({ context }) => ({ stage: context.stage }),
        onDone: "stopped",
        onError: [
          {
            guard: { type: "mayRestart", params: ({ event }) => ({ error: event.error }) },
            target: "restarting",
            actions: { type: "countRestart", params: ({ event }) => ({ error: event.error }) },
          },
          { target: "failed", actions: { type: "takeError", params: ({ event }) => ({ error: event.error }) } },
        ],
      },
      on: {
        OBSERVED: [
          { guard: "draining", target: ".draining" },
          { guard: "waitsForInput", target: ".waitingForInput" },
          { guard: "waitsForRoom", target: ".waitingForRoom" },
          { target: ".running" },
        ],
      },
      states: { running: {}, waitingForInput: {}, waitingForRoom: {}, draining: {} },
    },
    restarting: {
      entry: { type: "tell", params: { state: "restarting" } },
      after: { backoff: { target: "working", actions: { type: "tell", params: { state: "running" } } } },
    },
    stopped: { type: "final" },
    failed: { type: "final", entry: [{ type: "tell", params: { state: "failed" } }, "escalate"] },
  },
});
