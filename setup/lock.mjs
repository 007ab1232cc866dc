/**
 * One set-up at a time per cache: a lock folder that names its owner. A lock whose owner is gone is taken over.
 */
import { mkdirSync, readFileSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";

/** The owner refreshes the lock at this interval … */
const REFRESH_MS = 5_000;
/** … so one that has not moved for this long has no owner, on whatever machine that was. */
const STALE_MS = 60_000;
const POLL_MS = 500;

/**
 * Runs `work` while holding the lock at `path`.
 * @template T
 * @param {string} path
 * @param {() => Promise<T>} work
 * @param {{ onWait?: (owner: string) => void }} options
 * @returns {Promise<T>}
 */
export async function withLock(path, work, { onWait = () => {} } = {}) {
  mkdirSync(dirname(path), { recursive: true });
  let told = false;
  while (!tryTake(path)) {
    const owner = readOwner(path);
    if (isAbandoned(path, owner)) {
      dropAbandoned(path, owner);
      continue;
    }
    if (!told) onWait(owner === null ? "another set-up" : `process ${owner.pid} on ${owner.host}`);
    told = true;
    await wait(POLL_MS);
  }
  const refresh = setInterval(() => {
    try {
      utimesSync(path, new Date(), new Date());
    } catch {
      // The cache was removed under us: the work itself will report it.
    }
  }, REFRESH_MS);
  refresh.unref();
  try {
    return await work();
  } finally {
    clearInterval(refresh);
    rmSync(path, { recursive: true, force: true });
  }
}

function tryTake(path) {
  try {
    mkdirSync(path);
  } catch (error) {
    if (error.code === "EEXIST") return false;
    throw error;
  }
  writeFileSync(join(path, "owner.json"), JSON.stringify({ pid: process.pid, host: hostname(), at: Date.now() }));
  return true;
}

function readOwner(path) {
  try {
    return JSON.parse(readFileSync(join(path, "owner.json"), "utf8"));
  } catch {
    return null;
  }
}

/** Exported for its test: true when nobody can still be working under this lock. */
export function isAbandoned(path, owner, now = Date.now()) {
  let age;
  try {
    age = now - statSync(path).mtimeMs;
  } catch {
    return false;
  }
  if (age > STALE_MS) return true;
  if (owner === null || owner.host !== hostname()) return false;
  try {
    process.kill(owner.pid, 0);
    return false;
  } catch (error) {
    return error.code === "ESRCH";
  }
}

/** Moves the lock away before removing it, so that two waiters cannot both remove (and one of them a fresh one). */
function dropAbandoned(path, owner) {
  const aside = `${path}.${process.pid}.${Date.now()}`;
  try {
    renameSync(path, aside);
  } catch {
    return;
  }
  const moved = readOwner(aside);
  if (moved !== null && (owner === null || moved.at !== owner.at || moved.pid !== owner.pid)) {
    try {
      renameSync(aside, path);
      return;
    } catch {
      // A third process took the lock meanwhile; the moved one is dropped.
    }
  }
  rmSync(aside, { recursive: true, force: true });
}
