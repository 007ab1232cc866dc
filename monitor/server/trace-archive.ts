import { join } from "node:path";
import type { Trace } from "../../src/contracts/trace.js";
import { readMembers, readRollout, readRollouts, rolloutSteps, undoneRollouts } from "../../src/store/index.js";
import { LIMITS } from "../protocol/limits.js";
import type { GroupMember, TraceSummary } from "../protocol/records.js";
import { summarise, TraceStore } from "./trace-store.js";

/**
 * Rollouts of a run that are no longer in memory, from the shards of its folder. One lookup at a time: reading a shard
 * takes memory and the processor, which the training needs.
 */

/** Cached traces, and their bytes. */
const KEPT_TRACES = 64;
const KEPT_BYTES = 16 << 20;
/** Lookups that may wait; more than this is a client in a loop. */
const MOST_WAITING = 64;

/** After a lookup the archive pauses for this many times its duration: endless requests get a quarter of the processor. */
const REST = 3;

function rest(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms).unref());
}

export class TraceArchive {
  private readonly cache = new TraceStore(KEPT_TRACES, KEPT_BYTES);
  private readonly folder: string;
  private last: Promise<unknown> = Promise.resolve();
  private waiting = 0;

  constructor(runFolder: string) {
    this.folder = join(runFolder, "rollouts");
  }

  /** A rollout by its id and, where known, its step; null where it is not found, not readable, or too many ask. Never rejects. */
  find(id: string, step: number | null): Promise<Trace | null> {
    const kept = this.cache.get(id);
    if (kept) return Promise.resolve(kept);
    return this.queued(async () => this.cache.get(id) ?? (await this.search(id, step)), null);
  }

  /** Summaries of the rollouts of a step, in the order of the shard; none where it cannot be read or too many ask. Never rejects. */
  list(step: number): Promise<readonly TraceSummary[]> {
    return this.queued(async () => (await readRollouts(this.folder, step)).map(summarise), []);
  }

  /** The rollouts of a group; none where the shard cannot be read or too many ask. Never rejects. */
  group(step: number, groupId: string): Promise<readonly GroupMember[]> {
    return this.queued(async () => {
      for (const folder of await this.folders()) {
        const members = await readMembers(folder, step, groupId).catch(() => []);
        if (members.length > 0) return members;
      }
      return [];
    }, []);
  }

  /** Where shards lie: the run's own, then those that rollbacks have undone, the newest first. */
  private async folders(): Promise<readonly string[]> {
    return [this.folder, ...(await undoneRollouts(this.folder))];
  }

  /** Runs one lookup after the other; `otherwise` is the answer of one that fails or is rejected. */
  private queued<T>(look: () => Promise<T>, otherwise: T): Promise<T> {
    if (this.waiting >= MOST_WAITING) return Promise.resolve(otherwise);
    this.waiting++;
    let from = 0;
    const begin = () => {
      from = performance.now();
      return look();
    };
    const found = this.last.then(begin).catch(() => otherwise);
    this.last = found.then(() => rest(REST * (performance.now() - from))).finally(() => this.waiting--);
    return found;
  }

  private async search(id: string, step: number | null): Promise<Trace | null> {
    for (const folder of await this.folders())
      for (const candidate of await candidates(folder, id, step)) {
        // A damaged shard must not hide the others.
        const trace = await readRollout(folder, candidate, id).catch(() => null);
        if (!trace) continue;
        this.cache.add(trace);
        return trace;
      }
    return null;
  }
}

/** Steps to look at: the one that was named, the one that the id names (`s12-q3-g0`), else the newest. */
async function candidates(folder: string, id: string, step: number | null): Promise<readonly number[]> {
  const steps = await rolloutSteps(folder);
  const named = step ?? Number(/^s(\d+)-q/.exec(id)?.[1] ?? Number.NaN);
  if (Number.isInteger(named)) return steps.includes(named) ? [named] : [];
  return steps.reverse().slice(0, LIMITS.searchedShards);
}
