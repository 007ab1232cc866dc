import { join } from "node:path";
import { knobStates } from "../../src/config/knobs.js";
import { parseConfig } from "../../src/config/load.js";
import type { Fact } from "../../src/contracts/fact.js";
import type { KnobState } from "../../src/contracts/knob.js";
import type { Json } from "../../src/contracts/task.js";
import type { Trace } from "../../src/contracts/trace.js";
import { readRollouts, readRunRecord, rolloutSteps } from "../../src/store/index.js";
import { LIMITS } from "../protocol/limits.js";
import type { RunInfo, StateDefinition } from "../protocol/records.js";
import { MonitorHub } from "./hub.js";
import { JournalTail } from "./journal-tail.js";

/**
 * Shows a run from its folder: the journal through the same mapping as a live run, then the newest rollouts.
 * A line or a shard that cannot be read is left out and named in the log; the rest is shown.
 */

const JOURNAL = "journal.ndjson";
const ROLLOUTS = "rollouts";
/** Traces read back: what the list holds. */
const MAX_TRACES = 1_000;
/** Interval at which a run of another process is read again, ms. */
const FOLLOW_MS = 1_000;

/** A run folder being shown. */
export interface Replay {
  readonly hub: MonitorHub;
  /** Resolves once the newest rollouts are in the hub. Never rejects. */
  readonly traces: Promise<void>;
  /** Follows what another process writes, until the signal; `alive` tells whether that process runs. */
  follow(signal: AbortSignal, alive: () => boolean): void;
  /** Shows a run as ended that has no writer and no recorded end. */
  endUnlessFinished(): void;
}

/**
 * Fills a hub from a run folder; the rollouts follow, so that the curves need not wait for them. `machines` are the
 * statecharts to draw, by name; `withTraces` false leaves the rollouts out. Errors: WEIR_E_FILE_MISSING where there is no run; WEIR_E_RUN_FOLDER where its record is damaged.
 */
export async function openReplay(
  runFolder: string,
  machines: Readonly<Record<string, StateDefinition>> = {},
  withTraces = true,
): Promise<Replay> {
  const hub = new MonitorHub();
  const record = await readRunRecord(runFolder);
  const known = { id: record.id, live: false, startedAt: record.created, ...configured(record.config) };
  hub.publishRun(known);
  hub.publishConfig(record.config as Json);
  hub.publishKnobs(knobsOf(record.config));
  hub.useFolder(runFolder);
  const tail = new JournalTail(join(runFolder, JOURNAL));
  const seen = publishNew(hub, tail, { time: 0, seq: 0 });
  for (const { machine, value } of hub.machineStates) {
    const definition = machines[machine];
    if (definition) hub.publishLifecycle({ machine, value, definition });
  }
  // A run.started of the journal says less than the record does.
  hub.publishRun({ id: known.id, live: false });
  const shown = { step: hub.run?.step ?? 0 };
  const traces = withTraces ? newestTraces(hub, runFolder) : Promise.resolve();
  return {
    hub,
    traces,
    follow: (signal, alive) => followRun({ hub, runFolder, tail, seen, shown, traces, alive, withTraces }, signal),
    endUnlessFinished: () => endUnlessFinished(hub),
  };
}

/** The hub of a run folder with its newest rollouts. Errors: as for `openReplay`. */
export async function replayRun(
  runFolder: string,
  machines: Readonly<Record<string, StateDefinition>> = {},
): Promise<MonitorHub> {
  const { hub, traces } = await openReplay(runFolder, machines);
  await traces;
  return hub;
}

/** The newest fact that has been shown. */
interface Seen {
  time: number;
  seq: number;
}

/** Publishes the facts that are new. A truncated journal is read again; times tell old facts from new ones. */
function publishNew(hub: MonitorHub, tail: JournalTail, seen: Seen): Seen {
  const { facts, damaged } = tail.read();
  const isNew = (fact: Fact) => fact.time > seen.time || (fact.time === seen.time && fact.seq > seen.seq);
  for (const fact of facts.filter(isNew)) {
    seen.time = fact.time;
    seen.seq = fact.seq;
    hub.publishFact(fact);
  }
  if (damaged > 0)
    hub.publishLog({
      level: "warn",
      text: `${JOURNAL}: ${damaged} damaged ${damaged === 1 ? "line is" : "lines are"} left out`,
    });
  return seen;
}

