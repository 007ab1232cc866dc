/**
 * What a journal says of the guard's statechart: the verdicts that it holds are put through the machine again. Pure. The states that
 * come out must be those that the journal holds, since nothing else moves the machine.
 */
import type { Fact } from "../../contracts/fact.js";
import { afterEvent, freshGuardMachine, type GuardEvent, type GuardMachineState } from "./guard-machine.js";

/** Name of the guard's statechart in the journal. */
export const GUARD_MACHINE = "guard";

export interface GuardMove {
  readonly step: number;
  readonly state: string;
}

export interface GuardReplay {
  /** Changes of state that the verdicts give, at the moments at which the journal tells changes. */
  readonly replayed: readonly GuardMove[];
  /** Changes of state that the journal holds. */
  readonly told: readonly GuardMove[];
}

interface ReplayState {
  readonly machine: GuardMachineState;
  /** The RL step at hand; null after a rollback. */
  readonly at: { readonly step: number; readonly objected: boolean } | null;
}

export function replayGuard(facts: Iterable<Fact>, maxRollbacks: number): GuardReplay {
  let state: ReplayState = { machine: freshGuardMachine(maxRollbacks), at: null };
  const replayed: GuardMove[] = [];
  const told: GuardMove[] = [];
  for (const fact of facts) {
    state = afterFact(state, fact);
    if (fact.type !== "lifecycle.changed" || fact.data.machine !== GUARD_MACHINE) continue;
    told.push({ step: fact.step, state: String(fact.data.value) });
    replayed.push({ step: fact.step, state: state.machine.value });
  }
  return { replayed, told };
}

function afterFact(state: ReplayState, fact: Fact): ReplayState {
  switch (fact.type) {
    case "metrics.recorded":
      // The numbers of an RL step; those of the warm-up and of evaluations move no statechart.
      return fact.data.phase > 0 && fact.data.values["group/kept"] !== undefined ? stepBegun(state, fact.step) : state;
    case "guard.judged": {
      if (fact.data.stage !== "rl" || fact.data.verdict === "commit") return state;
      const begun = stepBegun(state, fact.step);
      if (fact.data.verdict === "rollback")
        return { ...moved(begun, { type: "ROLLED_BACK", step: fact.step }), at: null };
      return { ...moved(begun, { type: "OBJECTED", step: fact.step }), at: { step: fact.step, objected: true } };
    }
    case "run.rolledBack":
      return state.at !== null && fact.data.toStep < state.at.step ? { ...state, at: null } : state;
    default:
      return state;
  }
}

/** The first thing told of a step ends the step before it. */
function stepBegun(state: ReplayState, step: number): ReplayState {
  const { at } = state;
  if (at?.step === step) return state;
  const calm = at !== null && at.step < step && !at.objected;
  return { ...(calm ? moved(state, { type: "CALM", step: at.step }) : state), at: { step, objected: false } };
}

function moved(state: ReplayState, event: GuardEvent): ReplayState {
  return { ...state, machine: afterEvent(state.machine, event) };
}
