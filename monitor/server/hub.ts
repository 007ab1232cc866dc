import { randomUUID } from "node:crypto";
import type { ActorStatus, LagStatus } from "../../src/contracts/actor-status.js";
import type { Alert } from "../../src/contracts/alert.js";
import type { Fact } from "../../src/contracts/fact.js";
import type { KnobState } from "../../src/contracts/knob.js";
import type { MetricRecord } from "../../src/contracts/metrics.js";
import type { Json } from "../../src/contracts/task.js";
import type { Trace } from "../../src/contracts/trace.js";
import { CHANNELS, LIMITS, type StreamChannel } from "../protocol/limits.js";
import type {
  ActorChange,
  ActorTree,
  GroupMember,
  GuardEvent,
  KnobBoard,
  ListedTurn,
  LogLine,
  MachineState,
  RunConfig,
  RunInfo,
  TraceSummary,
} from "../protocol/records.js";
import { ChannelLog } from "./channel-log.js";
import { type Comparable, ComparedRuns } from "./compared-runs.js";
import { applyFact } from "./fact-mapping.js";
import { listedRun } from "./listed-run.js";
import { MetricLog } from "./metric-log.js";
import { Secrets } from "./secrets.js";
import type { CommandHandler, GaugeReading, MachineReading, MonitorSource } from "./source.js";
import { FactTally } from "./tally.js";
import { TraceArchive } from "./trace-archive.js";
import { memberOf, summarise, TraceStore } from "./trace-store.js";

/**
 * The state that the monitor shows of one run: the history of each channel and whole traces, all bounded.
 * It needs no server: a run publishes into it whether or not anyone is connected. Publishing never throws and never waits
 * (I10); where only the latest state matters (run, machines, actors, gauges), it is written when a server or a reader `settle`s the hub.
 */

/** Characters of a log line that are kept. */
const LOG_CHARACTERS = 4_000;
/** Characters of a reason why an actor restarts that are kept; the log has more. */
const REASON_CHARACTERS = 300;
/** Shortest stretch over which a queue's rate is measured, ms. */
const RATE_WINDOW_MS = 2_000;

export interface HubOptions {
  readonly clock?: () => number;
  /** Name of the stretch of history; random unless given. */
  readonly epoch?: string;
}

const emptyRun = (id: string, time: number): RunInfo => ({
  id,
  status: "starting",
  live: true,
  startedAt: time,
  endedAt: null,
  step: 0,
  plannedSteps: null,
  phase: null,
  seed: null,
  model: null,
  engine: null,
  phases: [],
  checkpoints: [],
  resumes: [],
  evaluations: [],
  note: null,
});

const isSameTurn = (a: ListedTurn, b: ListedTurn): boolean =>
  a.path === b.path && a.step === b.step && a.old === b.old && a.new === b.new && a.by.kind === b.by.kind;

export class MonitorHub implements MonitorSource {
  readonly epoch: string;
  readonly metrics = new MetricLog();
  readonly traces = new TraceStore();
  readonly tally = new FactTally();
  /** What is masked in every text but prompts and responses. */
  readonly secrets = new Secrets();
  private readonly clock: () => number;
  private readonly logs: Readonly<Record<StreamChannel, ChannelLog>>;
  private readonly machines = new Map<string, MachineState>();
  private readonly rates = new Map<string, { time: number; passed: number; perSecond: number | null }>();
  private gauges: readonly GaugeReading[] | null = null;
  private tree: Omit<ActorTree, "time"> = { actors: [], lag: null, changes: [] };
  private treeChanged = false;
  private board: KnobBoard = { knobs: [], turns: [], turnCount: 0 };
  private boardChanged = false;
  /** Machines, and whether the run, have changed since the last `settle`. */
  private readonly changedMachines = new Set<string>();
  private runChanged = false;
  /** Events of the timeline before the last resume, and since: a resumed run repeats what came after its checkpoint. */
  private readonly toldBefore = new Set<string>();
  private readonly toldSince = new Set<string>();
  private configuration: RunConfig = { resolved: null, changes: [] };
  private configChanged = false;
  private readonly compared = new ComparedRuns();
  private archive: TraceArchive | null = null;
  private runInfo: RunInfo | null = null;
  private handler: CommandHandler | null = null;
  private failures = 0;

  constructor(options: HubOptions = {}) {
    this.clock = options.clock ?? Date.now;
    this.epoch = options.epoch ?? randomUUID().slice(0, 8);
    const log = (name: Exclude<StreamChannel, "metrics">) => new ChannelLog(name, CHANNELS[name]);
    this.logs = {
      alerts: log("alerts"),
      guard: log("guard"),
      run: log("run"),
      lifecycle: log("lifecycle"),
      pipeline: log("pipeline"),
      actors: log("actors"),
      knobs: log("knobs"),
      metrics: this.metrics,
      logs: log("logs"),
      config: log("config"),
      traces: log("traces"),
      compare: log("compare"),
    };
  }

