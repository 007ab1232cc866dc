/**
 * How much memory sampling may take: shares of what the engine's budget leaves after the program and the model's state (that of training
 * only once there is any), up
 * to bounds above which larger batches are no faster. Less memory means fewer prompts at a time, never other samples.
 */

import { standingBytes, trainingStateBytes } from "../transformer/memory-plan.js";
import type { Transformer } from "../transformer/model.js";

/** Rows decoded together at most. */
export const MAX_ROWS = 512;

/** Shares of that rest; the activation cache may hold 0.4 of it at the same time. */
const CACHE_SHARE = 0.4;
const PREFILL_SHARE = 0.2;
const MOST_CACHE_BYTES = 3 * 1024 ** 3;
/** Eager prefill runs operation by operation and keeps more of its intermediates than a compiled one. */
const MOST_PREFILL_BYTES = { eager: 768 * 1024 ** 2, compiled: 512 * 1024 ** 2 } as const;

export interface SamplingMemory {
  /** Keys and values of the prompts and rows that are decoded together. */
  readonly cacheBytes: number;
  /** The widest intermediates of one prefill. */
  readonly prefillBytes: number;
}

export function samplingMemory(
  { config, runner, memoryBudget, trains }: Pick<Transformer, "config" | "runner" | "memoryBudget" | "trains">,
  executor: keyof typeof MOST_PREFILL_BYTES,
): SamplingMemory {
  const standing = standingBytes(config, runner.form) - (trains ? 0 : trainingStateBytes(config, runner.form));
  const rest = Math.max(0, memoryBudget - standing);
  return {
    cacheBytes: Math.min(MOST_CACHE_BYTES, CACHE_SHARE * rest),
    prefillBytes: Math.min(MOST_PREFILL_BYTES[executor], PREFILL_SHARE * rest),
  };
}
