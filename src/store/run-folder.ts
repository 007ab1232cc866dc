/**
 * The folder of one run, open for its one writer: config, journal, ledger, checkpoints, rollouts, TensorBoard files.
 * Invariants: the lock is held while it is open; a checkpoint's state names the places of journal and ledger that belong
 * to it, so that rolling back makes all three one consistent whole again. Only the owner may read it: journal,
 * ledger, rollouts, batches and log hold prompts and answers, checkpoints hold what was learnt from them.
 */
import { randomUUID } from "node:crypto";
import { mkdir, readdir, rename, rm, rmdir, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { z } from "zod";
import type { Fact, FactData, FactType } from "../contracts/fact.js";
import type { RunOrder } from "../contracts/knob.js";
import type { LedgerEntry, LedgerState } from "../contracts/ledger.js";
import type { MetricValues } from "../contracts/metrics.js";
import type { Json } from "../contracts/task.js";
import type { Trace } from "../contracts/trace.js";
import { WeirError } from "../errors.js";
import { asDiskError, onDiskAsync } from "../system/disk-error.js";
import { CheckpointStore, type CheckpointTag, stepName } from "./checkpoint-store.js";
import { freeName, PRIVATE_FOLDER, removeTemporaries, syncPath, writeDurably } from "./durable.js";
import { JOURNAL_NAME, Journal } from "./journal.js";
import { LEDGER_NAME, Ledger, type LedgerMark } from "./ledger.js";
import { RunLock } from "./lock.js";
import { checkedReference, writeReference } from "./reference-folder.js";
import { alwaysRemove, type MayRemove } from "./removal.js";
import { rolloutSteps, undoneName, writeRollouts } from "./rollout-shard.js";
import { type ConfigChange, type RunRecord, readRunRecord, writeRunRecord } from "./run-record.js";
import {
  BATCH_NAME,
  BATCH_STATE_FOLDER,
  BATCHES_FOLDER,
  encodeBatch,
  type SavedBatch,
  savedStateBytes,
} from "./saved-batch.js";
import { type FoundSnapshot, SnapshotFolder } from "./snapshot-folder.js";
import { TensorBoardWriter } from "./tensorboard.js";

export const REPORT_NAME = "report.json";
export const CHECKPOINTS_FOLDER = "checkpoints";
export const ROLLOUTS_FOLDER = "rollouts";
export const TENSORBOARD_FOLDER = "tensorboard";
/** Folder of a saved batch. */
const BATCH = /^step-\d+-\d+$/;
/** The fact that a run begins with; rolling back to the beginning keeps it. */
const FIRST_FACT = "run.started";
/** Key of the state under which the folder keeps its own marks. */
const MARKS = "runFolder";
const DEFAULT_KEEP = 2;

export interface RunFolderOptions {
  /** Newest checkpoints kept. */
  readonly keep?: number;
  /** Wall clock, ms. */
  readonly clock?: () => number;
  /** Called for each damage that was found and repaired. */
  readonly say?: (notice: string) => void;
  readonly fsync?: "always" | "mark";
  /** Where snapshots lie, as long as there is room. */
  readonly snapshots?: "memory" | "disk";
  /** Asked before a folder with a trainer's state is removed; left out: it may be. */
  readonly mayRemove?: MayRemove;
}

/** Weights and moments that go with a saved batch. */
export interface BatchState {
  readonly writeInto: (directory: string) => Promise<void>;
  /** The size to expect. */
  readonly bytes: number;
  /** What the states of all batches of the run may take together. */
  readonly budgetBytes: number;
}

export interface NewRun extends RunFolderOptions {
  /** Folder that holds run folders. */
  readonly root: string;
  /** Name of the run folder; null makes one from date, time and seed. */
  readonly id: string | null;
  readonly seed: number;
  /** The resolved configuration. */
  readonly config: Json;
  /** The run's data: fingerprints, counts, files. */
  readonly dataset: Json;
  /** The starting point: digests of weights, model configuration and tokenizer. */
  readonly model?: Json;
}

const marksSchema = z.object({
  step: z.number().int().nonnegative(),
  journal: z.object({ bytes: z.number().int().nonnegative(), seq: z.number().int().nonnegative() }),
  ledger: z.object({ bytes: z.number().int().nonnegative(), entries: z.number().int().nonnegative() }),
  /** Number of option changes journalled so far; checkpoints of earlier versions have none. */
  changes: z.number().int().nonnegative().default(0),
});

/** `20260102-030405-seed7` (UTC). */
export function runId(time: number, seed: number): string {
  const stamp = new Date(time).toISOString().replaceAll(/[-:]/g, "").replace("T", "-").slice(0, 15);
  return `${stamp}-seed${seed}`;
}

/**
 * Checks that a new run folder can be made, before anything is.
 * Errors: WEIR_E_USAGE where the id is taken; WEIR_E_DISK where the root is not a writable folder.
 */
export async function assertRoomForRun(root: string, id: string | null): Promise<void> {
  const path = resolve(root);
  await onDiskAsync(path, async () => {
    // Making a folder and removing it is the one test that counts quotas, read-only disks and rights alike. It is made in the
    // nearest folder that exists: Node's recursive mkdir never returns in places such as /proc.
    const trial = join(await nearestFolder(path), `.${randomUUID()}.tmp`);
    await mkdir(trial);
    await rmdir(trial);
  });
  if (id !== null && !(await isFree(join(path, id)))) throw taken(join(path, id));
}

/** The path itself, or the nearest folder above it that exists. Rejects with ENOTDIR where that is not a folder. */
async function nearestFolder(path: string): Promise<string> {
  const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return null;
    throw error;
  });
  if (found === null && dirname(path) !== path) return nearestFolder(dirname(path));
  if (found?.isDirectory()) return path;
  throw Object.assign(new Error(`${path} is not a folder`), { code: "ENOTDIR", path, syscall: "mkdir" });
}

