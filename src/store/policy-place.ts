/**
 * Where published policies lie, and how much room they may take: a file system in memory, a folder of the user's, or the run folder.
 * Invariants: a folder in memory is removed at the end of its run; one that a killed run left is removed by the next run of the same
 * user, and only once its holder is known to be dead. What lies in memory can be read by its owner only.
 */
import { createHash, randomUUID } from "node:crypto";
import { lstat, mkdir, readdir, readFile, rm, rmdir, stat, statfs } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { WeirError } from "../errors.js";
import { onDiskAsync } from "../system/disk-error.js";
import { usableMemory } from "../system/memory.js";
import { PRIVATE_FOLDER } from "./durable.js";
import { lockHolder, RunLock } from "./lock.js";

export interface PolicyPlace {
  /** Holds one folder per version. */
  readonly folder: string;
  /** Bytes that all versions may take together. */
  readonly budgetBytes: number;
  /** Expected size of one checkpoint. */
  readonly versionBytes: number;
  /** Bytes that can still be written there, now. */
  free(): Promise<number>;
  /** Gives the place up; a folder in memory is removed. */
  close(): Promise<void>;
}

export interface PolicyPlaceOptions {
  /** `policyStore.directory`. */
  readonly directory: string | null;
  /** `policyStore.maxGiB`. */
  readonly maxGiB: number | null;
  /** Versions are read by other processes of this machine: memory is the fastest place. */
  readonly preferMemory: boolean;
  readonly runDirectory: string;
  /** Expected size of one checkpoint. */
  readonly versionBytes: number;
}

/** What is asked of the system; tests give their own. */
export interface PlaceSources {
  /** Folders that lie in memory, the best first. */
  memoryFolders(): Promise<readonly string[]>;
  /** Bytes that can be written below a folder. */
  free(folder: string): Promise<number>;
}

export const POLICIES_FOLDER = "policies";
/** Versions that a place in memory needs room for: the one in use, the next one, and one that an evaluation holds. */
const MEMORY_VERSIONS = 3;
/** Share of the free room that is used where `policyStore.maxGiB` says nothing. */
const FREE_FRACTION = 0.8;
const BYTES_PER_GIB = 1024 ** 3;
/** `f_type` of tmpfs. */
const TMPFS = 0x01021994;
/** A folder without a lock may be one that another process is making just now; after this time it is not. */
const UNLOCKED_MS = 10 * 60_000;

export const systemPlaces: PlaceSources = {
  async memoryFolders() {
    const mounts = await readFile("/proc/mounts", "utf8").catch(() => "");
    const points = mounts.split("\n").flatMap((line) => {
      const [, point = "", type, options = ""] = line.split(" ");
      return type === "tmpfs" && options.split(",").includes("rw") && !/^\/(sys|proc|dev$)/.test(point) ? [point] : [];
    });
    return [...new Set(["/dev/shm", ...points])];
  },
  async free(folder) {
    const { bavail, bsize, type } = await statfs(folder);
    // What lies in memory also counts against the container's limit.
    return type === TMPFS ? Math.min(bavail * bsize, usableMemory().freeBytes) : bavail * bsize;
  },
};

/** A folder without a bound, for tests and stores outside a run. */
export function unboundedPlace(folder: string): PolicyPlace {
  const without = Number.POSITIVE_INFINITY;
  return { folder, budgetBytes: without, versionBytes: 0, free: async () => without, close: async () => undefined };
}

/** Chooses the place of a run's policies and makes it. Errors: WEIR_E_DISK. */
export async function openPolicyPlace(
  options: PolicyPlaceOptions,
  sources: PlaceSources = systemPlaces,
): Promise<PolicyPlace> {
  const { directory, runDirectory, preferMemory } = options;
  const memory = directory === null && preferMemory ? await memoryPlace(options, sources) : null;
  if (memory !== null) return memory;
  const folder =
    directory === null ? join(runDirectory, POLICIES_FOLDER) : join(resolve(directory), placeName(runDirectory));
  await onDiskAsync(folder, () => mkdir(folder, { recursive: true, mode: PRIVATE_FOLDER }));
  return placeIn(folder, options, sources, async () => undefined);
}

/** Of a run's folder among those of other runs, which may have its name in another place. */
export function placeName(runDirectory: string): string {
  const digest = createHash("sha256").update(resolve(runDirectory)).digest("hex");
  return `${basename(runDirectory)}-${digest.slice(0, 8)}`;
}

async function placeIn(
  folder: string,
  { maxGiB, versionBytes }: PolicyPlaceOptions,
  sources: PlaceSources,
  close: () => Promise<void>,
): Promise<PolicyPlace> {
  const free = () => sources.free(folder);
  const budgetBytes = maxGiB === null ? FREE_FRACTION * (await free()) : maxGiB * BYTES_PER_GIB;
  return { folder, budgetBytes, versionBytes, free, close };
}

/** Null where no folder in memory has the room. */
async function memoryPlace(options: PolicyPlaceOptions, sources: PlaceSources): Promise<PolicyPlace | null> {
  for (const mount of await sources.memoryFolders()) {
    const root = join(mount, `weir-policies-${process.getuid?.() ?? "user"}`);
    if (!(await isOwnFolder(root))) continue;
    await removeStale(root);
    const room = await sources.free(root).catch(() => 0);
    if (FREE_FRACTION * room < MEMORY_VERSIONS * options.versionBytes) {
      await removeIfEmpty(root);
      continue;
    }
    const folder = join(root, `${basename(options.runDirectory)}-${randomUUID().slice(0, 8)}`);
    // A run that has just ended may have removed the root.
    await mkdir(folder, { recursive: true, mode: PRIVATE_FOLDER });
    RunLock.acquire(folder, () => undefined);
    return placeIn(folder, options, sources, async () => {
      await rm(folder, { recursive: true, force: true });
      await removeIfEmpty(root);
    });
  }
  return null;
}

/** Makes the folder where it is not there; false where it cannot be made or is not this user's own. */
export async function isOwnFolder(root: string): Promise<boolean> {
  await mkdir(root, { mode: PRIVATE_FOLDER }).catch(() => undefined);
  const found = await lstat(root).catch(() => null);
  return found?.isDirectory() === true && (process.getuid === undefined || found.uid === process.getuid());
}

/** Another run may put its folder there at any moment, which rmdir then leaves alone. */
export async function removeIfEmpty(root: string): Promise<void> {
  await rmdir(root).catch(() => undefined);
}

/** Removes what runs left that were killed: folders whose holder is dead. */
async function removeStale(root: string): Promise<void> {
  for (const name of await readdir(root).catch(() => [])) {
    const folder = join(root, name);
    try {
      if (lockHolder(folder) !== null) continue;
      if (!(await stat(join(folder, "lock")).catch(() => null))) {
        const { mtimeMs } = await stat(folder);
        if (Date.now() - mtimeMs < UNLOCKED_MS) continue;
      }
      // Two starting runs may find the same folder: the one that holds its lock removes it.
      RunLock.acquire(folder, () => undefined);
      await rm(folder, { recursive: true, force: true });
    } catch {
      // Another process was faster, or it is not ours to remove.
    }
  }
}

/** The error of a version that finds no room. */
export function noRoom(what: string, folder: string): WeirError {
  return new WeirError(
    "WEIR_E_POLICY_BUDGET",
    `the next policy does not fit in ${folder}: ${what}; free room there and resume, or stop the run and resume it with a larger policyStore.maxGiB or another policyStore.directory`,
    { folder },
  );
}

export const gib = (bytes: number): string => `${(bytes / BYTES_PER_GIB).toPrecision(3)} GiB`;
