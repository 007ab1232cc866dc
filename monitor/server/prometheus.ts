import { ACTOR_STATES } from "../../src/contracts/actor-status.js";
import { METRICS } from "../../src/streams/telemetry/metrics.js";
import type { ActorTree } from "../protocol/records.js";
import type { MonitorHub } from "./hub.js";

/**
 * The run in Prometheus' text format (version 0.0.4). Names are `weir_` plus the metric's own; phases, queues, actors and
 * levels are labels; nothing of high cardinality (no ids, no texts) is exposed.
 */

export interface ServerCounters {
  readonly clients: number;
  readonly droppedByChannel: ReadonlyMap<string, number>;
}

interface Family {
  readonly name: string;
  readonly type: "gauge" | "counter";
  readonly help: string;
  readonly samples: readonly { readonly labels: Readonly<Record<string, string>>; readonly value: number }[];
}

export function prometheusText(hub: MonitorHub, server: ServerCounters): string {
  hub.settle();
  return `${families(hub, server).map(render).join("\n")}\n`;
}

function families(hub: MonitorHub, server: ServerCounters): Family[] {
  const { latest, lastStepAt } = hub.metrics;
  const result: Family[] = [];
  for (const metric of METRICS) {
    const [prefix = "", place] = metric.name.split("<");
    const samples = [...latest].flatMap(([name, value]) => {
      if (place === undefined) return name === prefix ? [{ labels: {}, value }] : [];
      const own = name.slice(prefix.length);
      if (!name.startsWith(prefix) || (place === "k>" && !/^\d+$/.test(own))) return [];
      return [{ labels: { [place === "k>" ? "bucket" : "name"]: own }, value }];
    });
    const base = prefix.replace(/[_/]$/, "").replace(/[^a-zA-Z0-9]+/g, "_");
    if (samples.length > 0) result.push({ name: `weir_${base}`, type: "gauge", help: metric.meaning, samples });
  }
  const run = hub.run;
  if (run) result.push(single("weir_step", "gauge", "RL steps committed.", run.step));
  if (lastStepAt !== null)
    result.push(
      single("weir_last_step_timestamp_seconds", "gauge", "Unix time of the latest step.", lastStepAt / 1_000),
    );
  result.push(single("weir_traces_total", "counter", "Traces published.", hub.channel("traces").seq));
  result.push(single("weir_alerts_total", "counter", "Alerts raised.", hub.channel("alerts").seq));
  result.push(single("weir_monitor_clients", "gauge", "Clients connected to the monitor.", server.clients));
  result.push({
    name: "weir_monitor_dropped_total",
    type: "counter",
    help: "Items of sampled channels left out for slow clients.",
    samples: [...server.droppedByChannel].map(([channel, value]) => ({ labels: { channel }, value })),
  });
  const gauges = hub
    .channel("pipeline")
    .entries()
    .map((entry) => entry.data as { name: string; depth: number; bound: number });
  const perQueue = (name: string, help: string, pick: (gauge: (typeof gauges)[number]) => number): Family => ({
    name,
    type: "gauge",
    help,
    samples: gauges.map((gauge) => ({ labels: { queue: gauge.name }, value: pick(gauge) })),
  });
  result.push(perQueue("weir_queue_depth", "Items in a queue of the pipeline.", (gauge) => gauge.depth));
  result.push(perQueue("weir_queue_bound", "Bound of a queue of the pipeline.", (gauge) => gauge.bound));
  const tree = hub.channel("actors").entries().at(-1)?.data as ActorTree | undefined;
  if (tree) result.push(...actorFamilies(tree), ...lagFamilies(tree));
  result.push(...controlFamilies(hub));
  return result.filter((family) => family.samples.length > 0);
}

/** What the guard and people did. */
function controlFamilies({ tally, knobBoard }: MonitorHub): Family[] {
  const knobs = knobBoard.knobs.flatMap(({ path, value }) =>
    value === null ? [] : [{ labels: { knob: path }, value }],
  );
  const family = (name: string, type: Family["type"], help: string, samples: Family["samples"]) => ({
    ...{ name, type, help, samples },
  });
  return [
    family("weir_alarms_active", "gauge", "Alarms that last, by rule and level.", tally.alarmsActive),
    family("weir_alarms_total", "counter", "Alarms raised, by rule and level.", tally.alarmsTotal),
    family("weir_guard_verdicts_total", "counter", "Verdicts of the guard other than commit.", tally.verdicts),
    family("weir_rollbacks_total", "counter", "Rollbacks, by who asked for them.", tally.rollbacks),
    family("weir_knob", "gauge", "Value of a knob in use now.", knobs),
    family("weir_knob_turns_total", "counter", "Turns of a knob, by who turned it.", tally.turns),
  ];
}

function actorFamilies({ actors }: ActorTree): Family[] {
  type Actor = (typeof actors)[number];
  const perActor = (name: string, type: Family["type"], help: string, pick: (actor: Actor) => number): Family => ({
    name,
    type,
    help,
    samples: actors.map((actor) => ({ labels: { actor: actor.name }, value: pick(actor) })),
  });
  const states = actors.flatMap((actor) =>
    ACTOR_STATES.map((state) => ({ labels: { actor: actor.name, state }, value: Number(actor.state === state) })),
  );
  return [
    { name: "weir_actor_state", type: "gauge", help: "1 for the state that an actor is in, else 0.", samples: states },
    perActor("weir_actor_busy", "gauge", "Items in work of an actor.", (actor) => actor.busy),
    perActor("weir_actor_workers", "gauge", "Items that an actor works on at once, at most.", (actor) => actor.workers),
    perActor("weir_actor_handled_total", "counter", "Items that an actor has finished.", (actor) => actor.handled),
    perActor("weir_actor_dropped_total", "counter", "Items that an actor has given up.", (actor) => actor.dropped),
    perActor("weir_actor_restarts_total", "counter", "Restarts of an actor.", (actor) => actor.restarts),
  ];
}

function lagFamilies({ lag }: ActorTree): Family[] {
  if (lag === null) return [];
  const samples = lag.tokens.map((value, k) => ({ labels: { lag: String(k) }, value }));
  return [
    single("weir_lag_bound", "gauge", "Largest lag that is trained on, policy versions.", lag.bound),
    { name: "weir_lag_tokens", type: "gauge", help: "Tokens of the last batch by lag in policy versions.", samples },
  ];
}

const single = (name: string, type: Family["type"], help: string, value: number): Family => ({
  name,
  type,
  help,
  samples: [{ labels: {}, value }],
});

function render({ name, type, help, samples }: Family): string {
  const lines = samples.map(({ labels, value }) => {
    const pairs = Object.entries(labels).map(([key, text]) => `${key}="${escapeLabel(text)}"`);
    return `${name}${pairs.length > 0 ? `{${pairs.join(",")}}` : ""} ${value}`;
  });
  return [
    `# HELP ${name} ${help.replace(/\\/g, "\\\\").replace(/\n/g, "\\n")}`,
    `# TYPE ${name} ${type}`,
    ...lines,
  ].join("\n");
}

const escapeLabel = (text: string): string => text.replace(/\\/g, "\\\\").replace(/\n/g, "\\n").replace(/"/g, '\\"');
