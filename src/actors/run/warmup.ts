import { counterKey, shuffled } from "../../algorithms/random.js";
import { paddingShare } from "../../algorithms/statistics.js";
import type { Guard } from "../../contracts/guard.js";
import type { PolicyVersion } from "../../contracts/policy-version.js";
import type { OptimiserConfig, SftBatch, SftMetrics, SftRow, Trainer } from "../../contracts/trainer.js";
import { guardedStep, type JudgedUpdate, rollbackError } from "../guard/guard.js";

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

export interface WarmupOptions extends Pick<SftBatch, "aggregation" | "microBatchTokens"> {
  /** 1-based. */
  readonly step: number;
  readonly policy: PolicyVersion;
  readonly guard: Guard;
  readonly optimiser: OptimiserConfig;
}

export interface WarmupResult {
  /** Null where the loss was not finite. */
  readonly metrics: SftMetrics | null;
  /** NaN where there is none, or the trainer does not tell it. */
  readonly gradNorm: number;
  /** False where a gradient was not finite (I7) or the guard skipped it. */
  readonly applied: boolean;
  readonly judged: readonly JudgedUpdate[];
}

/** One optimiser step of the warm-up. Errors: WEIR_E_ROLLBACK where the guard says so. */
export async function warmupStep(
  trainer: Trainer,
  rows: readonly SftRow[],
  { step, policy, guard, optimiser, aggregation, microBatchTokens }: WarmupOptions,
  signal: AbortSignal,
): Promise<WarmupResult> {
  const batch: SftBatch = { rows, aggregation, microBatchTokens };
  const { rehearseSft } = trainer;
  const { metrics, step: done } = await guardedStep<SftMetrics>(
    trainer,
    guard,
    {
      base: { stage: "warmup", step, phase: 0, miniBatch: 0, policy, groups: [] },
      optimiser,
      gradient: () => trainer.sftForwardBackward(batch, { signal }),
      rehearsal: rehearseSft === undefined ? null : () => rehearseSft.call(trainer, batch, { signal }),
      policyOf: () => null,
      valuesOf: () => ({}),
      measure: null,
      trial: false,
    },
    signal,
  );
  if (!done.committed && done.judged.verdict.action === "rollback") throw rollbackError([done.judged]);
  if (!done.committed) return { metrics, gradNorm: done.gradNorm, applied: false, judged: [done.judged] };
  const { reply, judged } = done;
  return { metrics, gradNorm: reply.gradNorm, applied: reply.applied, judged: judged === null ? [] : [judged] };
}
