import type { MetricName } from "./metrics.js";

/** From the least to the worst. */
export const ALERT_LEVELS = ["info", "warn", "error"] as const;

/**
 * An alarm of a detector, with the rollouts that caused it. It is raised once, updated while its cause lasts (`alert.updated`), and
 * ended (`alert.ended`).
 */
export interface Alert {
  /** Made of the step that raised it, rule and metric. */
  readonly id: string;
  readonly level: (typeof ALERT_LEVELS)[number];
  /** kl_spike, entropy_spike, entropy_collapse, mismatch, non_finite … */
  readonly rule: string;
  readonly metric: MetricName;
  readonly value: number;
  readonly threshold: number;
  /** Robust z-score when the rule uses one. */
  readonly z: number | null;
  readonly step: number;
  readonly phase: number;
  readonly policyVersion: number;
  readonly text: string;
  /** Rollouts that contributed most, with their contribution and the position of the token that contributed most. */
  readonly culprits: readonly {
    readonly rolloutId: string;
    readonly contribution: number;
    readonly tokenIndex: number;
  }[];
  readonly time: number;
}
