import type { RunStore } from "../actors/run/run-store.js";
import type { Fact, FactData, FactType } from "../contracts/fact.js";
import type { RunOrder } from "../contracts/knob.js";
import type { LedgerEntry } from "../contracts/ledger.js";
import type { MetricValues } from "../contracts/metrics.js";
import type { Json } from "../contracts/task.js";
import type { Trace } from "../contracts/trace.js";
import { WeirError } from "../errors.js";
import type { ConfigChange, LedgerMark, SavedBatch } from "../store/index.js";
import { LedgerBook } from "../store/ledger-book.js";
import type { ScriptedWeights } from "./ground-truth.js";

/**
 * A run folder in memory, with the rules of the one on disk (src/store/run-folder.ts): a checkpoint names the places of journal and
 * ledger that belong to it, rolling back cuts off what came later, and the ledger is checked by the same book. What is stored
 * outlives a killed process; a view of it that belongs to such a process changes nothing any more.
 */

/** Begins the names of folders that become snapshots. */
export const SNAPSHOT_DRAFT = "snapshot-draft";

const MARKS = "runFolder";
const FIRST_FACT: FactType = "run.started";

interface Marks {
  readonly step: number;
  readonly journal: { readonly seq: number };
  readonly ledger: { readonly entries: number };
}

interface StoredCheckpoint {
  readonly step: number;
  readonly revision: number;
  readonly directory: string;
  readonly state: string;
  readonly kept: boolean;
}

/** Files with weights, by path. */
export class MemoryFiles {
  private readonly files = new Map<string, ScriptedWeights>();

  write(path: string, weights: ScriptedWeights): void {
    this.files.set(path, weights);
  }

  /** Errors: WEIR_E_FILE_MISSING. */
  read(path: string): ScriptedWeights {
    const found = this.files.get(path);
    if (found === undefined)
      throw new WeirError("WEIR_E_FILE_MISSING", `the simulated disk has nothing at "${path}"`, { path });
    return found;
  }

  /** Renames a folder in one step. */
  move(from: string, to: string): void {
    for (const [path, weights] of [...this.files])
      if (path.startsWith(`${from}/`) || path === from) {
        this.files.delete(path);
        this.files.set(to + path.slice(from.length), weights);
      }
  }

  remove(folder: string): void {
    for (const path of [...this.files.keys()])
      if (path.startsWith(`${folder}/`) || path === folder) this.files.delete(path);
  }
}

/** What is on the simulated disk; outlives every process of a run. */
export class MemoryDisk {
  readonly files = new MemoryFiles();
  readonly journal: Fact[] = [];
  readonly entries: Omit<LedgerEntry, "schema_version">[] = [];
  book = new LedgerBook();
  checkpoints: StoredCheckpoint[] = [];
  readonly orders: RunOrder[] = [];
  readonly snapshots = new Map<string, { readonly directory: string; readonly state: string }>();
  report: Json = null;
  drafts = 0;
  rolledBack = 0;
}

export interface MemoryStoreOptions {
  readonly keep: number;
  /** ms. */
  readonly now: () => number;
  /** False once the process that this view belongs to is gone. */
  readonly alive: () => boolean;
  readonly onEntry: (entry: Omit<LedgerEntry, "schema_version">) => void;
}

export class MemoryStore implements RunStore {
  readonly directory = "simulated";

  constructor(
    private readonly disk: MemoryDisk,
    private readonly options: MemoryStoreOptions,
  ) {}

  append<T extends FactType>(type: T, step: number, data: FactData[T]): Fact {
    this.assertAlive();
    const { journal } = this.disk;
    const fact = { schema_version: 1, seq: journal.length + 1, type, step, time: this.options.now(), data } as Fact;
    journal.push(fact);
    return fact;
  }

  facts(): Iterable<Fact> {
    return this.disk.journal;
  }

  ledger(entry: Omit<LedgerEntry, "schema_version">): void {
    this.assertAlive();
    this.disk.book.apply(entry);
    this.disk.entries.push(entry);
    this.options.onEntry(entry);
  }

  ledgerCounts(): Readonly<Record<string, number>> {
    return this.disk.book.counts();
  }

  async checkpoint(
    step: number,
    writeInto: (directory: string) => Promise<void>,
    state: Json,
    tags: readonly ("phase-end" | "best")[] = [],
  ): Promise<string> {
    this.assertAlive();
    const { disk } = this;
    if (typeof state !== "object" || state === null || Array.isArray(state))
      throw new WeirError("WEIR_E_STATE", `a checkpoint's state must be an object, got ${JSON.stringify(state)}`, {});
    const marks: Marks = { step, journal: { seq: disk.journal.length }, ledger: { entries: disk.entries.length } };
    const text = JSON.stringify({ ...state, [MARKS]: marks });
    const directory = await this.draft(writeInto, (name) => `checkpoints/step-${step}.${name}`);
    const revision = disk.drafts;
    disk.checkpoints.push({ step, revision, directory, state: text, kept: tags.length > 0 });
    // The one that was written last is the newest, also after a rollback.
    disk.checkpoints.sort((a, b) => b.revision - a.revision);
    disk.checkpoints = disk.checkpoints.filter((one, age) => {
      const keep = age < this.options.keep || one.kept;
      if (!keep) disk.files.remove(one.directory);
      return keep;
    });
    return directory;
  }

