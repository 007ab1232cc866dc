import type { Config } from "../../config/schema.js";
import { detectionOptions } from "../../streams/telemetry/detection-options.js";
import type { DetectorOptions } from "../../streams/telemetry/detector.js";
import type { PairPrecisions } from "../../streams/telemetry/limits.js";

/** What a configuration says of alarms; `foreign` as in `detectionOptions`. */
export function detectorOptions(config: Config, foreign: () => PairPrecisions | null): DetectorOptions {
  const { noUpdateSteps, equalRewardSteps, unscoredShare, repeatSteps } = config.guard;
  return {
    detection: detectionOptions(config, foreign),
    stalls: { noUpdateSteps, equalRewardSteps, unscoredShare },
    updateSteps: repeatSteps,
  };
}
