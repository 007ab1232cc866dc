/** Summary of a run from its folder, read without a lock: state, phases, steps, ledger, metrics, alerts, checkpoints. */
import { existsSync, statSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Alert } from "../contracts/alert.js";
import type { Fact, FactData } from "../contracts/fact.js";
import type { MetricValues } from "../contracts/metrics.js";
import type { Json } from "../contracts/task.js";
import { listCheckpoints, loadCheckpoint, STATE_NAME } from "./checkpoint-store.js";
import { JOURNAL_NAME, readFacts } from "./journal.js";
import { LEDGER_NAME, readLedger } from "./ledger.js";
import { LedgerBook } from "./ledger-book.js";
import { describeDamage, type LineDamage } from "./line-file.js";
import { lockHolder } from "./lock.js";
import { readRollouts, rolloutSteps } from "./rollout-shard.js";
import { CHECKPOINTS_FOLDER, REPORT_NAME, ROLLOUTS_FOLDER } from "./run-folder.js";
import { readRunRecord } from "./run-record.js";

/** A journal folded into a summary. Pure. */
export interface JournalSummary {
  readonly facts: number;
  /** The lifecycle's last journalled state, null before the first. */
  readonly lifecycle: Json;
  /** RL steps committed. */
  readonly steps: number;
  readonly resumed: number;
  readonly phases: readonly FactData["phase.entered"][];
  /** Metrics of the last RL step, null before it. */
  readonly metrics: { readonly step: number; readonly phase: number; readonly values: MetricValues } | null;
  /** Held-out results by stage. */
  readonly heldout: Readonly<Record<string, FactData["evaluation.finished"]["buckets"]>>;
  readonly alerts: readonly Alert[];
  readonly finished: FactData["run.finished"] | null;
}

export interface CheckpointSummary {
  readonly name: string;
  readonly step: number;
  /** Why it cannot be used, null when it is whole (or was not checked). */
  readonly damaged: string | null;
}

export interface RunSummary extends JournalSummary {
  readonly schema_version: 1;
  readonly id: string;
  readonly directory: string;
  readonly created: number;
  readonly dataset: Json;
  /** Process id of the writer; null without one. */
  readonly writer: number | null;
  readonly ledger: Readonly<Record<string, number>>;
  readonly dropped: Readonly<Record<string, number>>;
  readonly checkpoints: readonly CheckpointSummary[];
  readonly rolloutSteps: readonly number[];
  readonly report: boolean;
  /** What is damaged and was left out; empty for a whole folder. */
  readonly remarks: readonly string[];
}

/** Step of an evaluation during training; 0 for those before it. */
const evaluatedAt = (stage: string): number => Number(/^step-(\d+)$/.exec(stage)?.[1] ?? 0);

/** Folds facts in order; what a rollback has undone is left out. */
export function summariseFacts(facts: Iterable<Fact>): JournalSummary {
  let count = 0;
  let lifecycle: Json = null;
  let steps = 0;
  let resumed = 0;
  let metrics: JournalSummary["metrics"] = null;
  let finished: JournalSummary["finished"] = null;
  const phases = new Map<string, FactData["phase.entered"]>();
  const heldout: Record<string, FactData["evaluation.finished"]["buckets"]> = {};
  const alerts: Alert[] = [];
  for (const fact of facts) {
    count++;
    const { step } = fact;
    switch (fact.type) {
      case "lifecycle.changed":
        if (fact.data.machine === "lifecycle") lifecycle = fact.data.value;
        break;
      case "step.committed":
        steps = step;
        break;
      case "run.resumed":
        resumed++;
        break;
      case "run.rolledBack": {
        const { toStep } = fact.data;
        steps = toStep;
        for (const [key, { fromStep }] of phases) if (fromStep > Math.max(1, toStep)) phases.delete(key);
        for (const stage of Object.keys(heldout)) if (evaluatedAt(stage) > toStep) delete heldout[stage];
        break;
      }
      case "run.finished":
        finished = fact.data;
        break;
      case "evaluation.finished":
        heldout[fact.data.stage] = fact.data.buckets;
        break;
      case "alert.raised":
        alerts.push(fact.data.alert);
        break;
      case "phase.entered":
        phases.set(`${fact.data.k}:${fact.data.fromStep}`, fact.data);
        break;
      case "metrics.recorded": {
        const { phase, values } = fact.data;
        // Warm-up and evaluation record metrics too; only RL steps keep groups (older runs: have a mean reward).
        if (values["group/kept"] !== undefined || values["reward/mean"] !== undefined)
          metrics = { step, phase, values };
        break;
      }
      default:
    }
  }
  return { facts: count, lifecycle, steps, resumed, phases: [...phases.values()], metrics, heldout, alerts, finished };
}