export class RunFolder {
  private passedOver: readonly string[] = [];
  /** The topmost folder that was made for this run, to be removed with a run that never began. */
  private made: string | null = null;
  private readonly snapshots: SnapshotFolder;

  private constructor(
    readonly directory: string,
    private known: RunRecord,
    private readonly lock: RunLock,
    readonly journal: Journal,
    readonly book: Ledger,
    readonly checkpoints: CheckpointStore,
    private tensorboard: TensorBoardWriter,
    private readonly options: Required<RunFolderOptions>,
    private readonly remarks: string[],
  ) {
    const { clock, snapshots, mayRemove } = options;
    const preferMemory = snapshots === "memory";
    this.snapshots = new SnapshotFolder({ runDirectory: directory, preferMemory, clock, mayRemove });
  }

  /** Makes a new run folder and opens it; leaves none where that fails. Errors: WEIR_E_USAGE where the id is taken; WEIR_E_DISK. */
  static async create(run: NewRun): Promise<RunFolder> {
    const options = withDefaults(run);
    const created = options.clock();
    const root = resolve(run.root);
    return onDiskAsync(root, async () => {
      const made = await mkdir(root, { recursive: true });
      const { directory, id, fresh } = await claimFolder(run, created);
      const { config, dataset, model = null } = run;
      const record: RunRecord = { schema_version: 1, id, config, dataset, model, changes: [], orders: [], created };
      try {
        await writeRunRecord(directory, record);
        await syncPath(root);
        const folder = await RunFolder.openWith(directory, record, options);
        folder.made = made ?? null;
        return folder;
      } catch (error) {
        if (fresh) await rm(directory, { recursive: true, force: true }).catch(() => undefined);
        throw error;
      }
    });
  }

  /**
   * Opens an existing run folder for writing, repairing what a killed writer or a full disk left.
   * Errors: WEIR_E_FILE_MISSING, WEIR_E_RUN_FOLDER, WEIR_E_RUN_LOCKED, WEIR_E_DISK.
   */
  static async open(directory: string, options: RunFolderOptions = {}): Promise<RunFolder> {
    const path = resolve(directory);
    return onDiskAsync(path, async () => RunFolder.openWith(path, await readRunRecord(path), withDefaults(options)));
  }

