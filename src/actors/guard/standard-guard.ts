/**
 * The guard that a run has without choosing one: detectors on the candidate update, a statechart for how often it has objected, and
 * control of the entropy. Invariants: only steps that were applied enter its history; steps that were undone leave it again; its state
 * is plain data, so that a checkpoint brings it back (I3).
 */
import type { BatchEvidence, Evidence, Guard, Preparation, Verdict } from "../../contracts/guard.js";
import type { Json } from "../../contracts/task.js";
import { WeirError } from "../../errors.js";
import { withStep } from "../../streams/telemetry/detection.js";
import { type Histories, NO_HISTORIES } from "../../streams/telemetry/history.js";
import { controlled, type EntropyControlOptions, type EntropyControlState, NO_CONTROL } from "./entropy-control.js";
import { afterEvent, freshGuardMachine, type GuardEvent, type GuardMachineState } from "./guard-machine.js";
import { candidateValues, type JudgementOptions, type Patience, verdictOf } from "./judgement.js";

export interface StandardGuardOptions extends JudgementOptions, EntropyControlOptions {
  /** Rollbacks in a row, without calm steps between them, that it asks for before it is exhausted. */
  readonly maxRollbacks: number;
}

interface GuardState {
  readonly machine: GuardMachineState;
  /** The gradient that was judged last, and whether one of its step was objected to; null after a rollback. */
  readonly at: { readonly step: number; readonly miniBatch: number; readonly objected: boolean } | null;
  readonly histories: Histories;
  /** Histories before each of the last steps, oldest first: where those steps are undone, so is what they taught. */
  readonly before: readonly { readonly step: number; readonly histories: Histories }[];
  readonly entropy: EntropyControlState;
}

const VERSION = 1;
/** Steps that can be undone one by one; a rollback that goes further back forgets the steps before these. */
const UNDOABLE = 16;

export function createStandardGuard(options: StandardGuardOptions): Guard {
  let state = freshState(options);
  return {
    kind: "standard",
    specificationVersion: 1,
    judge(evidence) {
      const before = evidence.stage === "rl" ? begun(state, evidence) : state;
      const verdict = verdictOf(evidence, before.histories, patienceOf(before, evidence), options);
      state = evidence.stage === "rl" ? judged(before, evidence, verdict, options) : before;
      return verdict;
    },
    prepare({ values, entropyCoefficient }: BatchEvidence): Preparation {
      const entropy = values["entropy/mean"] ?? null;
      const { state: next, preparation } = controlled(state.entropy, entropy, entropyCoefficient, options);
      state = { ...state, entropy: next };
      return preparation;
    },
    state: () => state.machine.value,
    snapshot: () => structuredClone({ version: VERSION, ...state }) as unknown as Json,
    restore(snapshot) {
      state = readState(snapshot, options);
    },
  };
}

function freshState({ maxRollbacks }: StandardGuardOptions): GuardState {
  return {
    machine: freshGuardMachine(maxRollbacks),
    ...{ at: null, histories: NO_HISTORIES, before: [], entropy: NO_CONTROL },
  };
}

/** A second gradient of a step is no further step in a row. */
function patienceOf({ machine: { value, context } }: GuardState, { step }: Evidence): Patience {
  return { state: value, objections: context.objections - (context.objectedStep === step ? 1 : 0) };
}

/** The first evidence of a step ends the step before it; a step that comes again has been undone, and what it taught with it. */
function begun(state: GuardState, { step, miniBatch }: Evidence): GuardState {
  if (state.at !== null && state.at.step === step && state.at.miniBatch < miniBatch)
    return { ...state, at: { ...state.at, miniBatch } };
  const calm = state.at !== null && state.at.step < step && !state.at.objected;
  const undone = state.before.find((past) => past.step >= step);
  const histories = undone?.histories ?? state.histories;
  const kept = state.before.filter((past) => past.step < step);
  return {
    ...(calm ? moved(state, { type: "CALM", step: state.at?.step ?? 0 }) : state),
    at: { step, miniBatch, objected: false },
    histories,
    before: [...kept, { step, histories }].slice(-UNDOABLE),
  };
}

/** The state after a verdict: what was applied enters the history. */
function judged(
  state: GuardState,
  evidence: Evidence,
  verdict: Verdict,
  { detection }: StandardGuardOptions,
): GuardState {
  const { step, phase } = evidence;
  const applied = verdict.action === "commit" || verdict.action === "shrink";
  const histories = applied
    ? withStep(state.histories, { phase, values: candidateValues(evidence) }, detection)
    : state.histories;
  const next = { ...state, histories };
  if (verdict.action === "commit") return next;
  if (verdict.action === "rollback") return { ...moved(next, { type: "ROLLED_BACK", step }), at: null };
  return { ...moved(next, { type: "OBJECTED", step }), at: next.at && { ...next.at, objected: true } };
}

function moved(state: GuardState, event: GuardEvent): GuardState {
  return { ...state, machine: afterEvent(state.machine, event) };
}

/** Errors: WEIR_E_CHECKPOINT_DAMAGED. Bounds are those of the present configuration. */
function readState(snapshot: Json, { maxRollbacks }: StandardGuardOptions): GuardState {
  const raw = snapshot as unknown as (GuardState & { readonly version?: unknown }) | null;
  if (raw?.version !== VERSION || !raw.machine || !raw.histories || !raw.before || !raw.entropy)
    throw new WeirError(
      "WEIR_E_CHECKPOINT_DAMAGED",
      `expected a snapshot of the guard "standard" (version ${VERSION}), got something else; resume from another checkpoint, or with the guard that wrote it`,
    );
  const { version: _, ...state } = structuredClone(raw);
  const { machine } = state;
  return { ...state, machine: { ...machine, context: { ...machine.context, maxRollbacks } } };
}
