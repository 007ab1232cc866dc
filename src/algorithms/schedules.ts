/** Learning-rate multipliers in [0, 1] as functions of the optimiser step (0-based). */
import { WeirError } from "../errors.js";

export const SCHEDULES = ["constant", "cosine"] as const;

export interface ScheduleOptions {
  /** `constant` stays at 1 after the warm-up; `cosine` falls to `minRatio` at `totalSteps`, one beyond the last index of a run. */
  readonly kind: (typeof SCHEDULES)[number];
  /** Steps of linear rise from 0. */
  readonly warmupSteps: number;
  /** Steps of the whole schedule; read by `cosine`. */
  readonly totalSteps: number;
  /** Multiplier at the end of `cosine`; 0 unless given. */
  readonly minRatio?: number;
}

/**
 * Multiplier of the peak learning rate at `step`: step/warmup while step < warmup; then 1, or
 * minRatio + (1 − minRatio)·(1 + cos πp)/2 with p = (step − warmup)/(total − warmup) clamped to [0, 1].
 */
export function learningRateMultiplier(step: number, options: ScheduleOptions): number {
  const { kind, warmupSteps, totalSteps, minRatio = 0 } = options;
  if (step < 0 || warmupSteps < 0 || (kind === "cosine" && totalSteps < warmupSteps)) {
    throw new WeirError(
      "WEIR_E_CONFIG",
      `a schedule needs 0 ≤ step and 0 ≤ warm-up ≤ total steps, got step ${step}, warm-up ${warmupSteps}, total ${totalSteps}`,
    );
  }
  if (step < warmupSteps) return step / warmupSteps;
  if (kind === "constant") return 1;
  const span = Math.max(totalSteps - warmupSteps, 1);
  const progress = Math.min((step - warmupSteps) / span, 1);
  return minRatio + (1 - minRatio) * 0.5 * (1 + Math.cos(Math.PI * progress));
}
