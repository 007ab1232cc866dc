import type { Knobs } from "../../config/knobs.js";
import type { Config } from "../../config/schema.js";
import type { BenchmarkResult } from "../../contracts/evaluation.js";
import type { Preparation } from "../../contracts/guard.js";
import type { RunOrder } from "../../contracts/knob.js";
import type { IdleCause } from "../../streams/telemetry/stall-detector.js";
import type { BucketResult } from "../evaluation/evaluate.js";
import type { Plan } from "./lifecycle.js";

/** Progress of a run as plain data for checkpoints, and the plan that follows from it. Pure. */

/** Evaluation stages with fixed names; those during training are called `step-N`. */
export const STAGES = { before: "before", sft: "sft", rl: "rl" } as const;

export interface Progress {
  readonly preflightDone: boolean;
  /** Optimiser steps of the warm-up done so far. */
  readonly warmupStep: number;
  /** Optimiser steps of the warm-up that changed weights. */
  readonly warmupUpdates: number;
  /** RL steps committed. */
  readonly step: number;
  /** Optimiser steps of RL that changed weights. */
  readonly updates: number;
  /** Consecutive RL steps, up to the last one, that changed no weight. */
  readonly idleSteps: number;
  /** Why the last RL step changed no weight; null where it did. */
  readonly idleCause: IdleCause | null;
  /** How the guard had the last RL step trained. */
  readonly prepared: Pick<Preparation, "maskNegatives" | "entropyCoefficient">;
  /** Groups issued. */
  readonly sequence: number;
  readonly trainingDone: boolean;
  readonly finished: boolean;
  /** An evaluation that is due during training. */
  readonly dueEvaluation: string | null;
  /** Held-out results by stage and bucket label. */
  readonly heldout: Readonly<Record<string, Readonly<Record<string, BucketResult>>>>;
  /** Results of benchmarks by stage and name. */
  readonly benchmarks: Readonly<Record<string, Readonly<Record<string, BenchmarkResult>>>>;
  /** Wall seconds by activity. */
  readonly seconds: Readonly<Record<string, number>>;
  /** A checkpoint is due before anything else. */
  readonly checkpointDue: boolean;
  /** The last RL step ended a phase. */
  readonly phaseEnded: boolean;
  /** Knobs that are set otherwise than the configuration says. */
  readonly knobs: Knobs;
  /** Why the batch of the next RL step is not to change any weight; null where it may. */
  readonly skipBatch: string | null;
  /** On whose behalf the phase ends after the RL step at hand; null where nobody asked for it. */
  readonly skipPhase: Pick<RunOrder, "by" | "reason"> | null;
  /** What a rollback can go back to, oldest first. */
  readonly snapshots: readonly SnapshotMark[];
  /** Snapshots taken so far; the next one's number. */
  readonly snapshotCount: number;
  readonly rollbacks: RollbackCount;
}

/** A snapshot of the run's state between two steps. */
export interface SnapshotMark {
  readonly name: string;
  /** What the step after it was a step of. */
  readonly stage: "warmup" | "rl";
  /** Steps of the warm-up done then. */
  readonly warmupStep: number;
  /** RL steps committed then. */
  readonly step: number;
}

export interface RollbackCount {
  /** In the whole run. */
  readonly count: number;
  /** That the guard asked for without the run coming further. */
  readonly inARow: number;
  /** Most steps, of warm-up and RL together, that were done before one of those. */
  readonly furthest: number;
  /** Knobs that they turned down, by path. */
  readonly turnedDown: Readonly<Record<string, TurnedDown>>;
}

/** A knob that was turned down until the run has come far enough. */
export interface TurnedDown {
  /** What it goes back to; null is the loss's own bound. */
  readonly from: number | null;
  readonly to: number;
}

/** Steps of warm-up and RL done. */
export function stepsDone({ warmupStep, step }: Pick<Progress, "warmupStep" | "step">): number {
  return warmupStep + step;
}

