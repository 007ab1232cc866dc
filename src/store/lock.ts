/**
 * One writer per run folder: a lock file that names its holder. Taking over the lock of a dead process is reported.
 * The file appears with its whole content at once (hard link), so a kill leaves no half-written lock.
 */
import { randomUUID } from "node:crypto";
import { linkSync, readFileSync, renameSync, rmSync, unlinkSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { WeirError } from "../errors.js";
import { asDiskError, onDisk } from "../system/disk-error.js";

const LOCK_NAME = "lock";
/** Field 22 of /proc/PID/stat, counted after the command name, which may hold spaces. */
const START_TIME_FIELD = 19;

export interface LockHolder {
  readonly pid: number;
  readonly host: string;
  /** When the process started, in the operating system's units; distinguishes a reused process id. Null where unknown. */
  readonly startTime: string | null;
  readonly token: string;
}

/** The start time of a process, null where it is not known. */
export function processStartTime(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[START_TIME_FIELD] ?? null;
  } catch {
    return null;
  }
}

/** Whether the holder's process still runs on this machine. */
export function isAlive(holder: LockHolder): boolean {
  try {
    process.kill(holder.pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ESRCH") return false;
  }
  const started = processStartTime(holder.pid);
  return started === null || holder.startTime === null || started === holder.startTime;
}

function read(path: string): { readonly text: string; readonly holder: LockHolder | null } | null {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
  try {
    const holder = JSON.parse(text) as LockHolder;
    return { text, holder: typeof holder.pid === "number" ? holder : null };
  } catch {
    return { text, holder: null };
  }
}

/** The living holder of a run folder's lock; null without one. */
export function lockHolder(folder: string): LockHolder | null {
  const holder = read(join(folder, LOCK_NAME))?.holder ?? null;
  return holder !== null && (holder.host !== hostname() || isAlive(holder)) ? holder : null;
}

export class RunLock {
  private constructor(
    private readonly path: string,
    private readonly text: string,
  ) {}

  /** Takes the lock of a folder. Errors: WEIR_E_RUN_LOCKED naming the holder; WEIR_E_DISK. */
  static acquire(folder: string, say: (notice: string) => void): RunLock {
    const path = join(folder, LOCK_NAME);
    const token = randomUUID();
    const mine: LockHolder = {
      pid: process.pid,
      host: hostname(),
      startTime: processStartTime(process.pid),
      token,
    };
    const text = JSON.stringify(mine);
    const draft = join(folder, `.lock.${token}`);
    try {
      onDisk(draft, () => writeFileSync(draft, text));
      // Each attempt takes the lock, removes a dead one, or throws; another process may win in between.
      for (;;) {
        try {
          linkSync(draft, path);
          return new RunLock(path, text);
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw asDiskError(error, path);
        }
        RunLock.removeDead(path, token, say);
      }
    } finally {
      rmSync(draft, { force: true });
    }
  }

  private static removeDead(path: string, token: string, say: (notice: string) => void): void {
    const found = read(path);
    if (found === null) return;
    const { holder } = found;
    if (holder !== null && holder.host !== hostname()) {
      throw new WeirError(
        "WEIR_E_RUN_LOCKED",
        `process ${holder.pid} on host "${holder.host}" holds ${path}, and this host cannot tell whether it is alive; stop it there, or remove the file`,
        { path, holder },
      );
    }
    if (holder !== null && isAlive(holder)) {
      throw new WeirError(
        "WEIR_E_RUN_LOCKED",
        `process ${holder.pid} is writing to this run folder (${path}); stop it first, or give this run another id`,
        { path, holder },
      );
    }
    const dead = `${path}.${token}.dead`;
    try {
      renameSync(path, dead);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
      throw error;
    }
    if (readFileSync(dead, "utf8") !== found.text) {
      // Another process took over the dead lock in between: give its lock back.
      linkSync(dead, path);
      unlinkSync(dead);
      return;
    }
    unlinkSync(dead);
    say(`took over the run folder's lock from process ${holder?.pid ?? "unknown"}, which is no longer alive`);
  }

  /**
   * Gives the lock back; a lock that is no longer ours is left alone. Never throws: where the disk has become read-only
   * the lock stays, and the next writer takes it over from a dead process.
   */
  release(): void {
    try {
      if (read(this.path)?.text === this.text) unlinkSync(this.path);
    } catch (error) {
      if (asDiskError(error) === error) throw error;
    }
  }
}
