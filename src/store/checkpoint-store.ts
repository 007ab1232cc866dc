/**
 * Checkpoints of a run: `checkpoints/step-00010/` with the files written into it, `state.json` and `manifest.json`.
 * Invariants: a folder named step-* was published whole, in one rename, after everything in it was on the disk; only
 * the retention rule removes one. A second checkpoint of a step is `step-00010.1`; numbers of a step grow, also over
 * those that retention removed. The newest is the one that was written last: after a rollback it is not the one of the highest step.
 */
import { randomUUID } from "node:crypto";
import { mkdir, readdir, readFile, rename } from "node:fs/promises";
import { join } from "node:path";
import { currentState } from "../config/old-names.js";
import type { Json } from "../contracts/task.js";
import { WeirError } from "../errors.js";
import { onDiskAsync } from "../system/disk-error.js";
import { freeName, PRIVATE_FOLDER, syncPath, writeDurably } from "./durable.js";
import { differenceFrom, MANIFEST_NAME, type Manifest, readManifest, sealFolder } from "./manifest.js";
import { alwaysRemove, type MayRemove, removeStateFolder } from "./removal.js";

export const STATE_NAME = "state.json";
const NAME = /^step-(\d+)(?:\.(\d+))?$/;
const STEP_DIGITS = 5;
/** Distance in order from a checkpoint that does not tell its own to the one before it; whole numbers are told. */
const UNTOLD_ORDER = 0.5;
/** Folders with these prefixes were left by a killed writer, or could not be removed yet. */
const DRAFT_PREFIX = ".draft-";
const REMOVED_PREFIX = ".removed-";

/** Tags for retention: all phase ends are kept, and the latest `best`. */
export type CheckpointTag = "phase-end" | "best";

export interface CheckpointRequest {
  readonly step: number;
  /** Fills the folder; its files are then synced to the disk. */
  readonly writeInto: (directory: string) => Promise<void>;
  readonly state: Json;
  readonly tags?: readonly CheckpointTag[];
}

export interface CheckpointEntry {
  readonly name: string;
  readonly directory: string;
  readonly step: number;
}

export interface LoadedCheckpoint extends CheckpointEntry {
  readonly state: Json;
  readonly tags: readonly string[];
}

/** The newest whole checkpoint, and the newer ones that are not whole, with the reason for each. */
export interface LatestCheckpoint {
  readonly checkpoint: LoadedCheckpoint | null;
  readonly passedOver: readonly { readonly name: string; readonly reason: string }[];
}

export interface CheckpointOptions {
  /** How many of the newest are kept. */
  readonly keep: number;
  readonly clock: () => number;
  readonly mayRemove?: MayRemove;
}

/** `step-00010` for step 10, padded so that names sort like numbers. */
export function stepName(step: number): string {
  return `step-${String(step).padStart(STEP_DIGITS, "0")}`;
}

export class CheckpointStore {
  /** The result of `latest`: checking a checkpoint reads all of it, so it is done once per opening. */
  private found: Promise<LatestCheckpoint> | null = null;

  private constructor(
    private readonly folder: string,
    private readonly options: CheckpointOptions,
  ) {}

  /** Opens the folder for writing and removes what a killed writer left behind. */
  static async open(folder: string, options: CheckpointOptions): Promise<CheckpointStore> {
    await onDiskAsync(folder, async () => {
      await mkdir(folder, { recursive: true, mode: PRIVATE_FOLDER });
    });
    const store = new CheckpointStore(folder, options);
    await store.removeLeftovers();
    return store;
  }

  /** Removes what killed writers left, and what could not be removed before; not while a checkpoint is written. Errors: WEIR_E_DISK. */
  removeLeftovers(): Promise<void> {
    return onDiskAsync(this.folder, async () => {
      for (const name of await readdir(this.folder))
        if (name.startsWith(DRAFT_PREFIX) || name.startsWith(REMOVED_PREFIX))
          await this.remove(join(this.folder, name));
    });
  }

  private remove(directory: string): Promise<void> {
    return removeStateFolder(directory, this.options.mayRemove ?? alwaysRemove);
  }

  /**
   * Writes and publishes a checkpoint, then drops the ones that retention no longer keeps. Nothing is published when
   * `writeInto` rejects. Errors: WEIR_E_DISK, and those of `writeInto`.
   */
  write(request: CheckpointRequest): Promise<CheckpointEntry> {
    this.found = null;
    return onDiskAsync(this.folder, () => this.publish(request));
  }

  private async publish(request: CheckpointRequest): Promise<CheckpointEntry> {
    const draft = join(this.folder, `${DRAFT_PREFIX}${randomUUID()}`);
    await mkdir(draft, { mode: PRIVATE_FOLDER });
    try {
      await request.writeInto(draft);
      await writeDurably(join(draft, STATE_NAME), `${JSON.stringify(request.state, null, 2)}\n`);
      const manifest: Manifest = {
        schema_version: 1,
        step: request.step,
        time: this.options.clock(),
        tags: [...(request.tags ?? [])],
        order: await nextOrder(this.folder),
        files: await sealFolder(draft),
      };
      await writeDurably(join(draft, MANIFEST_NAME), `${JSON.stringify(manifest, null, 2)}\n`);
      const name = await nextName(this.folder, request.step);
      await rename(draft, join(this.folder, name));
      await syncPath(this.folder);
      await this.retain();
      return { name, directory: join(this.folder, name), step: request.step };
    } catch (error) {
      // The first error matters more than a draft that cannot be removed; it is tried again.
      await this.remove(draft).catch(() => undefined);
      throw error;
    }
  }

  list(): Promise<CheckpointEntry[]> {
    return listCheckpoints(this.folder);
  }

