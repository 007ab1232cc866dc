import type { Guard } from "../../../contracts/guard.js";
import { detectionOptions } from "../../../streams/telemetry/detection-options.js";
import { createStandardGuard } from "../../guard/standard-guard.js";
import type { BuiltInSource } from "./source.js";

/** The built-in guards by the names that `guard.actor` uses. A new one is a file of its own and a line below. */
export { createFiniteGuard as finite } from "../../guard/guard.js";

export function standard({ config, foreign }: BuiltInSource): Guard {
  const { klLimit, maxRollbacks, aepo, entropyTarget } = config.guard;
  return createStandardGuard({
    detection: detectionOptions(config, foreign),
    klLimit,
    maxRollbacks,
    aepo: aepo && { low: aepo.low, high: aepo.high },
    entropyTarget: entropyTarget && {
      target: entropyTarget.target,
      change: entropyTarget.change,
      max: entropyTarget.max,
    },
  });
}
