import { useEffect, useState } from "preact/hooks";
import type { Alert } from "../../src/contracts/alert.js";
import type { MetricRecord } from "../../src/contracts/metrics.js";
import type {
  ActorTree,
  ChannelEvent,
  ConnectionState,
  GuardEvent,
  KnobBoard,
  LogLine,
  MachineState,
  MonitorClient,
  PipelineGauge,
  RunConfig,
  RunInfo,
  TraceSummary,
  Welcome,
} from "../client/index.js";
import { ComparedTables } from "./compared.js";
import { MetricTable } from "./metric-table.js";

/**
 * Everything the page shows, fed by the client. Components subscribe to topics and are redrawn at most once per frame.
 */

export type Topic =
  | "connection"
  | "run"
  | "metrics"
  | "alerts"
  | "lifecycle"
  | "pipeline"
  | "actors"
  | "traces"
  | "logs"
  | "guard"
  | "knobs"
  | "config"
  | "compare"
  | "commands"
  | "view";

/** Traces and log lines held in the page; older ones are in the run folder. */
const MAX_TRACES = 1_000;
const MAX_LOGS = 300;
const MAX_ALERTS = 1_000;
const MAX_EVENTS = 2_000;

export class Store {
  connection: ConnectionState = { kind: "connecting", attempt: 0 };
  welcome: Welcome | null = null;
  run: RunInfo | null = null;
  readonly training = new MetricTable();
  readonly warmup = new MetricTable();
  alerts: readonly Alert[] = [];
  /** The guard's timeline. */
  guard: readonly GuardEvent[] = [];
  board: KnobBoard | null = null;
  config: RunConfig | null = null;
  readonly compared = new ComparedTables();
  readonly machines = new Map<string, MachineState>();
  readonly gauges = new Map<string, PipelineGauge>();
  tree: ActorTree | null = null;
  traces: readonly TraceSummary[] = [];
  logs: readonly LogLine[] = [];
  /** Traces left out because this page read too slowly. */
  droppedTraces = 0;
  private readonly listeners = new Map<Topic, Set<() => void>>();
  private readonly dirty = new Set<Topic>();
  private scheduled = false;

  listen(topic: Topic, listener: () => void): () => void {
    const known = this.listeners.get(topic) ?? new Set();
    this.listeners.set(topic, known);
    known.add(listener);
    return () => known.delete(listener);
  }

  touch(topic: Topic): void {
    this.dirty.add(topic);
    if (this.scheduled) return;
    this.scheduled = true;
    // A hidden page gets no frames; a timer keeps updates from accumulating.
    if (document.hidden) setTimeout(() => this.notify(), 250);
    else requestAnimationFrame(() => this.notify());
  }

  follow(client: MonitorClient): void {
    client.subscribe("run", (event) => {
      const latest = itemsOf(event).at(-1);
      if (latest) this.run = latest;
      this.touch("run");
    });
    client.subscribe("metrics", (event) => this.takeMetrics(event));
    client.subscribe("alerts", (event) => {
      this.alerts = appended(this.alerts, event, MAX_ALERTS);
      this.touch("alerts");
    });
    client.subscribe("guard", (event) => {
      this.guard = appended(this.guard, event, MAX_EVENTS);
      this.touch("guard");
    });
    client.subscribe("knobs", (event) => {
      this.board = itemsOf(event).at(-1) ?? this.board;
      this.touch("knobs");
    });
    client.subscribe("config", (event) => {
      this.config = itemsOf(event).at(-1) ?? this.config;
      this.touch("config");
    });
    client.subscribe("compare", (event) => {
      this.compared.take(event);
      this.touch("compare");
    });
    client.subscribe("lifecycle", (event) => {
      if (event.kind === "snapshot") this.machines.clear();
      for (const machine of itemsOf(event)) this.machines.set(machine.machine, machine);
      this.touch("lifecycle");
    });
    client.subscribe("pipeline", (event) => {
      if (event.kind === "snapshot") this.gauges.clear();
      for (const gauge of itemsOf(event)) this.gauges.set(gauge.name, gauge);
      this.touch("pipeline");
    });
    client.subscribe("actors", (event) => {
      if (event.kind !== "gap") this.tree = event.items.at(-1) ?? null;
      this.touch("actors");
    });
    client.subscribe("traces", (event) => {
      if (event.kind === "gap") this.droppedTraces += event.dropped;
      this.traces = appended(this.traces, event, MAX_TRACES);
      this.touch("traces");
    });
    client.subscribe("logs", (event) => {
      this.logs = appended(this.logs, event, MAX_LOGS);
      this.touch("logs");
    });
  }

  private takeMetrics(event: ChannelEvent<"metrics">): void {
    if (event.kind === "snapshot") {
      this.training.clear();
      this.warmup.clear();
    }
    for (const record of itemsOf(event)) (isWarmup(record) ? this.warmup : this.training).add(record);
    this.touch("metrics");
  }

  private notify(): void {
    this.scheduled = false;
    const topics = [...this.dirty];
    this.dirty.clear();
    const called = new Set<() => void>();
    for (const topic of topics)
      for (const listener of this.listeners.get(topic) ?? []) {
        if (called.has(listener)) continue;
        called.add(listener);
        listener();
      }
  }
}

/** The warm-up is phase 0 and counts its own steps. */
const isWarmup = (record: MetricRecord): boolean => record.phase === 0 && "loss/sft" in record.values;

function itemsOf<T>(event: { readonly kind: string; readonly items?: readonly T[] }): readonly T[] {
  return event.items ?? [];
}

function appended<T>(
  held: readonly T[],
  event: { readonly kind: string; readonly items?: readonly T[] },
  limit: number,
): readonly T[] {
  const items = itemsOf(event);
  if (event.kind === "snapshot") return items.slice(-limit);
  return items.length === 0 ? held : [...held, ...items].slice(-limit);
}

/** Redraws the component whenever one of the topics changes. */
export function useTopics(store: Store, ...topics: Topic[]): void {
  const [, redraw] = useState(0);
  useEffect(() => {
    const bump = () => redraw((n) => n + 1);
    const stops = topics.map((topic) => store.listen(topic, bump));
    return () => {
      for (const stop of stops) stop();
    };
  }, [store]);
}
