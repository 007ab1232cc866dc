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
  RetrospectiveMode,
} from "../../contracts/curriculum.js";
import type { Json } from "../../contracts/task.js";
import { WeirError } from "../../errors.js";
import { type AdvanceOptions, decideAdvance, FRESH_PHASE } from "./advance.js";
import { carriedPool, carriedQuota, chooseCarried } from "./carry.js";
import { freshState, type PhaseState, parseSnapshot, toSnapshot } from "./state.js";

export interface PhasedCurriculumOptions {
  readonly retrospective: { readonly mode: RetrospectiveMode; readonly share: number };
  readonly advance: AdvanceOptions;
  /** Unshaped reward that counts as full success; default 1. */
  readonly correctAt?: number;
}

class PhasedCurriculum {
  private plan: CurriculumSetup | null = null;
  private state = freshState();

  constructor(private readonly options: PhasedCurriculumOptions) {}

  setup(setup: CurriculumSetup): void {
    this.plan = setup;
    this.state = freshState();
  }

  next(phase: number): CurriculumPick {
    this.phaseOf(phase);
    const { state } = this;
    const target = state.current === phase ? this.stateOf(phase) : this.enter(phase);
    if (target.position >= target.order.length) this.beginEpoch(phase, target);
    const taskId = target.order[target.position++] as string;
    const visit = state.visits.get(taskId) ?? 0;
    state.visits.set(taskId, visit + 1);
    return { taskId, carried: target.carried.some((task) => task.id === taskId), visit };
  }

  observe({ taskId, phase, rewards }: CurriculumObservation): void {
    if (rewards.length === 0) return;
    const { correctAt = 1 } = this.options;
    const { records } = this.stateOf(phase);
    const before = records.get(taskId) ?? { successes: 0, trials: 0 };
    const gained = rewards.reduce((total, reward) => total + successOf(reward, correctAt), 0);
    records.set(taskId, { successes: before.successes + gained, trials: before.trials + rewards.length });
    this.state.observed.push({ phase, reward: rewards.reduce((total, reward) => total + reward, 0) / rewards.length });
  }

  decide(evidence: CurriculumStepEvidence) {
    const { state } = this;
    const { phase } = evidence;
    const groupRewards = state.observed.filter((group) => group.phase === phase).map((group) => group.reward);
    const { decision, state: advance } = decideAdvance(
      {
        state: state.advancePhase === phase ? state.advance : FRESH_PHASE,
        evidence,
        groupRewards,
        stepLimit: this.phaseOf(phase).steps,
        phases: Math.max(...this.setupOf().phases.map((candidate) => candidate.k)),
        mayFallBack: phase > 1 && !state.fallbacks.includes(phase - 1),
      },
      this.options.advance,
    );
    state.observed = [];
    state.advance = decision.action === "hold" ? advance : FRESH_PHASE;
    state.advancePhase = phase;
    if (decision.action === "fallback") state.fallbacks.push(phase - 1);
    return decision;
  }

  snapshot(): Json {
    return toSnapshot(this.state);
  }

  restore(snapshot: Json): void {
    this.state = parseSnapshot(snapshot);
  }

  private setupOf(): CurriculumSetup {
    if (this.plan) return this.plan;
    throw new WeirError("WEIR_E_STATE", "the curriculum was asked before setup(); call setup() first");
  }

  private phaseOf(k: number) {
    const { phases } = this.setupOf();
    const phase = phases.find((candidate) => candidate.k === k);
    if (phase) return phase;
    const known = phases.map((candidate) => candidate.k);
    throw new WeirError("WEIR_E_STATE", `no phase ${k} is set up (known: ${known.join(", ")})`, { phase: k });
  }

  private ownTasks(k: number): string[] {
    const { minTokens, maxTokens } = this.phaseOf(k);
    const { tasks } = this.setupOf();
    const inside = tasks.filter((task) => task.promptTokens > minTokens && task.promptTokens <= maxTokens);
    if (inside.length > 0) return inside.map((task) => task.id);
    throw new WeirError(
      "WEIR_E_EMPTY_PHASE",
      `phase ${k} needs tasks with ${minTokens} < prompt tokens ≤ ${maxTokens}, but none of ${tasks.length} tasks ` +
        "lies there; change phases[].maxTokens or give tasks of that length",
      { phase: k, minTokens, maxTokens },
    );
  }

  private stateOf(k: number): PhaseState {
    const known = this.state.phases.get(k);
    if (known) return known;
    const entered: PhaseState = { epoch: -1, position: 0, order: [], carried: [], records: new Map() };
    this.state.phases.set(k, entered);
    return entered;
  }

  /** The pool is fixed when a phase is entered from below; returning to a phase keeps its pool. */
  private enter(k: number): PhaseState {
    const target = this.stateOf(k);
    const before = this.state.phases.get(k - 1);
    if (target.epoch < 0 && before) target.carried = carriedPool(this.options.retrospective.mode, before.records);
    this.state.current = k;
    return target;
  }

  private beginEpoch(k: number, target: PhaseState): void {
    const { mode, share } = this.options.retrospective;
    const { seed } = this.setupOf();
    const own = this.ownTasks(k);
    target.epoch++;
    target.position = 0;
    const key = { seed, phase: k, epoch: target.epoch };
    const used = (id: string) => this.state.visits.get(id) ?? 0;
    const carried = chooseCarried(target.carried, carriedQuota(own.length, share), mode, used, key);
    target.order = shuffled([...own, ...carried], counterKey(seed, "curriculum", k, target.epoch));
  }
}

export function createPhasedCurriculum(options: PhasedCurriculumOptions): CurriculumActor {
  const curriculum = new PhasedCurriculum(options);
  return {
    kind: "phased",
    specificationVersion: 1,
    setup: (setup) => curriculum.setup(setup),
    next: (phase) => curriculum.next(phase),
    observe: (observation) => curriculum.observe(observation),
    decide: (evidence) => curriculum.decide(evidence),
    snapshot: () => curriculum.snapshot(),
    restore: (snapshot) => curriculum.restore(snapshot),
  };
}
