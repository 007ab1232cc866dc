/** The state of the curriculum `phased`, and the JSON form of its snapshots. */
import type { Json } from "../../contracts/task.js";
import { WeirError } from "../../errors.js";
import { type AdvanceState, FRESH_PHASE } from "./advance.js";
import type { CarriedTask, TaskRecord } from "./carry.js";

/** Position of a phase's picks. */
export interface PhaseState {
  epoch: number;
  position: number;
  order: string[];
  carried: CarriedTask[];
  records: Map<string, TaskRecord>;
}

export interface CurriculumState {
  /** Phase whose tasks were picked last; 0 before the first pick. */
  current: number;
  readonly phases: Map<number, PhaseState>;
  readonly visits: Map<string, number>;
  advance: AdvanceState;
  /** Phase that `advance` belongs to, so that a phase ended by an operator does not pass its count to the next. */
  advancePhase: number;
  /** Mean rewards of groups observed since the last decision, per phase. */
  observed: { phase: number; reward: number }[];
  /** Phases that were fallen back to; each at most once, so that a run ends. */
  fallbacks: number[];
}

export const freshState = (): CurriculumState => ({
  current: 0,
  phases: new Map(),
  visits: new Map(),
  advance: FRESH_PHASE,
  advancePhase: 0,
  observed: [],
  fallbacks: [],
});

/** The form that `toSnapshot` gives. */
interface Snapshot {
  readonly version: 1;
  readonly current: number;
  readonly phases: readonly {
    readonly k: number;
    readonly epoch: number;
    readonly position: number;
    readonly order: string[];
    readonly carried: CarriedTask[];
    readonly records: readonly (readonly [string, number, number])[];
  }[];
  readonly visits: readonly (readonly [string, number])[];
  readonly advance: AdvanceState;
  readonly advancePhase: number;
  readonly observed: { phase: number; reward: number }[];
  readonly fallbacks: number[];
}

/** The snapshot of a state; nothing in it is shared with the state. */
export function toSnapshot(state: CurriculumState): Json {
  return {
    version: 1,
    current: state.current,
    phases: [...state.phases].map(([k, { epoch, position, order, carried, records }]) => ({
      k,
      epoch,
      position,
      order: [...order],
      carried: carried.map((task) => ({ ...task })),
      records: [...records].map(([id, { successes, trials }]) => [id, successes, trials]),
    })),
    visits: [...state.visits],
    advance: { ...state.advance },
    advancePhase: state.advancePhase,
    observed: state.observed.map((group) => ({ ...group })),
    fallbacks: [...state.fallbacks],
  };
}

/** Throws WEIR_E_CHECKPOINT_DAMAGED for anything but a snapshot of this version. */
export function parseSnapshot(json: Json): CurriculumState {
  const raw = structuredClone(json) as unknown as Snapshot | null;
  if (raw?.version !== 1) {
    throw new WeirError(
      "WEIR_E_CHECKPOINT_DAMAGED",
      "expected a snapshot of the phased curriculum (version 1), got something else; resume from another checkpoint",
    );
  }
  return {
    current: raw.current,
    phases: new Map(
      raw.phases.map(({ k, epoch, position, order, carried, records }) => [
        k,
        {
          epoch,
          position,
          order,
          carried,
          records: new Map(records.map(([id, successes, trials]) => [id, { successes, trials }])),
        },
      ]),
    ),
    visits: new Map(raw.visits),
    advance: raw.advance,
    advancePhase: raw.advancePhase,
    observed: raw.observed,
    fallbacks: raw.fallbacks,
  };
}