/** A step has been done: rollbacks before it are no longer in a row once the run has come further than it was. */
export function cameFurther(progress: Progress): Progress {
  const { rollbacks } = progress;
  if (rollbacks.inARow === 0 || stepsDone(progress) <= rollbacks.furthest) return progress;
  return { ...progress, rollbacks: { ...rollbacks, inARow: 0 } };
}

/** Trained as the configuration says. */
export const PLAIN_STEP: Preparation = { maskNegatives: false, entropyCoefficient: null, reason: null };

export const freshProgress: Progress = {
  preflightDone: false,
  warmupStep: 0,
  warmupUpdates: 0,
  step: 0,
  updates: 0,
  idleSteps: 0,
  idleCause: null,
  prepared: { maskNegatives: false, entropyCoefficient: null },
  sequence: 0,
  trainingDone: false,
  finished: false,
  dueEvaluation: null,
  heldout: {},
  benchmarks: {},
  seconds: {},
  checkpointDue: false,
  phaseEnded: false,
  knobs: {},
  skipBatch: null,
  skipPhase: null,
  snapshots: [],
  snapshotCount: 0,
  rollbacks: { count: 0, inARow: 0, furthest: 0, turnedDown: {} },
};

/**
 * Progress from a checkpoint. For one written before updates were counted, they are inferred: rollouts that were
 * trained on, and steps of the warm-up.
 */
export function restoredProgress(saved: Partial<Progress>, trainedRollouts: number): Progress {
  return {
    ...freshProgress,
    warmupUpdates: saved.warmupStep ?? 0,
    updates: trainedRollouts,
    ...saved,
  };
}

/** What the plan depends on besides progress. */
export interface Workload {
  readonly warmupSteps: number;
  /** RL steps of all phases; 0 leaves the RL stage out. */
  readonly trainingSteps: number;
  readonly heldoutTasks: number;
  /** Benchmarks of `evaluation.benchmarks`; none where it is left out. */
  readonly benchmarks?: number;
  /** Training tasks read, how many of them no phase can issue, and how many of the others were cut in the middle. */
  readonly tasks: {
    readonly read: number;
    readonly dropped: number;
    readonly outsidePhases: number;
    readonly truncated: number;
  };
  readonly evaluation: Pick<Config["evaluation"], "initial">;
}

/** Whether there is anything to evaluate. */
export function evaluates({ heldoutTasks, benchmarks = 0 }: Pick<Workload, "heldoutTasks" | "benchmarks">): boolean {
  return heldoutTasks > 0 || benchmarks > 0;
}

/** The evaluation that is due now, if any. */
export function evaluationDue(progress: Progress, workload: Omit<Workload, "tasks">): string | null {
  if (!evaluates(workload)) return null;
  const missing = (stage: string) => progress.heldout[stage] === undefined;
  const warmupDone = progress.warmupStep >= workload.warmupSteps;
  if (workload.evaluation.initial && progress.warmupStep === 0 && progress.step === 0 && missing(STAGES.before))
    return STAGES.before;
  if (warmupDone && workload.warmupSteps > 0 && progress.step === 0 && missing(STAGES.sft)) return STAGES.sft;
  if (progress.dueEvaluation !== null) return progress.dueEvaluation;
  if (progress.trainingDone && missing(STAGES.rl)) return STAGES.rl;
  return null;
}

/** What to do next: preflight ▸ evaluate ▸ warm-up ▸ evaluate ▸ steps (with evaluations) ▸ evaluate ▸ finish. */
export function planOf(progress: Progress, workload: Omit<Workload, "tasks">): Plan {
  const plan = (next: Plan["next"]): Plan => ({ next, checkpoint: progress.checkpointDue });
  if (!progress.preflightDone) return plan("preflight");
  if (evaluationDue(progress, workload) !== null) return plan("evaluate");
  if (progress.warmupStep < workload.warmupSteps) return plan("warmup");
  if (!progress.trainingDone && workload.trainingSteps > 0) return plan("step");
  return plan(progress.finished ? "complete" : "finish");
}

/** Adds seconds to an activity. */
export function addSeconds(progress: Progress, activity: string, seconds: number): Progress {
  return { ...progress, seconds: { ...progress.seconds, [activity]: (progress.seconds[activity] ?? 0) + seconds } };
}