  private static async openWith(
    directory: string,
    record: RunRecord,
    given: Required<RunFolderOptions>,
  ): Promise<RunFolder> {
    const remarks: string[] = [];
    const say = (notice: string) => {
      remarks.push(notice);
      given.say(notice);
    };
    const options = { ...given, say };
    const { clock, fsync, keep, mayRemove } = options;
    const lock = RunLock.acquire(directory, say);
    let journal: Journal | null = null;
    let book: Ledger | null = null;
    try {
      for (const folder of [".", ROLLOUTS_FOLDER, BATCHES_FOLDER]) await removeTemporaries(join(directory, folder));
      const checkpoints = await CheckpointStore.open(join(directory, CHECKPOINTS_FOLDER), { keep, clock, mayRemove });
      /** The parts that the newest whole checkpoint needs; a run without one starts over and needs none. */
      const floor = (file: "journal" | "ledger") => async () => {
        const { checkpoint } = await checkpoints.latest();
        return checkpoint === null ? 0 : marksOf(checkpoint.state)[file].bytes;
      };
      journal = await Journal.open(join(directory, JOURNAL_NAME), { clock, say, fsync, floor: floor("journal") });
      book = await Ledger.open(join(directory, LEDGER_NAME), { say, floor: floor("ledger") });
      await mkdir(join(directory, ROLLOUTS_FOLDER), { recursive: true, mode: PRIVATE_FOLDER });
      const tensorboard = new TensorBoardWriter(join(directory, TENSORBOARD_FOLDER), clock);
      return new RunFolder(directory, record, lock, journal, book, checkpoints, tensorboard, options, remarks);
    } catch (error) {
      for (const file of [journal, book]) closeQuietly(file);
      lock.release();
      throw error;
    }
  }

  /** What config.json says. */
  get record(): RunRecord {
    return this.known;
  }

  /** What was found damaged and repaired since the last call. */
  takeRemarks(): readonly string[] {
    return this.remarks.splice(0);
  }

  /** Rewrites config.json, in one step: other options, with what changed, or digests it did not have. Errors: WEIR_E_DISK. */
  async amend(
    record: Pick<RunRecord, "config" | "dataset" | "model">,
    changes: readonly ConfigChange[],
  ): Promise<void> {
    const next = { ...this.known, ...record, changes: [...this.known.changes, ...changes] };
    await writeRunRecord(this.directory, next);
    this.known = next;
  }

  /** Option changes that are missing from a journal rolled back to this state (null: the beginning). */
  changesAfter(state: Json | null): readonly ConfigChange[] {
    return this.known.changes.slice(state === null ? 0 : marksOf(state).changes);
  }

  /** Records an order in config.json, in one step. Errors: WEIR_E_DISK. */
  async recordOrder(order: RunOrder): Promise<void> {
    const { orders, changes } = this.known;
    const next = { ...this.known, orders: [...orders, { ...order, changes: changes.length }] };
    await writeRunRecord(this.directory, next);
    this.known = next;
  }

  /** Every order since the run began; `overridden` where its option was changed after it. */
  orders(): readonly (RunOrder & { readonly overridden: boolean })[] {
    const { orders, changes } = this.known;
    return orders.map(({ changes: before, ...one }) => {
      const { order } = one;
      const overridden = order.type === "set" && changes.slice(before).some(({ path }) => path === order.path);
      return { ...one, overridden };
    });
  }

  /** Facts of the journal as it stands. */
  facts(): Iterable<Fact> {
    return this.journal.read();
  }

  append<T extends FactType>(type: T, step: number, data: FactData[T]): Fact {
    return this.journal.append(type, step, data);
  }

  ledger(entry: Omit<LedgerEntry, "schema_version">): void {
    this.book.append(entry);
  }

  ledgerCounts(): Record<LedgerState, number> {
    return this.book.counts();
  }

  /**
   * Publishes a checkpoint; resolves to its folder. `state` must be an object: the marks of journal and ledger, taken
   * now, join it under `runFolder`.
   */
  async checkpoint(
    step: number,
    writeInto: (directory: string) => Promise<void>,
    state: Json,
    tags: readonly CheckpointTag[] = [],
  ): Promise<string> {
    if (typeof state !== "object" || state === null || Array.isArray(state)) {
      throw new WeirError("WEIR_E_STATE", `a checkpoint's state must be an object, got ${JSON.stringify(state)}`, {});
    }
    const changes = this.known.changes.length;
    const marks = { step, journal: { ...this.journal.mark() }, ledger: { ...this.book.mark() }, changes };
    const { directory } = await this.checkpoints.write({ step, writeInto, state: { ...state, [MARKS]: marks }, tags });
    return directory;
  }

  /** The newest whole checkpoint, null where there is none; reports skipped damaged ones. Errors: WEIR_E_CHECKPOINT_DAMAGED. */
  async latest(): Promise<{ readonly directory: string; readonly step: number; readonly state: Json } | null> {
    const { checkpoint, passedOver } = await this.checkpoints.latest();
    this.passedOver = passedOver.map(({ name }) => name);
    for (const { name, reason } of passedOver) {
      this.options.say(
        `WEIR_E_CHECKPOINT_DAMAGED: checkpoint ${name} is damaged (${reason}); the run continues from ${checkpoint?.name ?? "its beginning"}`,
      );
    }
    if (checkpoint === null) return null;
    const { directory, step, state } = checkpoint;
    return { directory, step, state };
  }

