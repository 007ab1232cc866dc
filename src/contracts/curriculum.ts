import type { Json } from "./task.js";

/** Which tasks of an earlier phase come back; see src/actors/curriculum/carry.ts. */
export const RETROSPECTIVE_MODES = ["none", "paper", "weighted"] as const;
export type RetrospectiveMode = (typeof RETROSPECTIVE_MODES)[number];

/** What ends a phase: its number of steps, or evidence of mastery before that. */
export const ADVANCE_RULES = ["steps", "mastery"] as const;
export type AdvanceRule = (typeof ADVANCE_RULES)[number];

/** What a curriculum needs to know of a task. */
export interface CurriculumTask {
  readonly id: string;
  readonly promptTokens: number;
}

export interface CurriculumSetup {
  readonly tasks: readonly CurriculumTask[];
  readonly phases: readonly {
    readonly k: number;
    readonly minTokens: number;
    readonly maxTokens: number;
    readonly steps: number;
  }[];
  readonly seed: number;
}

/** A choice of the curriculum: the next task, and why. */
export interface CurriculumPick {
  readonly taskId: string;
  readonly carried: boolean;
  /** How many times the task had been picked before. */
  readonly visit: number;
}

/** The outcome of a group; the curriculum receives one per group, in issue order. */
export interface CurriculumObservation {
  readonly taskId: string;
  readonly phase: number;
  /** Unshaped rewards of the scored members. */
  readonly rewards: readonly number[];
}

/** Evidence of one RL step, given after the commit. Values that were not measured are null, never 0 (I1). */
export interface CurriculumStepEvidence {
  readonly step: number;
  readonly phase: number;
  /** Mean unshaped reward over the step's scored rollouts; null where none was scored. */
  readonly meanReward: number | null;
  /** Share of the scored rollouts whose unshaped reward reaches `reward.correctAt`; null where none was scored. */
  readonly accuracy: number | null;
  /** `kl/update` in nats, `kl/old_k3` where it was not measured; null where the step made no update. */
  readonly kl: number | null;
  /** Mean entropy of the sampled tokens in nats; null where no token was sampled. */
  readonly entropy: number | null;
}

/** Decision after a step: hold, advance, fall back or finish, with the numbers behind it (journalled). */
export interface CurriculumDecision {
  readonly action: "hold" | "advance" | "fallback" | "finish";
  readonly phase: number;
  readonly nextPhase: number | null;
  readonly reason: string;
  readonly evidence: Readonly<Record<string, number>>;
}

/** Chooses tasks within a phase, remembers difficulty, and decides when a phase is over. */
export interface CurriculumActor {
  readonly kind: string;
  readonly specificationVersion: 1;
  setup(setup: CurriculumSetup): void;
  /** The next task of the phase; deterministic in (setup, history of calls). Throws WEIR_E_EMPTY_PHASE when it holds none. */
  next(phase: number): CurriculumPick;
  observe(observation: CurriculumObservation): void;
  decide(evidence: CurriculumStepEvidence): CurriculumDecision;
  snapshot(): Json;
  restore(snapshot: Json): void;
}
