/**
 * Errors of the operating system on files, as one coded error with path, errno and remedy. Other errors than those of the
 * disk or the file system are passed on unchanged.
 */
import { WeirError } from "../errors.js";

/** What each errno means, and the remedy. */
const CAUSES: Readonly<Record<string, readonly [meaning: string, remedy: string]>> = {
  ENOSPC: ["no space is left on the disk", "free some space there"],
  EDQUOT: ["the disk quota is used up", "free some space or raise the quota"],
  EROFS: ["the file system is read-only", "mount it for writing, or choose another folder"],
  EACCES: ["access is denied", "give this user the right to use it, or choose another folder"],
  EPERM: ["the operation is not permitted", "give this user the right to use it, or choose another folder"],
  EIO: ["the disk reports an input/output error", "check the disk (dmesg, SMART) before going on"],
  EMFILE: ["this process has too many open files", "raise the limit (ulimit -n)"],
  ENFILE: ["the system has too many open files", "close other programs or raise fs.file-max"],
  EFBIG: ["the file would be larger than allowed", "raise the limit (ulimit -f), or use another file system"],
  ENOENT: ["it, or a folder on the way to it, is gone", "restore it, or choose another folder"],
  ENOTDIR: ["a part of the path is a file, not a folder", "choose another folder"],
  ENAMETOOLONG: ["its name is too long", "choose a shorter one"],
  ESTALE: ["the network file system has lost the file", "mount it again"],
};

/**
 * The error as WEIR_E_DISK where an errno of the table caused it, else the error itself. `path` is used where the system
 * did not name one, as for writes to an open file.
 */
export function asDiskError(error: unknown, path?: string): unknown {
  if (WeirError.isInstance(error) || !(error instanceof Error)) return error;
  const { code, path: named, syscall } = error as NodeJS.ErrnoException;
  const [meaning, remedy] = CAUSES[code ?? ""] ?? [];
  if (meaning === undefined || remedy === undefined) return error;
  const where = named ?? path ?? null;
  return new WeirError(
    "WEIR_E_DISK",
    `expected to use ${where === null ? "a file" : `"${where}"`}, but ${meaning} (${code}${syscall ? ` on ${syscall}` : ""}); ${remedy}, then start again (weir train --resume RUN continues a run)`,
    { path: where, errno: code },
    { cause: error },
  );
}

/** Runs a synchronous file operation. Errors: WEIR_E_DISK, and whatever else the work throws. */
export function onDisk<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw asDiskError(error, path);
  }
}

/** Runs work on files. Errors: WEIR_E_DISK, and whatever else the work rejects with. */
export async function onDiskAsync<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw asDiskError(error, path);
  }
}