  /**
   * Brings journal, ledger, rollouts and curves back to a checkpoint's state (as `latest` gave it), or with null to the
   * beginning. What came later is moved aside, not lost. Errors: WEIR_E_RUN_FOLDER where the files lack what the state names.
   */
  async rollBack(state: Json | null): Promise<void> {
    const marks = state === null ? null : marksOf(state);
    this.checkpoints.forget();
    const facts = await this.journal.rollBack(marks?.journal ?? this.journal.markAfterFirst(FIRST_FACT));
    const entries = await this.book.rollBack(marks?.ledger ?? { bytes: 0, entries: 0 });
    for (const path of [facts, entries]) {
      if (path !== null) this.options.say(`what came after step ${marks?.step ?? 0}'s checkpoint was moved to ${path}`);
    }
    await this.checkpoints.setAside(this.passedOver);
    this.passedOver = [];
    await this.removeUntoldBatches();
    await this.undone(marks?.step ?? 0);
  }

  /** Sets aside the rollouts of later steps, which have been undone, and lets the curves begin again after this one. Errors: WEIR_E_DISK. */
  async undone(step: number): Promise<void> {
    await this.moveLaterRollouts(step);
    this.tensorboard.close();
    this.tensorboard = new TensorBoardWriter(join(this.directory, TENSORBOARD_FOLDER), this.options.clock);
    this.tensorboard.restartAt(step + 1);
  }

  /** Writes a snapshot under a name that none has; `bytes` is the size to expect. Errors: WEIR_E_DISK, and those of `writeInto`. */
  snapshot(name: string, writeInto: (directory: string) => Promise<void>, state: Json, bytes: number): Promise<void> {
    return this.snapshots.write(name, writeInto, state, bytes);
  }

  /** Null where there is no whole snapshot of that name. */
  readSnapshot(name: string): Promise<FoundSnapshot | null> {
    return this.snapshots.read(name);
  }

  /** Removes all other snapshots. Errors: WEIR_E_DISK. */
  keepSnapshots(names: ReadonlySet<string>): Promise<void> {
    return onDiskAsync(this.directory, () => this.snapshots.keep(names));
  }

  /** Removes folders of states that killed writers left, or that could not be removed before. Errors: WEIR_E_DISK. */
  removeLeftovers(): Promise<void> {
    return this.checkpoints.removeLeftovers();
  }

  /** Where the ledger stands. */
  ledgerPlace(): LedgerMark {
    return this.book.place();
  }

  /** The entries that made rollouts trained since the ledger stood there, of rollouts that still are. */
  trainedSince(place: LedgerMark): readonly LedgerEntry[] {
    return this.book.trainedSince(place);
  }

  /** Freezes the reference policy in `reference/`. Errors: WEIR_E_DISK, and those of `writeInto`. */
  reference(writeInto: (directory: string) => Promise<void>): Promise<void> {
    return writeReference(this.directory, writeInto, this.options.clock);
  }

  /** The folder of the reference policy, checked. Errors: WEIR_E_RUN_FOLDER, WEIR_E_CHECKPOINT_DAMAGED. */
  referenceDirectory(): Promise<string> {
    return checkedReference(this.directory, this.options.say);
  }

  async rollouts(step: number, traces: readonly Trace[]): Promise<void> {
    await writeRollouts(join(this.directory, ROLLOUTS_FOLDER), step, traces);
  }

  scalars(step: number, values: MetricValues): void {
    this.tensorboard.scalars(step, values);
  }

  /**
   * Saves a mini-batch that changed no weight, with weights and moments where they are given and there is room for them; resolves to its
   * folder.
   * Errors: WEIR_E_DISK, and those of `writeInto`.
   */
  async saveBatch(
    saved: SavedBatch,
    state: BatchState | null,
  ): Promise<{ readonly path: string; readonly withState: boolean }> {
    const folder = join(this.directory, BATCHES_FOLDER);
    return onDiskAsync(folder, async () => {
      const draft = join(folder, `.${randomUUID()}.tmp`);
      await mkdir(draft, { recursive: true, mode: PRIVATE_FOLDER });
      try {
        await writeDurably(join(draft, BATCH_NAME), `${encodeBatch(saved)}\n`);
        const withState = state !== null && (await savedStateBytes(folder)) + state.bytes <= state.budgetBytes;
        if (withState) await state.writeInto(join(draft, BATCH_STATE_FOLDER));
        const path = join(folder, await freeName(folder, (n) => `${stepName(saved.step)}-${n}`));
        await rename(draft, path);
        await syncPath(folder);
        return { path, withState };
      } catch (error) {
        await rm(draft, { recursive: true, force: true }).catch(() => undefined);
        throw error;
      }
    });
  }