  channel(name: StreamChannel): ChannelLog {
    return this.logs[name];
  }

  /** Latest sequence number of each channel. */
  seqs(): Record<string, number> {
    return Object.fromEntries(Object.values(this.logs).map((log) => [log.name, log.seq]));
  }

  /** The configuration with what changed on resumes. */
  get config(): RunConfig {
    return this.configuration;
  }

  /** Knobs and their newest turns. */
  get knobBoard(): KnobBoard {
    return this.board;
  }

  get run(): RunInfo | null {
    return this.runInfo;
  }

  /** The states of the machines, in the order in which they were first published. */
  get machineStates(): readonly MachineState[] {
    return [...this.machines.values()];
  }

  /** Value of the `lifecycle` machine, null before its first publication. */
  get lifecycle(): Json {
    return this.machines.get("lifecycle")?.value ?? null;
  }

  get commandHandler(): CommandHandler | null {
    return this.handler;
  }

  /** Publications that could not be serialised; they are counted, never thrown to the trainer. */
  get refusedPublications(): number {
    return this.failures;
  }

  publishRun(patch: Partial<RunInfo>): void {
    const note = patch.note ? { note: this.secrets.text(patch.note) } : {};
    if (patch.resumes) {
      for (const key of this.toldSince) this.toldBefore.add(key);
      this.toldSince.clear();
    }
    this.runInfo = { ...(this.runInfo ?? emptyRun(patch.id ?? "run", this.clock())), ...patch, ...note };
    this.runChanged = true;
  }

  publishMetric(record: MetricRecord): void {
    this.append("metrics", record, null, record.time);
    if (record.phase > 0 && this.runInfo && (this.runInfo.step !== record.step || this.runInfo.phase !== record.phase))
      this.publishRun({ step: record.step, phase: record.phase });
  }

  publishAlert(alert: Alert): void {
    this.append("alerts", { ...alert, text: this.secrets.text(alert.text) }, null, alert.time);
  }

  publishGuard(event: GuardEvent): void {
    const { time: _, ...content } = event;
    const key = JSON.stringify(content);
    if (this.toldBefore.delete(key)) return;
    this.toldSince.add(key);
    const masked = "reason" in event && event.reason ? { ...event, reason: this.secrets.text(event.reason) } : event;
    this.append("guard", masked, null, event.time);
  }

  publishConfig(resolved: Json): void {
    const masked = JSON.parse(this.secrets.text(JSON.stringify(resolved))) as Json;
    this.configuration = { ...this.configuration, resolved: masked };
    this.configChanged = true;
  }

  publishConfigChange(change: RunConfig["changes"][number]): void {
    this.configuration = { ...this.configuration, changes: [...this.configuration.changes, change] };
    this.configChanged = true;
  }

  /** Shows another run next to this one, now and as it goes on. */
  compareWith(other: Comparable): void {
    this.compared.add(other);
  }

  publishTrace(given: Trace): void {
    const trace = this.secrets.trace(given);
    this.traces.add(trace);
    this.append("traces", summarise(trace), null, trace.time);
  }

  /** Whether an alert with this text has been shown: a resumed run repeats its preflight. */
  showsAlert(text: string): boolean {
    const shown = this.secrets.text(text);
    return this.channel("alerts")
      .entries()
      .some((entry) => (entry.data as Alert).text === shown);
  }

  publishLifecycle(reading: MachineReading): void {
    const before = this.machines.get(reading.machine);
    const same = before !== undefined && JSON.stringify(before.value) === JSON.stringify(reading.value);
    const definition = reading.definition ?? before?.definition ?? null;
    if (same && definition === before.definition) return;
    const state: MachineState = {
      machine: reading.machine,
      value: reading.value,
      since: same ? before.since : (reading.since ?? this.clock()),
      definition,
    };
    this.machines.set(reading.machine, state);
    this.changedMachines.add(reading.machine);
  }

  publishPipeline(gauges: readonly GaugeReading[]): void {
    this.gauges = gauges;
  }

  publishActors(actors: readonly ActorStatus[], lag: LagStatus | null): void {
    this.tree = { ...this.tree, actors: [...actors], lag };
    this.treeChanged = true;
  }

  publishActorChange(given: Omit<ActorChange, "from">): void {
    const { changes } = this.tree;
    const from = changes.findLast((change) => change.actor === given.actor)?.state ?? null;
    const change = { ...given, from, reason: this.reason(given.reason) };
    this.tree = { ...this.tree, changes: [...changes, change].slice(-LIMITS.actorChanges) };
    this.treeChanged = true;
  }

  publishKnobs(knobs: readonly KnobState[]): void {
    this.board = { ...this.board, knobs: [...knobs] };
    this.boardChanged = true;
  }

