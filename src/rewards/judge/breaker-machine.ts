import { assign, fromPromise, setup } from "xstate";

/**
 * The circuit breaker of a server as a statechart.
 *
 *   closed ▸ open ( enough of the last requests failed ) ▸ halfOpen ( after openMs, one probe is sent ) ▸ closed ( it was answered )
 *                                                                                                      ▸ open   ( it was not )
 *
 * Invariant: only the outcomes of requests that end while it is closed count, and a closed breaker has forgotten those before it opened.
 */

export interface BreakerSettings {
  /** Requests that are looked back on. */
  readonly window: number;
  /** Least number and least share of them that have failed when it opens. */
  readonly failures: number;
  readonly share: number;
  /** Time from opening to the next probe, ms. */
  readonly openMs: number;
}

export interface BreakerInput extends BreakerSettings {
  /** A request that tells whether the server answers. Rejects where it does not. */
  readonly probe: (signal: AbortSignal) => Promise<void>;
}

export interface BreakerContext extends BreakerInput {
  /** Whether each of the last requests failed, the oldest first. */
  readonly outcomes: readonly boolean[];
  /** What went wrong last. */
  readonly fault: string;
}

export type BreakerEvent = { readonly type: "ANSWERED" } | { readonly type: "FAILED"; readonly fault: string };

export const breakerMachine = setup({
  types: {} as { context: BreakerContext; events: BreakerEvent; input: BreakerInput },
  actors: {
    probe: fromPromise<void, Pick<BreakerInput, "probe">>(({ input, signal }) => input.probe(signal)),
  },
  actions: {
    count: assign(({ context, event }) => ({
      outcomes: [...context.outcomes, event.type === "FAILED"].slice(-context.window),
      fault: event.type === "FAILED" ? event.fault : context.fault,
    })),
    forget: assign({ outcomes: [] }),
  },
  guards: {
    tooMany: ({ context: { outcomes, failures, share } }) => {
      const failed = outcomes.filter((outcome) => outcome).length;
      return failed >= failures && failed >= share * outcomes.length;
    },
  },
  delays: { openMs: ({ context }) => context.openMs },
}).createMachine({
  id: "breaker",
  context: ({ input }) => ({ ...input, outcomes: [], fault: "" }),
  initial: "closed",
  states: {
    closed: {
      entry: "forget",
      on: { ANSWERED: { actions: "count" }, FAILED: { actions: "count" } },
      always: { guard: "tooMany", target: "open" },
    },
    open: { after: { openMs: "halfOpen" } },
    halfOpen: {
      invoke: {
        src: "probe",
        input: ({ context: { probe } }) => ({ probe }),
        onDone: "closed",
        onError: {
          target: "open",
          actions: assign({ fault: ({ event }) => (event.error instanceof Error ? event.error.message : "no answer") }),
        },
      },
    },
  },
});
