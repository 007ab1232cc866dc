/**
 * The folder of one run, open for its one writer: config, journal, ledger, checkpoints, rollouts, TensorBoard files.
 * Invariants: the lock is held while it is open; a checkpoint's state names the places of journal and ledger that belong
 * to it, so that rolling back makes all three one consistent whole again.
 */
import { mkdir, readdir, readFile, rename } from "node:fs/promises";
import { join, resolve } from "node:path";
import { z } from "zod";
import type { Fact, FactType } from "../contracts/fact.js";
import type { LedgerEntry, LedgerState } from "../contracts/ledger.js";
import type { Json } from "../contracts/task.js";
import type { Trace } from "../contracts/trace.js";
import { WeirError } from "../errors.js";
import { CheckpointStore, type CheckpointTag, stepName } from "./checkpoint-store.js";
import { freeName, syncPath, writeDurably } from "./durable.js";
import { JOURNAL_NAME, Journal } from "./journal.js";
import { LEDGER_NAME, Ledger } from "./ledger.js";
import { RunLock } from "./lock.js";
import { rolloutSteps, writeRollouts } from "./rollout-shard.js";
import { TensorBoardWriter } from "./tensorboard.js";

export const CONFIG_NAME = "config.json";
export const REPORT_NAME = "report.json";
export const CHECKPOINTS_FOLDER = "checkpoints";
export const ROLLOUTS_FOLDER = "rollouts";
export const TENSORBOARD_FOLDER = "tensorboard";
const BATCHES_FOLDER = "batches";
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
  /** Called with each thing that was found out of order and mended. */
  readonly say?: (notice: string) => void;
  readonly fsync?: "always" | "mark";
}

export interface NewRun extends RunFolderOptions {
  /** Folder that holds run folders. */
  readonly root: string;
  /** Name of the run folder; null makes one of date, time and seed. */
  readonly id: string | null;
  readonly seed: number;
  /** The resolved configuration. */
  readonly config: Json;
  /** What the run learns from: fingerprint, counts, files. */
  readonly dataset: Json;
}

/** What config.json holds. */
export interface RunRecord {
  readonly schema_version: 1;
  readonly id: string;
  readonly config: Json;
  readonly dataset: Json;
  /** Wall clock, ms. */
  readonly created: number;
}

const recordSchema = z.object({
  schema_version: z.literal(1),
  id: z.string(),
  config: z.unknown(),
  dataset: z.unknown(),
  created: z.number(),
});

const marksSchema = z.object({
  step: z.number().int().nonnegative(),
  journal: z.object({ bytes: z.number().int().nonnegative(), seq: z.number().int().nonnegative() }),
  ledger: z.object({ bytes: z.number().int().nonnegative(), entries: z.number().int().nonnegative() }),
});

/** `20260102-030405-seed7` (UTC). */
export function runId(time: number, seed: number): string {
  const stamp = new Date(time).toISOString().replaceAll(/[-:]/g, "").replace("T", "-").slice(0, 15);
  return `${stamp}-seed${seed}`;
}

/** Reads config.json of a run. Errors: WEIR_E_FILE_MISSING where the folder is no run; WEIR_E_RUN_FOLDER where it is damaged. */
export async function readRunRecord(directory: string): Promise<RunRecord> {
  const path = join(directory, CONFIG_NAME);
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (cause) {
    throw new WeirError(
      "WEIR_E_FILE_MISSING",
      `expected a run folder at "${directory}", it has no ${CONFIG_NAME}; give the folder of a run, such as runs/ID`,
      { directory },
      { cause },
    );
  }
  try {
    return recordSchema.parse(JSON.parse(text)) as RunRecord;
  } catch (cause) {
    throw new WeirError("WEIR_E_RUN_FOLDER", `${path}: ${(cause as Error).message}`, { path }, { cause });
  }
}

export class RunFolder {
  private passedOver: readonly string[] = [];

  private constructor(
    readonly directory: string,
    readonly record: RunRecord,
    private readonly lock: RunLock,
    readonly journal: Journal,
    readonly book: Ledger,
    readonly checkpoints: CheckpointStore,
    private tensorboard: TensorBoardWriter,
    private readonly options: Required<RunFolderOptions>,
  ) {}

  /** Makes a new run folder and opens it. Errors: WEIR_E_USAGE where the id is taken. */
  static async create(run: NewRun): Promise<RunFolder> {
    const options = withDefaults(run);
    const created = options.clock();
    await mkdir(run.root, { recursive: true });
    const { directory, id } = await claimFolder(run, created);
    const record: RunRecord = { schema_version: 1, id, config: run.config, dataset: run.dataset, created };
    await writeDurably(join(directory, CONFIG_NAME), `${JSON.stringify(record, null, 2)}\n`);
    await syncPath(run.root);
    return RunFolder.openWith(directory, record, options);
  }

  /**
   * Opens an existing run folder for writing, mending what a killed writer left.
   * Errors: WEIR_E_FILE_MISSING, WEIR_E_RUN_FOLDER, WEIR_E_RUN_LOCKED.
   */
  static async open(directory: string, options: RunFolderOptions = {}): Promise<RunFolder> {
    const path = resolve(directory);
    return RunFolder.openWith(path, await readRunRecord(path), withDefaults(options));
  }

