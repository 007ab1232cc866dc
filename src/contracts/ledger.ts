/**
 * End and intermediate states of an issued rollout (I2). Each rollout ends in exactly one of `dropped`, `trained` and `rolledBack`;
 * `rolledBack` may take the place of `trained`: the update that trained on it was undone.
 */
export type LedgerState = "issued" | "generated" | "scored" | "dropped" | "trained" | "rolledBack";

export interface LedgerEntry {
  readonly schema_version: 1;
  readonly rolloutId: string;
  readonly groupId: string;
  readonly taskId: string;
  readonly phase: number;
  readonly state: LedgerState;
  /** Why it was dropped: zero_variance, reward_failed, group_too_small, surplus, aborted, stale, rejected, non_finite … */
  readonly reason?: string;
  /** RL step for which it was issued, or that trained on it. */
  readonly step: number;
  readonly policyVersion: number;
}
