import type { Config } from "../../config/schema.js";
import { detectionOptions } from "../../streams/telemetry/detection-options.js";
import type { DetectorOptions } from "../../streams/telemetry/detector.js";

/** What a configuration says of alarms. */
export function detectorOptions(config: Config): DetectorOptions {
  const { noUpdateSteps, equalRewardSteps, unscoredShare, repeatSteps } = config.guard;
  return {
    detection: detectionOptions(config),
    stalls: { noUpdateSteps, equalRewardSteps, unscoredShare },
    updateSteps: repeatSteps,
  };
}