  private static async openWith(
    directory: string,
    record: RunRecord,
    options: Required<RunFolderOptions>,
  ): Promise<RunFolder> {
    const { clock, say, fsync, keep } = options;
    const lock = RunLock.acquire(directory, say);
    let journal: Journal | null = null;
    let book: Ledger | null = null;
    try {
      journal = await Journal.open(join(directory, JOURNAL_NAME), { clock, say, fsync });
      book = await Ledger.open(join(directory, LEDGER_NAME), { say });
      const checkpoints = await CheckpointStore.open(join(directory, CHECKPOINTS_FOLDER), { keep, clock });
      await mkdir(join(directory, ROLLOUTS_FOLDER), { recursive: true });
      const tensorboard = new TensorBoardWriter(join(directory, TENSORBOARD_FOLDER), clock);
      return new RunFolder(directory, record, lock, journal, book, checkpoints, tensorboard, options);
    } catch (error) {
      journal?.close();
      book?.close();
      lock.release();
      throw error;
    }
  }

  append(type: FactType, step: number, data: Readonly<Record<string, Json>>): Fact {
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
    const marks = { step, journal: { ...this.journal.mark() }, ledger: { ...this.book.mark() } };
    const { directory } = await this.checkpoints.write({ step, writeInto, state: { ...state, [MARKS]: marks }, tags });
    return directory;
  }

  /** The newest whole checkpoint, null where there is none; says which damaged ones were passed over. Errors: WEIR_E_CHECKPOINT_DAMAGED. */
  async latest(): Promise<{ readonly directory: string; readonly step: number; readonly state: Json } | null> {
    const { checkpoint, passedOver } = await this.checkpoints.latest();
    this.passedOver = passedOver.map(({ name }) => name);
    for (const { name, reason } of passedOver) {
      this.options.say(
        `WEIR_E_CHECKPOINT_DAMAGED: checkpoint ${name} is damaged (${reason}); the run goes on from ${checkpoint?.name ?? "its beginning"}`,
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
    const marks = state === null ? null : this.marksOf(state);
    const facts = await this.journal.rollBack(marks?.journal ?? this.journal.markAfterFirst(FIRST_FACT));
    const entries = await this.book.rollBack(marks?.ledger ?? { bytes: 0, entries: 0 });
    for (const path of [facts, entries]) {
      if (path !== null) this.options.say(`what came after step ${marks?.step ?? 0}'s checkpoint was moved to ${path}`);
    }
    await this.checkpoints.setAside(this.passedOver);
    this.passedOver = [];
    await this.moveLaterRollouts(marks?.step ?? 0);
    this.tensorboard.close();
    this.tensorboard = new TensorBoardWriter(join(this.directory, TENSORBOARD_FOLDER), this.options.clock);
    this.tensorboard.restartAt((marks?.step ?? 0) + 1);
  }

  async rollouts(step: number, traces: readonly Trace[]): Promise<void> {
    await writeRollouts(join(this.directory, ROLLOUTS_FOLDER), step, traces);
  }

  scalars(step: number, values: Readonly<Record<string, number>>): void {
    this.tensorboard.scalars(step, values);
  }

  /** Saves what a refused batch was made of; resolves to its path. */
  async saveBatch(step: number, content: Json): Promise<string> {
    const folder = join(this.directory, BATCHES_FOLDER);
    await mkdir(folder, { recursive: true });
    const path = join(folder, await freeName(folder, (n) => `${stepName(step)}-${n}.json`));
    await writeDurably(path, `${JSON.stringify({ schema_version: 1, step, content })}\n`);
    return path;
  }

  async writeReport(report: Json): Promise<string> {
    const path = join(this.directory, REPORT_NAME);
    await writeDurably(path, `${JSON.stringify(report, null, 2)}\n`);
    return path;
  }

  async close(): Promise<void> {
    try {
      this.tensorboard.close();
      this.journal.close();
      this.book.close();
    } finally {
      this.lock.release();
    }
  }

  private marksOf(state: Json): z.output<typeof marksSchema> {
    const result = marksSchema.safeParse((state as Readonly<Record<string, Json>> | null)?.[MARKS]);
    if (result.success) return result.data;
    throw new WeirError(
      "WEIR_E_STATE",
      `expected the state of a checkpoint of this run folder, it has no "${MARKS}"; give what latest() returned`,
      {},
    );
  }

  private async moveLaterRollouts(step: number): Promise<void> {
    const folder = join(this.directory, ROLLOUTS_FOLDER);
    const later = (await rolloutSteps(folder)).filter((shard) => shard > step);
    if (later.length === 0) return;
    const aside = join(folder, await freeName(folder, (n) => `rolledback-${n}`));
    await mkdir(aside);
    for (const shard of later) {
      const name = `${stepName(shard)}.parquet`;
      await rename(join(folder, name), join(aside, name));
    }
    await syncPath(folder);
  }
}

function withDefaults(options: RunFolderOptions): Required<RunFolderOptions> {
  return {
    keep: options.keep ?? DEFAULT_KEEP,
    clock: options.clock ?? Date.now,
    say: options.say ?? (() => undefined),
    fsync: options.fsync ?? "mark",
  };
}

async function claimFolder(run: NewRun, created: number): Promise<{ readonly directory: string; readonly id: string }> {
  const wanted = run.id ?? runId(created, run.seed);
  for (let n = 1; ; n++) {
    const id = n === 1 ? wanted : `${wanted}-${n}`;
    const directory = resolve(run.root, id);
    try {
      await mkdir(directory);
      return { directory, id };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      const empty = (await readdir(directory).catch(() => ["a file"])).length === 0;
      if (empty) return { directory, id };
      if (run.id !== null) {
        throw new WeirError(
          "WEIR_E_USAGE",
          `the run folder "${directory}" exists; continue that run with --resume, or give another run.id`,
          { directory },
        );
      }
    }
  }
}