  async latest(): Promise<{ readonly directory: string; readonly step: number; readonly state: Json } | null> {
    const [newest] = this.disk.checkpoints;
    if (newest === undefined) return null;
    return { directory: newest.directory, step: newest.step, state: JSON.parse(newest.state) as Json };
  }

  async rollBack(state: Json | null): Promise<void> {
    this.assertAlive();
    const { disk } = this;
    const marks = state === null ? null : marksOf(state);
    const seq = marks?.journal.seq ?? (disk.journal[0]?.type === FIRST_FACT ? 1 : 0);
    const entries = marks?.ledger.entries ?? 0;
    if (seq > disk.journal.length || entries > disk.entries.length)
      throw new WeirError(
        "WEIR_E_RUN_FOLDER",
        `the checkpoint knows ${seq} facts and ${entries} ledger entries, there are ${disk.journal.length} and ${disk.entries.length}`,
        { seq, entries },
      );
    disk.journal.length = seq;
    disk.rolledBack += disk.entries.length - entries;
    disk.entries.length = entries;
    disk.book = new LedgerBook();
    for (const entry of disk.entries) disk.book.apply(entry);
  }

  takeRemarks(): readonly string[] {
    return [];
  }

  changesAfter(): readonly ConfigChange[] {
    return [];
  }

  async recordOrder(order: RunOrder): Promise<void> {
    this.assertAlive();
    this.disk.orders.push(order);
  }

  orders(): readonly (RunOrder & { readonly overridden: boolean })[] {
    return this.disk.orders.map((order) => ({ ...order, overridden: false }));
  }

  async reference(writeInto: (directory: string) => Promise<void>): Promise<void> {
    await this.draft(writeInto, () => REFERENCE);
  }

  async referenceDirectory(): Promise<string> {
    this.disk.files.read(REFERENCE);
    return REFERENCE;
  }

  async snapshot(name: string, writeInto: (directory: string) => Promise<void>, state: Json): Promise<void> {
    this.assertAlive();
    const { disk } = this;
    const text = JSON.stringify(state);
    const directory = await this.draft(writeInto, () => `snapshots/${name}`, SNAPSHOT_DRAFT);
    disk.snapshots.set(name, { directory, state: text });
  }

  async readSnapshot(name: string): Promise<{ readonly directory: string; readonly state: Json } | null> {
    const found = this.disk.snapshots.get(name);
    return found === undefined ? null : { directory: found.directory, state: JSON.parse(found.state) as Json };
  }

  async keepSnapshots(names: ReadonlySet<string>): Promise<void> {
    this.assertAlive();
    const { snapshots, files } = this.disk;
    for (const [name, { directory }] of [...snapshots]) {
      if (names.has(name)) continue;
      files.remove(directory);
      snapshots.delete(name);
    }
  }

  /** A killed process leaves nothing but its files, which nobody counts. */
  async removeLeftovers(): Promise<void> {}

  ledgerPlace(): LedgerMark {
    return { bytes: 0, entries: this.disk.entries.length };
  }

  trainedSince({ entries }: LedgerMark): readonly LedgerEntry[] {
    const { disk } = this;
    return disk.entries
      .slice(entries)
      .filter(({ rolloutId, state }) => state === "trained" && disk.book.stateOf(rolloutId) === "trained")
      .map((entry) => ({ schema_version: 1, ...entry }));
  }

  async undone(): Promise<void> {
    this.assertAlive();
  }

  async rollouts(_step: number, _traces: readonly Trace[]): Promise<void> {
    this.assertAlive();
  }

  scalars(_step: number, _values: MetricValues): void {
    this.assertAlive();
  }

  async saveBatch({ step }: SavedBatch): Promise<{ readonly path: string; readonly withState: boolean }> {
    this.assertAlive();
    return { path: `simulated/batches/step-${step}`, withState: false };
  }

  async writeReport(report: Json): Promise<string> {
    this.assertAlive();
    this.disk.report = report;
    return "simulated/report.json";
  }

  async close(): Promise<void> {}

  /** Fills a folder that gets its name at the end; nothing is left of it where that fails. Resolves to its name. */
  private async draft(
    writeInto: (folder: string) => Promise<void>,
    nameOf: (n: number) => string,
    prefix = "draft",
  ): Promise<string> {
    const { disk } = this;
    const n = ++disk.drafts;
    const draft = `${prefix}-${n}`;
    try {
      await writeInto(draft);
    } catch (error) {
      disk.files.remove(draft);
      throw error;
    }
    this.assertAlive();
    const name = nameOf(n);
    disk.files.remove(name);
    disk.files.move(draft, name);
    return name;
  }

  private assertAlive(): void {
    if (this.options.alive()) return;
    throw new WeirError("WEIR_E_STATE", "the simulated process is gone", {});
  }
}

const REFERENCE = "reference";

function marksOf(state: Json): Marks {
  return (state as Readonly<Record<string, unknown>>)[MARKS] as Marks;
}
