import { counterKey, shuffled } from "../../algorithms/random.js";
import { paddingShare } from "../../algorithms/statistics.js";
import type { OptimiserConfig, SftBatch, SftMetrics, SftRow, Trainer } from "../../contracts/trainer.js";

/**
 * Warm-up SFT (§3.1): which rows make up step i, and that step. The order is a function of (seed, epoch) only, so a
 * resumed warm-up continues with the rows it would have had (I3, I12).
 */

export interface WarmupPlan {
  readonly rows: number;
  readonly batchRows: number;
  readonly epochs: number;
  readonly seed: number;
}

/** Number of optimiser steps: ⌈epochs · rows / batchRows⌉; the last batch may wrap into the next shuffle. */
export function warmupSteps(plan: WarmupPlan): number {
  return plan.rows === 0 ? 0 : Math.max(1, Math.ceil((plan.epochs * plan.rows) / plan.batchRows));
}

/** Row indices of step i (0-based): consecutive slices of the endless sequence of per-epoch shuffles. */
export function warmupRows(plan: WarmupPlan, step: number): number[] {
  const indices: number[] = [];
  const order = new Map<number, readonly number[]>();
  for (let j = step * plan.batchRows; j < (step + 1) * plan.batchRows; j++) {
    const epoch = Math.floor(j / plan.rows);
    let shuffle = order.get(epoch);
    if (!shuffle) {
      shuffle = shuffled(
        Array.from({ length: plan.rows }, (_, i) => i),
        counterKey(plan.seed, "warmup", epoch),
      );
      order.set(epoch, shuffle);
    }
    indices.push(shuffle[j % plan.rows] as number);
  }
  return indices;
}

/** Share of the computed token positions that were padding; a row's last token is predicted, rows without a target are left out. */
export function warmupPadding(rows: readonly SftRow[], paddedTokens: number): number {
  const trained = rows.filter(({ lossMask }) => lossMask.some((weight, token) => token > 0 && weight > 0));
  const real = trained.reduce((sum, { tokenIds }) => sum + tokenIds.length - 1, 0);
  return paddingShare(real, paddedTokens);
}

/** One optimiser step of the warm-up. `applied` is false when a gradient was not finite (I7). */
export async function warmupStep(
  trainer: Trainer,
  rows: readonly SftRow[],
  options: Pick<SftBatch, "aggregation" | "microBatchTokens"> & { readonly optimiser: OptimiserConfig },
  signal: AbortSignal,
): Promise<SftMetrics & { readonly gradNorm: number; readonly applied: boolean }> {
  const metrics = await trainer.sftForwardBackward(
    { rows, aggregation: options.aggregation, microBatchTokens: options.microBatchTokens },
    { signal },
  );
  const reply = await trainer.optimStep(options.optimiser, { signal });
  return { ...metrics, gradNorm: reply.gradNorm, applied: reply.applied };
}
