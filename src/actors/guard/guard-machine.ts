import { assign, createActor, getNextSnapshot, type SnapshotFrom, setup } from "xstate";

/**
 * The standard guard as a statechart: how much the steps before have used up of its patience.
 *
 *   watching ▸ suspicious ( steps in a row with objections ) ▸ cooling ( rollbacks in a row ) ▸ exhausted
 *   and back to watching: from suspicious after a calm step, from cooling once the run has come past the step that was thrown away,
 *   from exhausted after ten calm steps.
 *
 * Pure: it is stepped by `getNextSnapshot`, and its events follow from verdicts, so that a journal gives the same states.
 * Invariant: a rollback is followed by `cooling`, and by `exhausted` where there were `maxRollbacks` in a row before it.
 */

export interface GuardMachineContext {
  readonly maxRollbacks: number;
  /** Steps in a row that the guard objected to, without a rollback. */
  readonly objections: number;
  /** The last of them. */
  readonly objectedStep: number | null;
  /** Rollbacks in a row: without a calm step past the one that was thrown away. */
  readonly rollbacks: number;
  /** The step that the last of them threw away; null where there was none. */
  readonly furthest: number | null;
  /** Calm steps in a row. */
  readonly calm: number;
}

export type GuardEvent =
  /** A gradient of this step was skipped or made smaller. */
  | { readonly type: "OBJECTED"; readonly step: number }
  | { readonly type: "ROLLED_BACK"; readonly step: number }
  /** Every gradient of a step was applied as it was. */
  | { readonly type: "CALM"; readonly step: number };

/** Calm steps after which a guard that had given up judges as before. */
const CALM_AFTER = 10;

const fresh = { objections: 0, objectedStep: null, rollbacks: 0, furthest: null, calm: 0 } as const;

export const guardMachine = setup({
  types: {} as { context: GuardMachineContext; events: GuardEvent; input: { readonly maxRollbacks: number } },
  actions: {
    object: assign(({ context, event }) => {
      const again = event.step === context.objectedStep;
      return { objections: context.objections + (again ? 0 : 1), objectedStep: event.step, calm: 0 };
    }),
    rollBack: assign(({ context, event }) => ({
      furthest: Math.max(event.step, context.furthest ?? 0),
      objections: 0,
      objectedStep: null,
      rollbacks: context.rollbacks + 1,
      calm: 0,
    })),
    calm: assign(({ context }) => ({ objections: 0, objectedStep: null, calm: context.calm + 1 })),
    forget: assign(() => fresh),
  },
  guards: {
    spent: ({ context }) => context.rollbacks >= context.maxRollbacks,
    furtherThanBefore: ({ context, event }) => event.step >= (context.furthest ?? 0),
    calmEnough: ({ context }) => context.calm + 1 >= CALM_AFTER,
  },
}).createMachine({
  id: "guard",
  context: ({ input }) => ({ maxRollbacks: input.maxRollbacks, ...fresh }),
  initial: "watching",
  on: {
    ROLLED_BACK: [
      { guard: "spent", target: ".exhausted", actions: "rollBack" },
      { target: ".cooling", actions: "rollBack" },
    ],
  },
  states: {
    watching: { on: { OBJECTED: { target: "suspicious", actions: "object" } } },
    suspicious: {
      on: {
        OBJECTED: { actions: "object" },
        CALM: { target: "watching", actions: "forget" },
      },
    },
    cooling: {
      on: {
        OBJECTED: { actions: "object" },
        CALM: [{ guard: "furtherThanBefore", target: "watching", actions: "forget" }, { actions: "calm" }],
      },
    },
    exhausted: {
      on: {
        OBJECTED: { actions: "object" },
        CALM: [{ guard: "calmEnough", target: "watching", actions: "forget" }, { actions: "calm" }],
      },
    },
  },
});

/** Its state as plain data. */
export interface GuardMachineState {
  readonly value: "watching" | "suspicious" | "cooling" | "exhausted";
  readonly context: GuardMachineContext;
}

export function freshGuardMachine(maxRollbacks: number): GuardMachineState {
  return plain(createActor(guardMachine, { input: { maxRollbacks } }).getSnapshot());
}

/** The state after an event. */
export function afterEvent(machine: GuardMachineState, event: GuardEvent): GuardMachineState {
  return plain(getNextSnapshot(guardMachine, guardMachine.resolveState(machine), event));
}

function plain({ value, context }: SnapshotFrom<typeof guardMachine>): GuardMachineState {
  return { value, context };
}
