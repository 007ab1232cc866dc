import type { Fact, FactData, FactType } from "../../contracts/fact.js";
import type { RunOrder } from "../../contracts/knob.js";
import type { LedgerEntry } from "../../contracts/ledger.js";
import type { MetricValues } from "../../contracts/metrics.js";
import type { Json } from "../../contracts/task.js";
import type { Trace } from "../../contracts/trace.js";
import type { BatchState, ConfigChange, LedgerMark, SavedBatch } from "../../store/index.js";

/** What a run needs of its folder (DESIGN: run folder). Implemented over src/store. */
export interface RunStore {
  readonly directory: string;
  /** Appends a fact with the next sequence number. */
  append<T extends FactType>(type: T, step: number, data: FactData[T]): Fact;
  /** Facts of the journal as it stands. */
  facts(): Iterable<Fact>;
  ledger(entry: Omit<LedgerEntry, "schema_version">): void;
  /** Rollouts per ledger state. */
  ledgerCounts(): Readonly<Record<string, number>>;
  /** Writes a checkpoint: `writeInto` fills a temporary folder, which is then published at once; phase ends are kept. Resolves to its path. */
  checkpoint(
    step: number,
    writeInto: (directory: string) => Promise<void>,
    state: Json,
    tags?: readonly ("phase-end" | "best")[],
  ): Promise<string>;
  /** The newest checkpoint that is whole; null when there is none. Messages name the damaged ones that were skipped. */
  latest(): Promise<{ readonly directory: string; readonly step: number; readonly state: Json } | null>;
  /** Rolls journal and ledger back to a checkpoint's state, or to the beginning. */
  rollBack(state: Json | null): Promise<void>;
  /** What was found damaged and repaired since the last call. */
  takeRemarks(): readonly string[];
  /** Option changes that are missing from a journal rolled back to this state. */
  changesAfter(state: Json | null): readonly ConfigChange[];
  /** Records an order durably. Errors: WEIR_E_DISK. */
  recordOrder(order: RunOrder): Promise<void>;
  /** Every order since the run began, oldest first; `overridden` where its option was changed after it. */
  orders(): readonly (RunOrder & { readonly overridden: boolean })[];
  /** Freezes the reference policy: `writeInto` fills a temporary folder, which is then published at once. */
  reference(writeInto: (directory: string) => Promise<void>): Promise<void>;
  /** The folder of the frozen reference policy, checked against its manifest. */
  referenceDirectory(): Promise<string>;
  /** Writes a snapshot under a new name: `writeInto` fills its folder; `bytes` is the size to expect. */
  snapshot(name: string, writeInto: (directory: string) => Promise<void>, state: Json, bytes: number): Promise<void>;
  /** A snapshot that is whole; null where there is none of that name. */
  readSnapshot(name: string): Promise<{ readonly directory: string; readonly state: Json } | null>;
  /** Removes all other snapshots. */
  keepSnapshots(names: ReadonlySet<string>): Promise<void>;
  /** Removes folders of states that killed writers left, or that could not be removed before. */
  removeLeftovers(): Promise<void>;
  /** Where the ledger stands. */
  ledgerPlace(): LedgerMark;
  /** The entries that made rollouts trained since the ledger stood there, of rollouts that still are. */
  trainedSince(place: LedgerMark): readonly LedgerEntry[];
  /** A rollback has undone every step after this one: their rollouts are set aside, and curves begin again. */
  undone(step: number): Promise<void>;
  rollouts(step: number, traces: readonly Trace[]): Promise<void>;
  scalars(step: number, values: MetricValues): void;
  /** Saves a mini-batch that changed no weight, with the weights and moments that are given; resolves to its folder. */
  saveBatch(
    saved: SavedBatch,
    state: BatchState | null,
  ): Promise<{ readonly path: string; readonly withState: boolean }>;
  writeReport(report: Json): Promise<string>;
  close(): Promise<void>;
}
