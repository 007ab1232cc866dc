import type { Alert } from "../../src/contracts/alert.js";
import { formatUnit } from "./format.js";
import { unitOf } from "./metric-search.js";

/** An alert's value and limit as the page writes them: never two units as if they were one. */

export interface AlertNumbers {
  readonly value: string;
  readonly limit: string;
}

/** Rules named `…_spike` compare the robust z-score with their limit; all others the metric itself. */
export function alertNumbers(alert: Pick<Alert, "rule" | "metric" | "value" | "threshold" | "z">): AlertNumbers {
  const unit = unitOf(alert.metric);
  const measured = (value: number) => `${formatUnit(value, unit)}${unit === "" || unit === "bytes" ? "" : ` ${unit}`}`;
  const value = measured(alert.value);
  if (alert.rule.endsWith("_spike") && alert.z !== null)
    return { value, limit: `z ${formatUnit(alert.z, "")} (limit ${formatUnit(alert.threshold, "")})` };
  // Rules without a limit have 0 there: a value that is not a number, rewards that do not differ.
  return { value, limit: alert.threshold === 0 ? "" : `limit ${measured(alert.threshold)}` };
}
