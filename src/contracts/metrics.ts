import type { MetricName, MetricValues, RegisteredName } from "../streams/telemetry/metrics.js";

export type { MetricName, MetricValues, RegisteredName };

/** Scalars of one step, by registered name. */
export interface MetricRecord {
  readonly step: number;
  readonly phase: number;
  readonly time: number;
  readonly values: MetricValues;
}