/**
 * Summary of a run folder, also while another process writes to it. Damaged parts are left out and named. `verify` checks
 * every checkpoint against its manifest and opens every shard of rollouts, which reads all of them.
 * Errors: WEIR_E_FILE_MISSING where it is not a run folder; WEIR_E_RUN_FOLDER.
 */
export async function summariseRun(directory: string, options: { readonly verify: boolean }): Promise<RunSummary> {
  const record = await readRunRecord(directory);
  const journal = join(directory, JOURNAL_NAME);
  const writer = lockHolder(directory)?.pid ?? null;
  const remarks: string[] = [];
  const reading = {
    ended: writer === null,
    onDamage: (damage: LineDamage) => void remarks.push(describeDamage(damage)),
  };
  const facts = summariseFacts(existsSync(journal) ? readFacts(journal, 1, reading) : []);
  const book = bookOf(join(directory, LEDGER_NAME), reading, remarks);
  remarks.push(...(await missingEnds(directory)));
  const checkpoints: CheckpointSummary[] = [];
  for (const entry of await listCheckpoints(join(directory, CHECKPOINTS_FOLDER))) {
    const damaged = options.verify
      ? await loadCheckpoint(entry).then(
          () => null,
          (error: Error) => error.message,
        )
      : null;
    checkpoints.push({ name: entry.name, step: entry.step, damaged });
  }
  const folder = join(directory, ROLLOUTS_FOLDER);
  const steps = await rolloutSteps(folder);
  for (const step of options.verify ? steps : []) {
    await readRollouts(folder, step).catch((error: Error) => remarks.push(error.message));
  }
  return {
    schema_version: 1,
    id: record.id,
    directory,
    created: record.created,
    dataset: record.dataset,
    writer,
    ...facts,
    ledger: book.counts(),
    dropped: book.reasons(),
    checkpoints,
    rolloutSteps: steps,
    report: existsSync(join(directory, REPORT_NAME)),
    remarks,
  };
}

/** Journals and ledgers that are shorter than at the newest checkpoint. */
async function missingEnds(directory: string): Promise<string[]> {
  const [newest] = await listCheckpoints(join(directory, CHECKPOINTS_FOLDER));
  const text = newest && (await readFile(join(newest.directory, STATE_NAME), "utf8").catch(() => null));
  if (!newest || !text) return [];
  let marks: Partial<Record<"journal" | "ledger", { readonly bytes?: number }>> | undefined;
  try {
    marks = JSON.parse(text).runFolder;
  } catch {
    // A damaged state is reported with its checkpoint.
    return [];
  }
  const files = [
    [JOURNAL_NAME, marks?.journal?.bytes ?? 0],
    [LEDGER_NAME, marks?.ledger?.bytes ?? 0],
  ] as const;
  return files.flatMap(([name, known]) => {
    const path = join(directory, name);
    const size = existsSync(path) ? statSync(path).size : 0;
    return size >= known
      ? []
      : [`${name}: it has ${size} bytes, but ${newest.name} needs ${known}; its end is missing`];
  });
}

/** The ledger's index; entries that follow from lines that are missing are taken as they are, and counted in one message. */
function bookOf(path: string, reading: Parameters<typeof readLedger>[1], remarks: string[]): LedgerBook {
  const book = new LedgerBook();
  if (!existsSync(path)) return book;
  let loose = 0;
  for (const entry of readLedger(path, reading)) {
    try {
      book.apply(entry);
    } catch {
      book.take(entry);
      loose++;
    }
  }
  if (loose > 0)
    remarks.push(`${LEDGER_NAME}: ${loose} ${loose === 1 ? "entry does" : "entries do"} not follow from those before`);
  return book;
}
