/**
 * Retrospective sampling: which tasks are carried into a phase, and which of them an epoch uses. Pure.
 * Counts are those of the phase that ended.
 */

import { difficultyFromCounts } from "../../algorithms/difficulty.js";
import { counterKey, uniform } from "../../algorithms/random.js";
import type { RetrospectiveMode } from "../../contracts/curriculum.js";

/** Sum of successes in [0, 1] each (algorithms/accuracy.ts), and their number. */
export interface TaskRecord {
  readonly successes: number;
  readonly trials: number;
}

/** A carried task: its weight is the difficulty in `weighted`, 1 in `paper`. */
export interface CarriedTask {
  readonly id: string;
  readonly weight: number;
  /** Central 90 % credible interval of the difficulty. */
  readonly low: number;
  readonly high: number;
}

/**
 * The pool of a new phase from the records of the phase before, in order of id. `paper`: mean accuracy exactly 0 (§3.2).
 * `weighted`: every task seen, weight 1/mean smoothed (Eq. 10). `none`: nothing. Tasks without a scored reward are not carried.
 */
export function carriedPool(mode: RetrospectiveMode, records: ReadonlyMap<string, TaskRecord>): CarriedTask[] {
  if (mode === "none") return [];
  const pool: CarriedTask[] = [];
  for (const [id, { successes, trials }] of records) {
    if (trials === 0 || (mode === "paper" && successes > 0)) continue;
    const { difficulty, low, high } = difficultyFromCounts(successes, trials);
    pool.push({ id, weight: mode === "weighted" ? difficulty : 1, low, high });
  }
  return pool.sort((a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0));
}

/** Largest number of carried tasks in an epoch with `own` own ones, so that carried/(own + carried) ≤ share. */
export function carriedQuota(own: number, share: number): number {
  return share >= 1 ? Number.POSITIVE_INFINITY : Math.floor((share * own) / (1 - share) + 1e-9);
}

/**
 * The carried tasks of one epoch, at most `quota`, without replacement. Where they do not all fit: the least used first,
 * and among those by weight, each with the random key u^(1/weight) of Efraimidis and Spirakis (2006).
 * `paper` weights are all 1, so that there the order among equally used is uniform; `weighted` ignores use.
 */
export function chooseCarried(
  pool: readonly CarriedTask[],
  quota: number,
  mode: RetrospectiveMode,
  used: (id: string) => number,
  key: { readonly seed: number; readonly phase: number; readonly epoch: number },
): string[] {
  if (pool.length <= quota) return pool.map((task) => task.id);
  const ranked = pool.map((task) => {
    const draw = uniform(counterKey(key.seed, "carried", key.phase, key.epoch, task.id), 0);
    return { id: task.id, uses: mode === "paper" ? used(task.id) : 0, rank: Math.log(1 - draw) / task.weight };
  });
  ranked.sort((a, b) => a.uses - b.uses || b.rank - a.rank);
  return ranked.slice(0, quota).map((task) => task.id);
}
