/**
 * The built-in curriculum `phased`: the next task (Eq. 9, without replacement per epoch), carried tasks (retrospective
 * sampling), and the end of a phase. A deterministic object: no clock, no I/O, randomness keyed by
 * (seed, phase, epoch, task).
 * Invariants: within an epoch of a phase each own task is picked exactly once and each chosen carried task exactly once;
 * `restore(snapshot())` continues identically; a task outside every phase is never picked.
 */
import { successOf } from "../../algorithms/accuracy.js";
import { counterKey, shuffled } from "../../algorithms/random.js";
import type {
  CurriculumActor,
  CurriculumObservation,
  CurriculumPick,
  CurriculumSetup,
  CurriculumStepEvidence,
} from "../../contracts/curriculum.js";
import type { Json } from "../../contracts/task.js";
import { WeirError } from "../../errors.js";
import { type AdvanceOptions, type AdvanceState, decideAdvance, FRESH_PHASE } from "./advance.js";
import {
  type CarriedTask,
  carriedPool,
  carriedQuota,
  chooseCarried,
  type RetrospectiveMode,
  type TaskRecord,
} from "./carry.js";

export interface PhasedCurriculumOptions {
  readonly retrospective: { readonly mode: RetrospectiveMode; readonly share: number };
  readonly advance: AdvanceOptions;
  /** Unshaped reward that counts as full success; default 1. */
  readonly correctAt?: number;
}

/** Position of a phase's picks. */
interface PhaseState {
  epoch: number;
  position: number;
  order: string[];
  carried: CarriedTask[];
  records: Map<string, TaskRecord>;
}

interface State {
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

const fresh = (): State => ({
  current: 0,
  phases: new Map(),
  visits: new Map(),
  advance: FRESH_PHASE,
  advancePhase: 0,
  observed: [],
  fallbacks: [],
});

export function createPhasedCurriculum(options: PhasedCurriculumOptions): CurriculumActor {
  const { mode, share } = options.retrospective;
  const { correctAt = 1 } = options;
  let plan: CurriculumSetup | null = null;
  let state = fresh();

  const setupOf = (): CurriculumSetup => {
    if (plan) return plan;
    throw new WeirError("WEIR_E_STATE", "the curriculum was asked before setup(); call setup() first");
  };
  const phaseOf = (k: number) => {
    const phase = setupOf().phases.find((candidate) => candidate.k === k);
    if (phase) return phase;
    const known = setupOf().phases.map((candidate) => candidate.k);
    throw new WeirError("WEIR_E_STATE", `no phase ${k} is set up (known: ${known.join(", ")})`, { phase: k });
  };
  const ownTasks = (k: number): string[] => {
    const { minTokens, maxTokens } = phaseOf(k);
    const inside = setupOf().tasks.filter((task) => task.promptTokens > minTokens && task.promptTokens <= maxTokens);
    if (inside.length > 0) return inside.map((task) => task.id);
    throw new WeirError(
      "WEIR_E_EMPTY_PHASE",
      `phase ${k} needs tasks with ${minTokens} < prompt tokens ≤ ${maxTokens}, but none of ${setupOf().tasks.length} tasks ` +
        "lies there; change phases[].maxTokens or give tasks of that length",
      { phase: k, minTokens, maxTokens },
    );
  };
  const stateOf = (k: number): PhaseState => {
    const known = state.phases.get(k);
    if (known) return known;
    const entered: PhaseState = { epoch: -1, position: 0, order: [], carried: [], records: new Map() };
    state.phases.set(k, entered);
    return entered;
  };
  /** The pool is fixed when a phase is entered from below; returning to a phase keeps its pool. */
  const enter = (k: number): PhaseState => {
    const target = stateOf(k);
    const before = state.phases.get(k - 1);
    if (target.epoch < 0 && before) target.carried = carriedPool(mode, before.records);
    state.current = k;
    return target;
  };
  const beginEpoch = (k: number, target: PhaseState): void => {
    const { seed } = setupOf();
    const own = ownTasks(k);
    target.epoch++;
    target.position = 0;
    const key = { seed, phase: k, epoch: target.epoch };
    const used = (id: string) => state.visits.get(id) ?? 0;
    const carried = chooseCarried(target.carried, carriedQuota(own.length, share), mode, used, key);
    target.order = shuffled([...own, ...carried], counterKey(seed, "curriculum", k, target.epoch));
  };

  return {
    kind: "phased",
    specificationVersion: 1,

    setup(setup) {
      plan = setup;
      state = fresh();
    },

    next(phase): CurriculumPick {
      phaseOf(phase);
      const target = state.current === phase ? stateOf(phase) : enter(phase);
      if (target.position >= target.order.length) beginEpoch(phase, target);
      const taskId = target.order[target.position++] as string;
      const visit = state.visits.get(taskId) ?? 0;
      state.visits.set(taskId, visit + 1);
      return { taskId, carried: target.carried.some((task) => task.id === taskId), visit };
    },

    observe({ taskId, phase, rewards }: CurriculumObservation): void {
      if (rewards.length === 0) return;
      const { records } = stateOf(phase);
      const before = records.get(taskId) ?? { successes: 0, trials: 0 };
      const gained = rewards.reduce((total, reward) => total + successOf(reward, correctAt), 0);
      records.set(taskId, { successes: before.successes + gained, trials: before.trials + rewards.length });
      state.observed.push({ phase, reward: rewards.reduce((total, reward) => total + reward, 0) / rewards.length });
    },

    decide(evidence: CurriculumStepEvidence) {
      const { phase } = evidence;
      const groupRewards = state.observed.filter((group) => group.phase === phase).map((group) => group.reward);
      const { decision, state: advance } = decideAdvance(
        {
          state: state.advancePhase === phase ? state.advance : FRESH_PHASE,
          evidence,
          groupRewards,
          stepLimit: phaseOf(phase).steps,
          phases: Math.max(...setupOf().phases.map((candidate) => candidate.k)),
          mayFallBack: phase > 1 && !state.fallbacks.includes(phase - 1),
        },
        options.advance,
      );
      state.observed = [];
      state.advance = decision.action === "hold" ? advance : FRESH_PHASE;
      state.advancePhase = phase;
      if (decision.action === "fallback") state.fallbacks.push(phase - 1);
      return decision;
    },

    snapshot(): Json {
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
    },

    restore(snapshot: Json): void {
      state = parseSnapshot(snapshot);
    },
  };
}

/** The form that `snapshot` writes. */
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

function parseSnapshot(json: Json): State {
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