  /** The newest whole checkpoint; remembered until something changes. Errors: WEIR_E_CHECKPOINT_DAMAGED. */
  latest(): Promise<LatestCheckpoint> {
    this.found ??= latestCheckpoint(this.folder);
    return this.found;
  }

  /** Makes the next call of `latest` check again. */
  forget(): void {
    this.found = null;
  }

  /** Renames damaged checkpoints to `damaged-NAME-N`, which are kept for inspection. */
  async setAside(names: readonly string[]): Promise<void> {
    this.found = null;
    for (const name of names) {
      await rename(
        join(this.folder, name),
        join(this.folder, await freeName(this.folder, (n) => `damaged-${name}-${n}`)),
      );
    }
    if (names.length > 0) await syncPath(this.folder);
  }

  private async retain(): Promise<void> {
    const entries = await this.list();
    const present = entries[0]?.step ?? 0;
    let best = false;
    for (const [age, entry] of entries.entries()) {
      const tags = (await readManifest(entry.directory).catch(() => null))?.tags ?? [];
      const keptAsBest: boolean = tags.includes("best") && !best;
      best ||= keptAsBest;
      // A rollback has undone the phase ends that lie ahead.
      const keptAsPhaseEnd = tags.includes("phase-end") && entry.step <= present;
      if (age < this.options.keep || keptAsBest || keptAsPhaseEnd) continue;
      // Renamed first: a kill while removing must not leave a half-empty folder under a checkpoint's name.
      const removed = join(this.folder, `${REMOVED_PREFIX}${entry.name}-${randomUUID()}`);
      await rename(entry.directory, removed);
    }
    await this.removeLeftovers();
  }
}

/** A free name after all checkpoints of the step. */
async function nextName(folder: string, step: number): Promise<string> {
  const base = stepName(step);
  const revisions = (await readdir(folder)).flatMap((name) => {
    const match = NAME.exec(name);
    return match && Number(match[1]) === step ? [Number(match[2] ?? 0)] : [];
  });
  return revisions.length === 0 ? base : `${base}.${Math.max(...revisions) + 1}`;
}

/** Published checkpoints, newest first. Needs no lock. */
export async function listCheckpoints(folder: string): Promise<CheckpointEntry[]> {
  return (await orderedCheckpoints(folder)).map(({ order: _, ...entry }) => entry);
}

/** Number of the next checkpoint in the order of writing. */
async function nextOrder(folder: string): Promise<number> {
  const [newest] = await orderedCheckpoints(folder);
  return Math.floor(newest?.order ?? 0) + 1;
}

/** Newest first. One whose manifest does not tell its order comes right after those of lower steps. */
async function orderedCheckpoints(folder: string): Promise<(CheckpointEntry & { readonly order: number })[]> {
  const names = await readdir(folder).catch(() => [] as string[]);
  const found = names
    .flatMap((name) => {
      const match = NAME.exec(name);
      return match
        ? [{ name, directory: join(folder, name), step: Number(match[1]), revision: Number(match[2] ?? 0) }]
        : [];
    })
    .sort((a, b) => a.step - b.step || a.revision - b.revision);
  const ordered: (CheckpointEntry & { readonly order: number })[] = [];
  let highest = 0;
  for (const { revision: _, ...entry } of found) {
    const manifest = await readManifest(entry.directory).catch(() => null);
    const order = manifest?.order ?? highest + UNTOLD_ORDER;
    highest = Math.max(highest, order);
    ordered.push({ ...entry, order });
  }
  return ordered.sort((a, b) => b.order - a.order);
}

/**
 * The newest checkpoint that matches its manifest; null where none was ever published. Needs no lock.
 * Errors: WEIR_E_CHECKPOINT_DAMAGED where there are some, and none is whole.
 */
export async function latestCheckpoint(folder: string): Promise<LatestCheckpoint> {
  const passedOver: { name: string; reason: string }[] = [];
  for (const entry of await listCheckpoints(folder)) {
    try {
      return { checkpoint: await loadCheckpoint(entry), passedOver };
    } catch (error) {
      if (!WeirError.isInstance(error)) throw error;
      passedOver.push({ name: entry.name, reason: String(error.details.reason) });
    }
  }
  if (passedOver.length === 0) return { checkpoint: null, passedOver };
  throw new WeirError(
    "WEIR_E_CHECKPOINT_DAMAGED",
    `${folder}: expected a whole checkpoint, all are damaged: ${passedOver.map(({ name, reason }) => `${name} (${reason})`).join(", ")}; restore one from a copy or start another run`,
    { folder, passedOver },
  );
}

/** Checks a checkpoint against its manifest and reads its state. Errors: WEIR_E_CHECKPOINT_DAMAGED with `details.reason`. */
export async function loadCheckpoint(entry: CheckpointEntry): Promise<LoadedCheckpoint> {
  const damaged = (reason: string, cause?: unknown) =>
    new WeirError(
      "WEIR_E_CHECKPOINT_DAMAGED",
      `${entry.directory}: ${reason}`,
      { directory: entry.directory, reason },
      { cause },
    );
  let manifest: Manifest;
  try {
    manifest = await readManifest(entry.directory);
  } catch (cause) {
    throw damaged(`${MANIFEST_NAME} is missing or cannot be read`, cause);
  }
  const difference = await differenceFrom(manifest, entry.directory);
  if (difference !== null) throw damaged(difference);
  if (manifest.files[STATE_NAME] === undefined) throw damaged(`${MANIFEST_NAME} does not name ${STATE_NAME}`);
  const state = currentState(JSON.parse(await readFile(join(entry.directory, STATE_NAME), "utf8"))) as Json;
  return { ...entry, state, tags: manifest.tags };
}
