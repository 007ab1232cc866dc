import type { ActorStatus, LagStatus } from "../../src/contracts/actor-status.js";
import type { Alert } from "../../src/contracts/alert.js";
import type { Fact } from "../../src/contracts/fact.js";
import type { KnobState } from "../../src/contracts/knob.js";
import type { MetricRecord } from "../../src/contracts/metrics.js";
import type { Json } from "../../src/contracts/task.js";
import type { Trace } from "../../src/contracts/trace.js";
import type { CommandName } from "../protocol/limits.js";
import type { Role } from "../protocol/messages.js";
import type { ActorChange, ListedTurn, LogLine, PipelineGauge, RunInfo, StateDefinition } from "../protocol/records.js";

/** A checked command with its sender. */
export interface MonitorCommand {
  readonly id: string;
  readonly name: CommandName;
  readonly args: Readonly<Record<string, Json>>;
  /** `client` is the name that the client gave itself. */
  readonly by: { readonly role: Role; readonly address: string; readonly client: string };
  readonly time: number;
}

/** The effect of an accepted command. */
export interface CommandEffect {
  readonly ok: boolean;
  readonly text: string;
  readonly state?: Json;
}

export interface CommandAnswer {
  readonly accepted: boolean;
  /** Why it was refused. */
  readonly reason?: string;
  /** Settles when the command has taken effect; may take as long as it takes. */
  readonly effect?: CommandEffect | Promise<CommandEffect>;
}

export type CommandHandler = (command: MonitorCommand) => CommandAnswer | Promise<CommandAnswer>;

/** A queue as the pipeline reports it; rate and time are added here. */
export type GaugeReading = Omit<PipelineGauge, "perSecond" | "time">;

export interface MachineReading {
  readonly machine: string;
  readonly value: Json;
  /** Needed once; see `describeMachine`. */
  readonly definition?: StateDefinition;
  /** When the value was entered; now unless given. */
  readonly since?: number;
}

/**
 * The interface by which a training system publishes to the monitor. No call waits, throws because of a reader,
 * or costs more than one serialisation (I10).
 */
export interface MonitorSource {
  publishRun(patch: Partial<RunInfo>): void;
  publishMetric(record: MetricRecord): void;
  publishAlert(alert: Alert): void;
  publishTrace(trace: Trace): void;
  publishLifecycle(reading: MachineReading): void;
  publishPipeline(gauges: readonly GaugeReading[]): void;
  /** The supervision tree as it is now, and the lag of the last batch. */
  publishActors(actors: readonly ActorStatus[], lag: LagStatus | null): void;
  /** A restart or a failure; it stays listed for a while. */
  publishActorChange(change: Omit<ActorChange, "from">): void;
  /** The knobs of the run as they are set now. */
  publishKnobs(knobs: readonly KnobState[]): void;
  /** A turn of a knob; it stays listed for a while. */
  publishTurn(turn: ListedTurn): void;
  publishLog(line: Omit<LogLine, "time"> & { readonly time?: number }): void;
  /** The content of a line of the journal: metrics, alerts, phases, lifecycle, checkpoints, evaluations, status. */
  publishFact(fact: Fact): void;
  /** Sets the handler of commands; returns a function that removes it. */
  onCommand(handler: CommandHandler): () => void;
}