/** The knobs that the run began with; the journal tells how they were turned. None where an earlier build's options do not fit. */
function knobsOf(config: Json): KnobState[] {
  try {
    return knobStates(parseConfig(config), {});
  } catch {
    return [];
  }
}

const OVER: readonly RunInfo["status"][] = ["completed", "stopped", "failed"];

function endUnlessFinished(hub: MonitorHub): void {
  if (!hub.run || OVER.includes(hub.run.status)) return;
  const note = "the run's process ended unexpectedly; `weir train --resume RUN` continues it";
  hub.publishRun({ status: "stopped", note });
}

interface Followed {
  readonly hub: MonitorHub;
  readonly runFolder: string;
  readonly tail: JournalTail;
  readonly seen: Seen;
  readonly shown: { step: number };
  readonly traces: Promise<void>;
  readonly alive: () => boolean;
  readonly withTraces: boolean;
}

function followRun(followed: Followed, signal: AbortSignal): void {
  const { hub, runFolder, tail, seen, shown, traces: first, alive, withTraces } = followed;
  let busy = false;
  const look = async () => {
    if (busy) return;
    busy = true;
    try {
      const before = { ...seen };
      const returns = returnsOf(hub).length;
      // Asked first: what a process wrote before it ended is then read.
      const living = alive();
      publishNew(hub, tail, seen);
      if (!living) endUnlessFinished(hub);
      if (!withTraces || (seen.time === before.time && seen.seq === before.seq)) return;
      shown.step = Math.min(shown.step, ...returnsOf(hub).slice(returns));
      await first;
      const steps = await rolloutSteps(join(runFolder, ROLLOUTS));
      for (const step of steps.filter((one) => one > shown.step)) {
        for (const trace of await tracesOf(hub, runFolder, step)) hub.publishTrace(trace);
        shown.step = step;
      }
    } finally {
      busy = false;
    }
  };
  const timer = setInterval(() => void look().catch(() => {}), FOLLOW_MS);
  signal.addEventListener("abort", () => clearInterval(timer), { once: true });
}

/** Steps to whose end the run has gone back so far: what comes after them is trained again. */
function returnsOf({ run }: MonitorHub): readonly number[] {
  const steps = [...(run?.resumes ?? []).map(({ step, time }) => ({ step, time }))];
  for (const { toStep, time } of run?.rollbacks ?? []) steps.push({ step: toStep, time });
  return steps.sort((a, b) => a.time - b.time).map(({ step }) => step);
}

/** Publishes the traces of the latest steps, oldest first. */
async function newestTraces(hub: MonitorHub, runFolder: string): Promise<void> {
  const batches: (readonly Trace[])[] = [];
  let count = 0;
  for (const step of (await rolloutSteps(join(runFolder, ROLLOUTS))).reverse()) {
    if (count >= MAX_TRACES) break;
    const traces = await tracesOf(hub, runFolder, step);
    batches.push(traces);
    count += traces.length;
  }
  const newest = batches.reverse().flat().slice(-MAX_TRACES);
  if (newest.length > LIMITS.samplePerFlush) hub.channel("traces").startAnew();
  for (const trace of newest) hub.publishTrace(trace);
}

/** The rollouts of a step; none where the shard cannot be read. */
async function tracesOf(hub: MonitorHub, runFolder: string, step: number): Promise<readonly Trace[]> {
  try {
    return await readRollouts(join(runFolder, ROLLOUTS), step);
  } catch (error) {
    hub.publishLog({ level: "warn", text: `rollouts of step ${step} are left out: ${(error as Error).message}` });
    return [];
  }
}

/** What the run's configuration says that the page shows. */
function configured(config: unknown): { model?: string; seed?: number; plannedSteps?: number } {
  const { model, run, phases } = (config ?? {}) as {
    model?: { path?: unknown };
    run?: { seed?: unknown };
    phases?: readonly { steps?: unknown }[];
  };
  const steps = (phases ?? []).map((phase) => phase.steps).filter((n): n is number => typeof n === "number");
  return {
    ...(typeof model?.path === "string" ? { model: model.path } : {}),
    ...(typeof run?.seed === "number" ? { seed: run.seed } : {}),
    ...(steps.length > 0 ? { plannedSteps: steps.reduce((a, b) => a + b, 0) } : {}),
  };
}
