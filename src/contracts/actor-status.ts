/** States of an actor of the training pipeline (src/streams/stage-machine.ts) and of a sampler engine. */
export const ACTOR_STATES = [
  "starting",
  "running",
  "waitingForInput",
  "waitingForRoom",
  "draining",
  "restarting",
  "stopped",
  "failed",
] as const;
export type ActorState = (typeof ACTOR_STATES)[number];

/** True of a change with which a stage ended because the run goes back to a snapshot: nothing is wrong with the stage. */
export function isRolledBack({
  state,
  reason,
}: {
  readonly state: ActorState;
  readonly reason: string | null;
}): boolean {
  return state === "failed" && /^WEIR_E_ROLLBACK\b/.test(reason ?? "");
}

/** One node of the supervision tree, as the monitor shows it. */
export interface ActorStatus {
  /** Unique within a run, such as `rollout` or `sampler-2`. */
  readonly name: string;
  /** Its supervisor's name; null for the run itself. */
  readonly parent: string | null;
  readonly state: ActorState;
  /** Items that it works on at once, at most. */
  readonly workers: number;
  /** Items in work now. */
  readonly busy: number;
  /** Items finished so far. */
  readonly handled: number;
  /** Items given up with a reason so far. */
  readonly dropped: number;
  readonly restarts: number;
  /** Name of its mailbox among the queues; null where it has none. */
  readonly queue: string | null;
  /** Version that it samples from or trains; null where that means nothing. */
  readonly policyVersion: number | null;
  /** Why it restarts or has failed; null otherwise. */
  readonly detail: string | null;
}

/** Tokens of the last batch by lag: `tokens[k]` were sampled k versions before the policy that was trained. */
export interface LagStatus {
  /** `async.maxLag`. */
  readonly bound: number;
  readonly tokens: readonly number[];
}