  /** Removes batches that the journal does not name: they were saved after the place that it was rolled back to. */
  private async removeUntoldBatches(): Promise<void> {
    const folder = join(this.directory, BATCHES_FOLDER);
    const names = (await readdir(folder).catch(() => [] as string[])).filter((name) => BATCH.test(name));
    if (names.length === 0) return;
    const told = new Set<string>();
    for (const fact of this.journal.read()) if (fact.type === "batch.saved") told.add(basename(fact.data.path));
    for (const name of names) if (!told.has(name)) await rm(join(folder, name), { recursive: true, force: true });
  }

  async writeReport(report: Json): Promise<string> {
    const path = join(this.directory, REPORT_NAME);
    await writeDurably(path, `${JSON.stringify(report, null, 2)}\n`);
    return path;
  }

  /** Closes every file and releases the lock, even after errors. Errors: WEIR_E_DISK, the first one. */
  async close(): Promise<void> {
    const failures: unknown[] = [];
    for (const file of [this.tensorboard, this.journal, this.book]) {
      try {
        file.close();
      } catch (error) {
        failures.push(error);
      }
    }
    await this.snapshots.close().catch((error) => failures.push(error));
    this.lock.release();
    if (failures.length > 0) throw asDiskError(failures[0], this.directory);
  }

  /** Closes and removes the folder of a run that never began. */
  async discard(): Promise<void> {
    await this.close().catch(() => undefined);
    await rm(this.directory, { recursive: true, force: true });
    if (this.made !== null) await removeEmpty(dirname(this.directory), this.made).catch(() => undefined);
  }

  private async moveLaterRollouts(step: number): Promise<void> {
    const folder = join(this.directory, ROLLOUTS_FOLDER);
    const later = (await rolloutSteps(folder)).filter((shard) => shard > step);
    if (later.length === 0) return;
    const aside = join(folder, await freeName(folder, undoneName));
    await mkdir(aside);
    for (const shard of later) {
      const name = `${stepName(shard)}.parquet`;
      await rename(join(folder, name), join(aside, name));
    }
    await syncPath(folder);
  }
}

function closeQuietly(file: { close(): void } | null): void {
  try {
    file?.close();
  } catch {
    // The error that led here is the one to tell.
  }
}

function marksOf(state: Json): z.output<typeof marksSchema> {
  const result = marksSchema.safeParse((state as Readonly<Record<string, Json>> | null)?.[MARKS]);
  if (result.success) return result.data;
  throw new WeirError(
    "WEIR_E_STATE",
    `expected the state of a checkpoint of this run folder, it has no "${MARKS}"; give what latest() returned`,
    {},
  );
}

function withDefaults(options: RunFolderOptions): Required<RunFolderOptions> {
  return {
    keep: options.keep ?? DEFAULT_KEEP,
    clock: options.clock ?? Date.now,
    say: options.say ?? (() => undefined),
    fsync: options.fsync ?? "mark",
    snapshots: options.snapshots ?? "memory",
    mayRemove: options.mayRemove ?? alwaysRemove,
  };
}

/** True where nothing is at a path, or an empty folder. */
async function isFree(path: string): Promise<boolean> {
  try {
    return (await readdir(path)).length === 0;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ENOENT";
  }
}

const taken = (directory: string) =>
  new WeirError(
    "WEIR_E_USAGE",
    `the run folder "${directory}" exists; continue that run with --resume, or give another run.id`,
    { directory },
  );

/** Removes empty folders from `path` up to `top`. */
async function removeEmpty(path: string, top: string): Promise<void> {
  for (let folder = path; folder.length >= top.length; folder = dirname(folder)) await rmdir(folder);
}

async function claimFolder(
  run: NewRun,
  created: number,
): Promise<{ readonly directory: string; readonly id: string; readonly fresh: boolean }> {
  const wanted = run.id ?? runId(created, run.seed);
  for (let n = 1; ; n++) {
    const id = n === 1 ? wanted : `${wanted}-${n}`;
    const directory = resolve(run.root, id);
    try {
      await mkdir(directory, { mode: PRIVATE_FOLDER });
      return { directory, id, fresh: true };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      if (await isFree(directory)) return { directory, id, fresh: false };
      if (run.id !== null) throw taken(directory);
    }
  }
}
