import type { ActorState } from "./actor-status.js";
import type { Alert } from "./alert.js";
import type { ConfigChange } from "./config-change.js";
import type { CurriculumDecision } from "./curriculum.js";
import type { BenchmarkResult, BucketResult } from "./evaluation.js";
import type { Verdict } from "./guard.js";
import type { Initiator, KnobTurn } from "./knob.js";
import type { MetricValues } from "./metrics.js";
import type { PartOrigin, PartsRecord } from "./part-origin.js";
import type { Json } from "./task.js";
import type { TrainingCall } from "./trainer.js";

/**
 * What each kind of fact says. A new kind is an entry here and one in src/store/fact-schema.ts, which checks what a journal
 * holds; a name or a field that is not here does not compile. Numbers that were not finite are null in a journal.
 */
export interface FactData {
  /** An actor of the pipeline failed and is restarted, runs again, or was given up. */
  "actor.changed": {
    readonly actor: string;
    readonly state: ActorState;
    /** The error; null where it runs again. */
    readonly reason: string | null;
    readonly restarts: number;
  };
  /** No task is issued and no response scored from now on: the reward takes no work. */
  "admission.held": {
    /** Kind of the reward. */
    readonly part: string;
    /** Code of the error that it has most of. */
    readonly code: string;
    readonly reason: string;
  };
  /** The reward takes work again. */
  "admission.resumed": { readonly part: string; readonly heldSeconds: number };
  /** The cause of an alarm is over. */
  "alert.ended": {
    /** Of the alarm. */
    readonly id: string;
    readonly rule: string;
    readonly metric: string;
    /** First and last step that showed it. */
    readonly fromStep: number;
    readonly toStep: number;
    /** The value furthest from what is allowed. */
    readonly worst: number | null;
  };
  "alert.raised": { readonly alert: Alert };
  /** The cause of an alarm lasts. */
  "alert.updated": {
    readonly id: string;
    readonly rule: string;
    readonly metric: string;
    readonly value: number | null;
    readonly worst: number | null;
    readonly steps: number;
  };
  /** A mini-batch that was not applied has been saved for `weir replay`. */
  "batch.saved": {
    readonly path: string;
    readonly miniBatch: number;
    readonly reason: string;
    /** The weights and moments that it was computed with are with it. */
    readonly replayable: boolean;
  };
  "checkpoint.written": {
    readonly step: number;
    /** Its folder. */
    readonly path: string;
  };
  "config.changed": ConfigChange;
  "evaluation.finished": {
    /** `before`, `sft`, `rl`, or `step-N` during training. */
    readonly stage: string;
    /** By label of the length bucket, such as `71-300`. */
    readonly buckets: Readonly<Record<string, BucketResult>>;
    /** By name; absent without benchmarks. */
    readonly benchmarks?: Readonly<Record<string, BenchmarkResult>>;
  };
  /** What the guard said of an update before it was applied. */
  "guard.judged": {
    readonly stage: "warmup" | "rl";
    /** Which optimiser step of the RL step, from 0. */
    readonly miniBatch: number;
    readonly verdict: Verdict["action"];
    readonly reason: string;
    /** The detector's rule; null for guards without rules. */
    readonly rule: string | null;
    /** Share of the step that was applied; null but for `shrink`. */
    readonly scale: number | null;
    /** k3 of the trial step, nats; null without one. */
    readonly kl: number | null;
    /** Global L2 norm of the gradient before clipping; null where it was not finite, or the trainer does not tell it. */
    readonly gradNorm: number | null;
    /** Null where it was not finite. */
    readonly loss: number | null;
  };
  /** What the guard changed of an RL step before its gradients were computed. */
  "guard.prepared": {
    readonly maskNegatives: boolean;
    readonly entropyCoefficient: number | null;
    readonly reason: string;
  };
  "knob.turned": KnobTurn;
  "lifecycle.changed": {
    /** Name of the statechart. */
    readonly machine: string;
    /** Its state as XState gives it: a name, or an object of names. */
    readonly value: Json;
  };
  "metrics.recorded": {
    /** 0 outside the phases. */
    readonly phase: number;
    readonly values: MetricValues;
  };
  /** A part was replaced while the run went on. */
  "part.replaced": {
    /** Kind of part, such as `loss`. */
    readonly kind: string;
    readonly from: PartOrigin;
    readonly to: PartOrigin;
  };
  "phase.decided": Omit<CurriculumDecision, "evidence"> & {
    readonly evidence: Readonly<Record<string, number | null>>;
  };
  "phase.entered": {
    readonly k: number;
    /** The phase holds prompts of more than this many tokens … */
    readonly minTokens: number;
    /** … up to this many. */
    readonly maxTokens: number;
    readonly fromStep: number;
  };
  /** Somebody had the phase ended after this step. */
  "phase.skipped": { readonly phase: number; readonly by: Initiator; readonly reason: string | null };
  "preflight.finished": {
    readonly rollouts: number;
    readonly truncatedShare: number;
    readonly zeroVarianceShare: number;
    /** Count of each unshaped reward. */
    readonly rewardHistogram: Readonly<Record<string, number>>;
    /** Count of each outcome. */
    readonly outcomes: Readonly<Record<string, number>>;
    readonly tasksPerPhase: readonly number[];
    readonly neverIssuedShare: number;
    /** Memory plan of the largest pass, in one line. */
    readonly memory: string;
    /** One sentence each. */
    readonly warnings: readonly string[];
    /** The same apart; journals of earlier builds have none. */
    readonly findings: readonly {
      /** A word that names it, such as `equal_rewards`. */
      readonly cause: string;
      /** The run is refused for it, unless `run.preflight` is `warn`. */
      readonly refuses: boolean;
      readonly what: string;
      readonly remedy: string;
    }[];
  };
  "run.finished":
    | { readonly status: "completed" | "stopped" }
    | {
        readonly status: "failed";
        /** Message of the error that ended the run. */
        readonly error: string;
      };
  "run.resumed": {
    readonly reason: string;
    /** Folder of the checkpoint; null where the run begins anew. */
    readonly checkpoint: string | null;
    readonly step: number;
    /** What was mended in the run folder. */
    readonly remarks: readonly string[];
  };
  /** The run went back to a snapshot; what it undid stays in journal and ledger. */
  "run.rolledBack": {
    /** Last RL step that was done, or under way, … */
    readonly fromStep: number;
    /** … and the one whose end the run went back to. */
    readonly toStep: number;
    readonly reason: string;
    readonly rule: string | null;
    readonly by: Initiator;
    /** Rollouts that ended `rolledBack`. */
    readonly undone: number;
    /** Rollbacks of the run so far, this one included. */
    readonly count: number;
  };
  "run.started": {
    readonly seed: number;
    /** Folder of the model. */
    readonly model: string;
    readonly engine: string;
    /** RL steps of all phases. */
    readonly plannedSteps: number;
    readonly tasks: number;
    readonly heldoutTasks: number;
    readonly sftRows: number;
    /** Null in runs that began before parts were recorded. */
    readonly parts: PartsRecord | null;
  };
  "step.committed": {
    readonly phase: number;
    readonly policyVersion: number;
    /** Digest of the weights after the step. */
    readonly sha256: string;
    /** Groups that were finished. */
    readonly groups: number;
    /** Groups that were trained on. */
    readonly kept: number;
    /** Dynamic sampling met its bound. */
    readonly exhausted: boolean;
  };
  "warmup.finished": {
    /** Optimiser steps. */
    readonly steps: number;
    /** Of the last step; null where it was not finite. */
    readonly loss: number | null;
  };
  /** A call that changes the state of a trainer elsewhere is about to be sent. */
  "trainer.called": TrainingCall;
}

/** What can happen in a run, as a dotted name. */
export type FactType = keyof FactData;

/** What every line of the journal has besides its type and data. */
interface Envelope {
  readonly schema_version: 1;
  /** 1, 2, 3 … without gaps within a run, also over resumes. */
  readonly seq: number;
  readonly step: number;
  /** Wall clock, ms since 1970; the only field (besides names ending in Seconds/PerSecond) left out of I11's comparison. */
  readonly time: number;
}

/**
 * What machines and the journal see: an append-only record of things that happened, a union over `type`. The journal's line
 * and the monitor's message share it. `Fact<"run.started">` is one kind.
 */
export type Fact<T extends FactType = FactType> = {
  readonly [K in T]: Envelope & { readonly type: K; readonly data: FactData[K] };
}[T];
