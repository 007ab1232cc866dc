import { assign, setup } from "xstate";
import type { CurriculumDecision } from "../../contracts/curriculum.js";

/**
 * The phases as a statechart: `waiting ▸ inPhase ▸ … ▸ finished`. Which phase, since which step, and every decision that
 * moved it are in the context, so that the persisted snapshot says where a run stands.
 * Invariant: the phase changes only by a decision for the phase that is running.
 */

export interface PhaseBand {
  readonly k: number;
  readonly fromStep: number;
  /** Last step of the band; null while it runs. */
  readonly toStep: number | null;
}

export interface CurriculumContext {
  readonly phase: number;
  readonly phases: number;
  readonly bands: readonly PhaseBand[];
  readonly lastDecision: CurriculumDecision | null;
}

export type CurriculumEvent =
  /** Training begins with the step given. */
  | { readonly type: "BEGIN"; readonly step: number }
  | { readonly type: "DECIDED"; readonly step: number; readonly decision: CurriculumDecision };

const closeBand = (bands: readonly PhaseBand[], step: number): PhaseBand[] =>
  bands.map((band) => (band.toStep === null ? { ...band, toStep: step } : band));

export const curriculumMachine = setup({
  types: {} as { context: CurriculumContext; events: CurriculumEvent; input: { readonly phases: number } },
  actions: {
    openBand: assign(({ context, event }) =>
      event.type === "BEGIN"
        ? { bands: [...context.bands, { k: context.phase, fromStep: event.step, toStep: null }] }
        : {},
    ),
    note: assign(({ event }) => (event.type === "DECIDED" ? { lastDecision: event.decision } : {})),
    move: assign(({ context, event }) => {
      if (event.type !== "DECIDED" || event.decision.nextPhase === null) return {};
      const k = event.decision.nextPhase;
      return {
        phase: k,
        lastDecision: event.decision,
        bands: [...closeBand(context.bands, event.step), { k, fromStep: event.step + 1, toStep: null }],
      };
    }),
    end: assign(({ context, event }) =>
      event.type === "DECIDED" ? { lastDecision: event.decision, bands: closeBand(context.bands, event.step) } : {},
    ),
  },
  guards: {
    moves: ({ context, event }) =>
      event.type === "DECIDED" &&
      (event.decision.action === "advance" || event.decision.action === "fallback") &&
      event.decision.phase === context.phase &&
      event.decision.nextPhase !== null &&
      event.decision.nextPhase >= 1 &&
      event.decision.nextPhase <= context.phases,
    finishes: ({ context, event }) =>
      event.type === "DECIDED" && event.decision.action === "finish" && event.decision.phase === context.phase,
  },
}).createMachine({
  id: "curriculum",
  context: ({ input }) => ({ phase: 1, phases: input.phases, bands: [], lastDecision: null }),
  initial: "waiting",
  states: {
    waiting: { on: { BEGIN: { target: "inPhase", actions: "openBand" } } },
    inPhase: {
      on: {
        DECIDED: [
          { guard: "moves", target: "inPhase", reenter: true, actions: "move" },
          { guard: "finishes", target: "finished", actions: "end" },
          { actions: "note" },
        ],
      },
    },
    finished: { type: "final" },
  },
});
