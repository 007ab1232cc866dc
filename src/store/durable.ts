/**
 * Durable file operations: files are complete or absent, also after a kill or a power cut.
 */
import { createHash, randomUUID } from "node:crypto";
import { createReadStream } from "node:fs";
import { open, readdir, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { onDiskAsync } from "../system/disk-error.js";

/** File modes of whatever may hold prompts and answers: owner only, independent of the umask. */
export const PRIVATE_FILE = 0o600;
export const PRIVATE_FOLDER = 0o700;

/** Syncs a file or folder to the disk. */
export async function syncPath(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Temporary names carry this ending; a killed writer leaves them behind; they are never read. */
const TEMPORARY = /^\..+\.tmp$/;

/**
 * Writes a file under a temporary name, forces it to the disk, and publishes it by one rename. A failed write leaves
 * nothing behind. Errors: WEIR_E_DISK.
 */
export async function writeDurably(path: string, content: string | Uint8Array): Promise<void> {
  // A random name: in containers a killed writer and its successor may have the same process id.
  const temporary = join(dirname(path), `.${randomUUID()}.tmp`);
  await onDiskAsync(path, async () => {
    try {
      const handle = await open(temporary, "wx", PRIVATE_FILE);
      try {
        await handle.writeFile(content);
        await handle.sync();
      } finally {
        await handle.close();
      }
      await rename(temporary, path);
    } catch (error) {
      await rm(temporary, { force: true }).catch(() => undefined);
      throw error;
    }
    await syncPath(dirname(path));
  });
}

/** Removes temporary files and folders that a killed writer left in a folder; a folder that does not exist has none. */
export async function removeTemporaries(folder: string): Promise<void> {
  const names = await readdir(folder).catch(() => [] as string[]);
  for (const name of names.filter((one) => TEMPORARY.test(one)))
    await rm(join(folder, name), { recursive: true, force: true });
}

/** Hex SHA-256 of a file, read as a stream. */
export async function sha256File(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return hash.digest("hex");
}

export interface FolderContent {
  /** Paths relative to the folder with "/" between parts, sorted. */
  readonly files: readonly string[];
  /** The same for sub-folders. */
  readonly folders: readonly string[];
}

/** Everything below a folder. */
export async function listFolder(folder: string): Promise<FolderContent> {
  const files: string[] = [];
  const folders: string[] = [];
  const walk = async (prefix: string): Promise<void> => {
    for (const entry of await readdir(join(folder, prefix), { withFileTypes: true })) {
      const path = prefix === "" ? entry.name : `${prefix}/${entry.name}`;
      if (entry.isDirectory()) {
        folders.push(path);
        await walk(path);
      } else {
        files.push(path);
      }
    }
  };
  await walk("");
  return { files: files.sort(), folders: folders.sort() };
}

/** The name with the lowest number N ≥ 1 in `make(N)` that a folder does not hold yet. */
export async function freeName(folder: string, make: (n: number) => string): Promise<string> {
  const taken = new Set(await readdir(folder));
  for (let n = 1; ; n++) {
    if (!taken.has(make(n))) return make(n);
  }
}