  publishTurn(given: ListedTurn): void {
    const { turns, turnCount, knobs } = this.board;
    const turn = { ...given, reason: given.reason === null ? null : this.reason(given.reason) };
    // A resumed run repeats what came after its checkpoint.
    const others = turns.filter((other) => !isSameTurn(other, turn));
    const value = typeof turn.new === "number" ? turn.new : null;
    this.board = {
      turns: [...others, turn].slice(-LIMITS.knobTurns),
      turnCount: turnCount + 1 - (turns.length - others.length),
      knobs: knobs.map((knob) => (knob.path === turn.path ? { ...knob, value } : knob)),
    };
    this.boardChanged = true;
  }

  publishLog(line: Omit<LogLine, "time"> & { readonly time?: number }): void {
    const time = line.time ?? this.clock();
    this.append(
      "logs",
      { level: line.level, text: this.secrets.text(line.text).slice(0, LOG_CHARACTERS), time },
      null,
      time,
    );
  }

  publishFact(fact: Fact): void {
    this.tally.take(fact);
    applyFact(this, fact);
  }

  onCommand(handler: CommandHandler): () => void {
    this.handler = handler;
    return () => {
      if (this.handler === handler) this.handler = null;
    };
  }

  /** Sets the run's folder, which holds the rollouts that are no longer in memory. */
  useFolder(runFolder: string): void {
    this.archive = new TraceArchive(runFolder);
  }

  /** A whole trace, from memory or the run folder; `step` shortens the search. Never rejects. */
  findTrace(id: string, step: number | null): Promise<Trace | null> {
    const held = this.traces.get(id);
    if (held || !this.archive) return Promise.resolve(held);
    return this.archive.find(id, step).then((found) => found && this.secrets.trace(found));
  }

  /** The rollouts of a trace's group that are known, by their index; in memory or in the run folder. Never rejects. */
  async groupOf(trace: Trace): Promise<readonly GroupMember[]> {
    const held = this.traces.all().filter((one) => one.step === trace.step && one.groupId === trace.groupId);
    const members = this.archive ? await this.archive.group(trace.step, trace.groupId) : [];
    const known = new Map([...members, ...held.map(memberOf)].map((member) => [member.id, member]));
    if (!known.has(trace.id)) known.set(trace.id, memberOf(trace));
    return [...known.values()].sort((a, b) => a.sampleIndex - b.sampleIndex).slice(0, LIMITS.groupMembers);
  }

  /** The rollouts of a step: those in memory, else those of the run folder. Never rejects. */
  async tracesOfStep(step: number): Promise<readonly TraceSummary[]> {
    const all = this.channel("traces").entries();
    const held = all.map((entry) => entry.data as TraceSummary).filter((trace) => trace.step === step);
    return held.length > 0 || !this.archive ? held : this.archive.list(step);
  }

  /**
   * Applies lazy publications: the run, its machines, its actors and its gauges, each as it is now. Called before anything is
   * read, so that a history of thousands of steps costs one serialisation.
   */
  settle(): void {
    if (this.runInfo && this.runChanged) this.append("run", listedRun(this.runInfo), "run");
    this.runChanged = false;
    for (const machine of this.changedMachines) this.append("lifecycle", this.machines.get(machine), machine);
    this.changedMachines.clear();
    if (this.treeChanged) this.append("actors", this.listedTree(), "actors");
    this.treeChanged = false;
    if (this.configChanged) this.append("config", this.configuration, "config");
    this.configChanged = false;
    for (const { key, data } of this.compared.changed()) this.append("compare", data, key);
    if (this.boardChanged) this.append("knobs", this.board, "knobs");
    this.boardChanged = false;
    const gauges = this.gauges;
    if (!gauges) return;
    this.gauges = null;
    const time = this.clock();
    for (const gauge of gauges)
      this.append("pipeline", { ...gauge, perSecond: this.rate(gauge, time), time }, gauge.name);
  }

  /** The tree as it is sent: bounded, without secrets. */
  private listedTree(): ActorTree {
    const { actors, lag, changes } = this.tree;
    const listed = actors.slice(0, LIMITS.actors).map((actor) => ({ ...actor, detail: this.reason(actor.detail) }));
    return { actors: listed, lag, changes, time: this.clock() };
  }

  private reason(text: string | null): string | null {
    return text === null ? null : this.secrets.text(text).slice(0, REASON_CHARACTERS);
  }

  private append(channel: StreamChannel, data: unknown, key: string | null, time = this.clock()): void {
    try {
      this.logs[channel].append(data, key, time);
    } catch {
      this.failures++;
    }
  }

  private rate(gauge: GaugeReading, time: number): number | null {
    const known = this.rates.get(gauge.name);
    if (!known || gauge.passed < known.passed) {
      this.rates.set(gauge.name, { time, passed: gauge.passed, perSecond: null });
      return null;
    }
    const elapsed = time - known.time;
    if (elapsed < RATE_WINDOW_MS) return known.perSecond;
    const perSecond = (gauge.passed - known.passed) / (elapsed / 1_000);
    this.rates.set(gauge.name, { time, passed: gauge.passed, perSecond });
    return perSecond;
  }
}
