import { join } from "node:path";
import type { Fact } from "../../src/contracts/fact.js";
import type { Trace } from "../../src/contracts/trace.js";
import { readFacts, readRollouts, readRunRecord, rolloutSteps } from "../../src/store/index.js";
import type { StateDefinition } from "../protocol/records.js";
import { MonitorHub } from "./hub.js";

/**
 * Shows a run from its folder: the journal through the same mapping as a live run, then the newest rollouts.
 */

const JOURNAL = "journal.ndjson";
const ROLLOUTS = "rollouts";
/** Traces read back: what the list holds. */
const MAX_TRACES = 1_000;
/** Interval at which a run that is being written elsewhere is looked at again, ms. */
const FOLLOW_MS = 1_000;

/**
 * Fills a hub from a run folder. `machines` are the statecharts to draw, by name.
 * Errors: WEIR_E_FILE_MISSING where there is no run; WEIR_E_RUN_FOLDER where it is damaged.
 */
export async function replayRun(
  runFolder: string,
  machines: Readonly<Record<string, StateDefinition>> = {},
): Promise<MonitorHub> {
  const hub = new MonitorHub();
  const record = await readRunRecord(runFolder);
  const known = { id: record.id, live: false, startedAt: record.created, ...configured(record.config) };
  hub.publishRun(known);
  for (const fact of readFacts(join(runFolder, JOURNAL))) hub.publishFact(fact);
  for (const { machine, value } of hub.machineStates) {
    const definition = machines[machine];
    if (definition) hub.publishLifecycle({ machine, value, definition });
  }
  // A run.started of the journal says less than the record does.
  hub.publishRun({ id: known.id, live: false });
  for (const trace of await newestTraces(runFolder)) hub.publishTrace(trace);
  return hub;
}

/** Goes on reading a run that another process writes, until the signal. Rolled-back facts are told from new ones by time. */
export function followRun(hub: MonitorHub, runFolder: string, signal: AbortSignal): void {
  let seenTime = 0;
  let seenSeq = 0;
  const isNew = (fact: Fact) => fact.time > seenTime || (fact.time === seenTime && fact.seq > seenSeq);
  const note = (fact: Fact) => {
    seenTime = fact.time;
    seenSeq = fact.seq;
  };
  for (const fact of readFacts(join(runFolder, JOURNAL))) note(fact);
  let shownStep = hub.run?.step ?? 0;
  let busy = false;
  const look = async () => {
    if (busy) return;
    busy = true;
    for (const fact of readFacts(join(runFolder, JOURNAL))) {
      if (!isNew(fact)) continue;
      note(fact);
      hub.publishFact(fact);
    }
    const steps = await rolloutSteps(join(runFolder, ROLLOUTS));
    for (const step of steps.filter((one) => one > shownStep)) {
      for (const trace of await readRollouts(join(runFolder, ROLLOUTS), step).catch((): Trace[] => []))
        hub.publishTrace(trace);
      shownStep = step;
    }
    busy = false;
  };
  const timer = setInterval(() => void look(), FOLLOW_MS);
  signal.addEventListener("abort", () => clearInterval(timer), { once: true });
}

/** Traces of the latest steps, oldest first. */
async function newestTraces(runFolder: string): Promise<Trace[]> {
  const folder = join(runFolder, ROLLOUTS);
  const batches: Trace[][] = [];
  let count = 0;
  for (const step of (await rolloutSteps(folder)).reverse()) {
    if (count >= MAX_TRACES) break;
    const traces = await readRollouts(folder, step);
    batches.push(traces);
    count += traces.length;
  }
  return batches.reverse().flat().slice(-MAX_TRACES);
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
