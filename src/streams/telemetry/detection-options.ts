import type { Config } from "../../config/schema.js";
import { advantageLimitOf, mismatchLimitOf, type PairPrecisions } from "./limits.js";
import type { MetricValues } from "./metrics.js";

/** What detectors are given besides the steps before. */

export interface DetectionOptions {
  /** Steps of history. */
  readonly window: number;
  /** Robust z from which a deviation counts. */
  readonly z: number;
  /** KL of a policy to the one before, nats. */
  readonly klLimit: number;
  readonly entropyLow: number;
  readonly entropyHigh: number;
  /** Token mean of |sampler log-prob − trainer log-prob|, nats. */
  readonly mismatchLimit: number;
  /** Share of responses that ended by length. */
  readonly truncatedShare: number;
  /** Share of finished groups that were dropped as too old. */
  readonly staleShare: number;
  readonly advantageLimit: number;
  /** Share of questions to the judge that got no verdict. */
  readonly judgeFailureShare: number;
  /** 95 % quantile of the judge's answering time, s. */
  readonly judgeSeconds: number;
}

/** The numbers of a step, applied or not. */
export interface StepNumbers {
  readonly phase: number;
  /** By registered name; absent where not measured. Values that are not finite are findings. */
  readonly values: MetricValues;
}

export type DetectionConfig = Pick<Config, "spikes" | "engine" | "rollout" | "reward">;

/** Share of the judge's deadline at which its answers are slow where `reward.judge.slowSeconds` says nothing: half of what fails. */
const SLOW_SHARE = 0.5;

/**
 * `foreign`: precisions of sampler and trainer, null where both are weir's engine; asked at each use, since servers tell theirs once they
 * are connected.
 */
export function detectionOptions(
  { spikes, engine, rollout, reward }: DetectionConfig,
  foreign: () => PairPrecisions | null,
): DetectionOptions {
  const { failureLimit, slowSeconds, timeoutMs } = reward.judge;
  return {
    window: spikes.window,
    z: spikes.z,
    klLimit: spikes.klLimit,
    entropyLow: spikes.entropyLow,
    entropyHigh: spikes.entropyHigh,
    get mismatchLimit() {
      return spikes.mismatchLimit ?? mismatchLimitOf(engine.precision, foreign());
    },
    truncatedShare: spikes.truncatedShare,
    staleShare: spikes.staleShare,
    advantageLimit: advantageLimitOf(rollout.groupSize),
    judgeFailureShare: failureLimit,
    judgeSeconds: slowSeconds ?? (SLOW_SHARE * timeoutMs) / 1000,
  };
}
