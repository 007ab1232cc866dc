import type { Logger } from "pino";
import type { Actor } from "xstate";
import type { Config } from "../../config/schema.js";
import type { ActorStatus } from "../../contracts/actor-status.js";
import type { Alert } from "../../contracts/alert.js";
import type { Fact, FactData, FactType } from "../../contracts/fact.js";
import type { Judge } from "../../contracts/judge.js";
import type { OrderWish } from "../../contracts/knob.js";
import type { MetricRecord } from "../../contracts/metrics.js";
import type { PartsRecord } from "../../contracts/part-origin.js";
import type { Phase } from "../../contracts/phase.js";
import type { Json, Task } from "../../contracts/task.js";
import type { Trace } from "../../contracts/trace.js";
import type { SftRow } from "../../contracts/trainer.js";
import type { GaugeBoard } from "../../streams/gauges.js";
import type { GroupWorkers } from "../../streams/group-workers.js";
import type { Detector } from "../../streams/telemetry/detector.js";
import type { PublishedMetrics } from "../../streams/telemetry/published-metrics.js";
import type { Time } from "../../system/time.js";
import type { curriculumMachine } from "../curriculum/machine.js";
import type { EvaluationTask } from "../evaluation/evaluate.js";
import type { RunBenchmarks } from "../evaluation/run-benchmark-list.js";
import type { RunParts } from "../parts/part-kinds.js";
import type { TrainingPipeline } from "../pipeline/training-pipeline.js";
import type { PolicyPublisher } from "../update/publisher.js";
import type { EngineView } from "./engine-supervisor.js";
import type { LeftOut } from "./gold-check.js";
import type { Progress, Workload } from "./progress.js";
import type { RollbackWish } from "./rollback-wish.js";
import type { RunStore } from "./run-store.js";

/** What a run needs from its tokenizer. */
export interface RunTokenizer {
  /** How an assistant's turn ends; null where neither template nor tokenizer defines it. */
  readonly endOfTurn: { readonly text: string; readonly id: number } | null;
  encode(text: string, options?: { readonly addSpecialTokens?: boolean }): number[];
  decode(ids: readonly number[], options?: { readonly skipSpecialTokens?: boolean }): string;
  applyChatTemplate(
    messages: Task["messages"],
    options: { readonly addGenerationPrompt: boolean },
  ): { readonly text: string; readonly ids: readonly number[] };
  tokenText(id: number): string;
}

/** Receives the run's records; the system passes them on to observables, journal and monitor. */
export interface RunTaps {
  fact<T extends FactType>(type: T, step: number, data: FactData[T]): Fact;
  metrics(record: MetricRecord): void;
  alert(alert: Alert): void;
  trace(trace: Trace): void;
  /** Phases or progress changed. */
  changed(): void;
}

/** What is asked of a run from outside and takes effect between two pieces of work. */
export interface Orders {
  /** Resolves once the order has taken effect. */
  request(wish: OrderWish): Promise<void>;
  /**
   * Carries out what has been asked for and what a restored run has to do again; resolves once nothing of it is under way. Never
   * rejects: each order has its own answer.
   */
  apply(signal: AbortSignal): Promise<void>;
  /** Carries out what has been asked for that concerns the end of the step at hand: to end the phase. Never rejects. */
  endPhase(signal: AbortSignal): Promise<void>;
  /** After a piece of work: finds out whether a restored run has to go back again here. Never rejects. */
  catchUp(signal: AbortSignal): Promise<void>;
  /** The rollback that was found then, for the next plan; null without. */
  takeRollback(): RollbackWish | null;
  /** The run is over: what is still asked for is refused. */
  end(): void;
  /** For a checkpoint: which orders of the run folder it knows. */
  snapshot(): Json;
  /** The run was brought back to a checkpoint with this snapshot, or to one without: later orders are carried out again. */
  restore(snapshot: Json | null): void;
}

/** The workers of a run, from its start to its end. */
export interface PreparedWorkers extends GroupWorkers {
  /** Connects to the queue and tells workers of the run. Errors: those of the queue. */
  prepare(signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
  /** As a node of the supervision tree. */
  statuses(): readonly ActorStatus[];
}

/** Everything the pieces of work share. One per run; `progress` and `parts` change, besides the actors' own state. */
export interface RunContext {
  /** What the run was started or resumed with. */
  readonly configured: Config;
  /** The same with the knobs as they are set now. */
  readonly config: Config;
  readonly phases: readonly Phase[];
  readonly tasks: ReadonlyMap<string, EvaluationTask>;
  readonly heldout: readonly EvaluationTask[];
  /** What is evaluated besides; null without. */
  readonly benchmarks?: RunBenchmarks | null;
  readonly sftRows: readonly SftRow[];
  /** Data that is left out; preflight raises an alert for it. */
  readonly leftOut: readonly LeftOut[];
  readonly workload: Workload;
  readonly tokenizer: RunTokenizer;
  /** What is told of the embedded engine; nothing of the run calls it but through its parts. */
  readonly engine: EngineView;
  readonly store: RunStore;
  /** The parts in use; one may be replaced between two pieces of work. */
  parts: RunParts;
  /** The judge that the reward asks; null where it asks none. */
  readonly judge?: () => Judge | null;
  readonly policies: PolicyPublisher;
  /** Which parts these are now, for the journal. */
  readonly origins: () => PartsRecord;
  /** Detector and guard as they were when the run was opened. */
  readonly fresh: { readonly detector: Json; readonly guard: Json };
  /** State of the guard's statechart as the journal has it; null for a guard without one. */
  guardState: string | null;
  /** The phases' statechart; replaced on recovery. */
  curriculumMachine: Actor<typeof curriculumMachine>;
  readonly detector: Detector;
  readonly gauges: GaugeBoard;
  /** Metrics that parts add to a step. */
  readonly published: PublishedMetrics;
  readonly taps: RunTaps;
  readonly log: Logger;
  readonly time: Time;
  /** Resident memory of the control plane's process, bytes. */
  readonly residentBytes: () => number;
  /** Draw and score the groups of training; null where the run's own sampler and reward do. */
  readonly workers?: PreparedWorkers | null;
  /** From tasks to published weights. */
  readonly pipeline: TrainingPipeline;
  progress: Progress;
  /** What is asked of the run from outside. */
  readonly orders: Orders;
  /** Snapshots that the newest checkpoint names. */
  pinnedSnapshots: readonly string[];
}

/** True when a run that was started with this configuration measures the KL to a reference policy. */
export function needsReference(config: Config): boolean {
  return config.loss.klCoefficient > 0 || config.loss.monitorKl;
}

/** The same where that policy is a frozen copy of the run's own weights. */
export function freezesReference({ configured, parts }: Pick<RunContext, "configured" | "parts">): boolean {
  return needsReference(configured) && parts.trainer.capabilities.reference === true;
}
