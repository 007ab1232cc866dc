/**
 * Snapshots that a rollback goes back to: a folder each, with weights and moments and the run's state as JSON, in a file system in
 * memory where one has the room, else in the run folder.
 * Invariants: a snapshot under its name is whole; it outlives a killed process; what lies in memory is found again by the run's path,
 * and is removed at the run's end. Snapshots of a killed run that nobody continues are removed by a later run of the same user.
 */
import { randomUUID } from "node:crypto";
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import type { Json } from "../contracts/task.js";
import { WeirError } from "../errors.js";
import { onDiskAsync } from "../system/disk-error.js";
import { PRIVATE_FILE, PRIVATE_FOLDER, writeDurably } from "./durable.js";
import { lockHolder } from "./lock.js";
import { differenceFrom, MANIFEST_NAME, readManifest, sealFolder } from "./manifest.js";
import { isOwnFolder, type PlaceSources, placeName, removeIfEmpty, systemPlaces } from "./policy-place.js";
import { alwaysRemove, type MayRemove, removeStateFolder } from "./removal.js";

export const SNAPSHOTS_FOLDER = "snapshots";
const STATE_NAME = "state.json";
const RUN_NAME = "run.json";
const DRAFT_PREFIX = ".draft-";
/** Share of the free room in memory that snapshots may take. */
const FREE_FRACTION = 0.5;
/** How long the snapshots of a killed run wait in memory for the run to be continued. */
const WAITING_MS = 24 * 3_600_000;

export interface SnapshotOptions {
  readonly runDirectory: string;
  readonly preferMemory: boolean;
  readonly clock: () => number;
  readonly mayRemove?: MayRemove;
}

export interface FoundSnapshot {
  /** Holds what was written into it. */
  readonly directory: string;
  readonly state: Json;
}

export class SnapshotFolder {
  private readonly disk: string;
  private memory: Promise<string | null> | null = null;

  constructor(
    private readonly options: SnapshotOptions,
    private readonly sources: PlaceSources = systemPlaces,
  ) {
    this.disk = join(options.runDirectory, SNAPSHOTS_FOLDER);
  }

  /** `bytes`: the size to expect. Errors: WEIR_E_DISK, and those of `writeInto`; nothing is left then. */
  async write(
    name: string,
    writeInto: (directory: string) => Promise<void>,
    state: Json,
    bytes: number,
  ): Promise<void> {
    const memory = await this.memoryFolder();
    if (memory !== null && FREE_FRACTION * (await this.sources.free(memory).catch(() => 0)) >= bytes) {
      try {
        await this.publish(memory, name, writeInto, state);
        return;
      } catch (error) {
        // Another process took the room meanwhile.
        if (!WeirError.isInstance(error) || error.code !== "WEIR_E_DISK") throw error;
      }
    }
    await this.publish(this.disk, name, writeInto, state);
  }

  /** Null where there is none under this name, or it is damaged. */
  async read(name: string): Promise<FoundSnapshot | null> {
    for (const folder of await this.places()) {
      const directory = join(folder, name);
      const text = await readFile(join(directory, STATE_NAME), "utf8").catch(() => null);
      if (text === null || (folder === this.disk && (await damageOf(directory)) !== null)) continue;
      return { directory, state: JSON.parse(text) as Json };
    }
    return null;
  }

  /** Removes all others. */
  async keep(names: ReadonlySet<string>): Promise<void> {
    for (const folder of await this.places())
      for (const name of await readdir(folder).catch(() => [] as string[]))
        if (name !== RUN_NAME && !names.has(name)) await this.remove(join(folder, name));
  }

  /** Removes what lies in memory. */
  async close(): Promise<void> {
    const memory = await (this.memory ?? null);
    if (memory === null) return;
    const names = (await readdir(memory).catch(() => [] as string[])).filter((name) => name !== RUN_NAME);
    // There is no next time for what cannot be given up now.
    await Promise.allSettled(names.map((name) => this.remove(join(memory, name))));
    await rm(memory, { recursive: true, force: true });
    await removeIfEmpty(join(memory, ".."));
  }

  private remove(directory: string): Promise<void> {
    return removeStateFolder(directory, this.options.mayRemove ?? alwaysRemove);
  }

  private async places(): Promise<readonly string[]> {
    const memory = await this.memoryFolder();
    return memory === null ? [this.disk] : [memory, this.disk];
  }

  private memoryFolder(): Promise<string | null> {
    this.memory ??= this.options.preferMemory ? this.openMemory() : Promise.resolve(null);
    return this.memory;
  }

  /** Null where no file system in memory can be written to. */
  private async openMemory(): Promise<string | null> {
    const { runDirectory, clock } = this.options;
    for (const mount of await this.sources.memoryFolders()) {
      const root = join(mount, `weir-snapshots-${process.getuid?.() ?? "user"}`);
      if (!(await isOwnFolder(root))) continue;
      const own = placeName(runDirectory);
      await removeForgotten(root, own, clock());
      const folder = join(root, own);
      try {
        await mkdir(folder, { recursive: true, mode: PRIVATE_FOLDER });
        const content = JSON.stringify({ schema_version: 1, directory: resolve(runDirectory) });
        await writeFile(join(folder, RUN_NAME), `${content}\n`, { mode: PRIVATE_FILE });
        return folder;
      } catch {
        // The next one may have room.
        await rm(folder, { recursive: true, force: true });
      }
    }
    return null;
  }

  private async publish(
    folder: string,
    name: string,
    writeInto: (directory: string) => Promise<void>,
    state: Json,
  ): Promise<void> {
    const draft = join(folder, `${DRAFT_PREFIX}${randomUUID()}`);
    await onDiskAsync(folder, async () => {
      await mkdir(draft, { recursive: true, mode: PRIVATE_FOLDER });
      try {
        await writeInto(draft);
        await writeFile(join(draft, STATE_NAME), `${JSON.stringify(state)}\n`, { mode: PRIVATE_FILE });
        if (folder === this.disk) await this.seal(draft);
        await rm(join(folder, name), { recursive: true, force: true });
        await rename(draft, join(folder, name));
      } catch (error) {
        await this.remove(draft).catch(() => undefined);
        throw error;
      }
    });
  }

  /** A power cut may tear what is on a disk. */
  private async seal(draft: string): Promise<void> {
    const manifest = {
      schema_version: 1,
      step: 0,
      time: this.options.clock(),
      tags: ["snapshot"],
      files: await sealFolder(draft),
    };
    await writeDurably(join(draft, MANIFEST_NAME), `${JSON.stringify(manifest)}\n`);
  }
}

async function damageOf(directory: string): Promise<string | null> {
  const manifest = await readManifest(directory).catch(() => null);
  return manifest === null ? `${MANIFEST_NAME} is missing` : differenceFrom(manifest, directory);
}

/** Removes snapshots of runs that no process holds, and that are gone or were killed long ago. */
async function removeForgotten(root: string, own: string, now: number): Promise<void> {
  for (const name of await readdir(root).catch(() => [] as string[])) {
    const folder = join(root, name);
    try {
      const { mtimeMs } = await stat(folder);
      const { directory } = JSON.parse(await readFile(join(folder, RUN_NAME), "utf8")) as {
        readonly directory: string;
      };
      if (name === own || lockHolder(directory) !== null) continue;
      const gone = (await stat(directory).catch(() => null)) === null;
      if (gone || now - mtimeMs > WAITING_MS) await rm(folder, { recursive: true, force: true });
    } catch {
      // It is being made just now, or another process was faster.
    }
  }
}
