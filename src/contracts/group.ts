import type { RewardOutcome } from "./reward.js";
import type { Rollout } from "./rollout.js";
import type { Task } from "./task.js";

/** A rollout with its reward outcome and, when scored, its reward after length shaping (Eq. 7). */
export interface ScoredRollout {
  readonly rollout: Rollout;
  readonly outcome: RewardOutcome;
  /** r_final of Eq. 7; null unless `outcome.kind === "scored"`. */
  readonly reward: number | null;
}

/** What follows when the bound of tries is reached with too few groups: train on those there are, or fail. */
export const SHORT_STEP_RULES = ["proceed", "fail"] as const;
export type ShortStepRule = (typeof SHORT_STEP_RULES)[number];

/** What follows where too few responses of a group could be scored: it is drawn again as another attempt, or the run goes on without it. */
export const UNVIABLE_RULES = ["regenerate", "drop"] as const;
export type UnviableRule = (typeof UNVIABLE_RULES)[number];

/** The G rollouts of a task: the unit of delivery, filtering, cancelling and dead-lettering. */
export interface Group {
  readonly id: string;
  readonly task: Task;
  /** Phase k in [1, K] that issued it. */
  readonly phase: number;
  /** How many times this task had been issued before in this run. */
  readonly visit: number;
  /** True when retrospective sampling brought the task from an earlier phase. */
  readonly carried: boolean;
  /** Position in the order of issue, from 0; the order in which groups are delivered in synchronous mode. */
  readonly sequence: number;
  readonly members: readonly ScoredRollout[]; // [G]
}

/** A rollout ready for the loss: advantages per token, and the mask of tokens that count. */
export interface Sample {
  readonly rollout: Rollout;
  readonly reward: number;
  readonly advantages: readonly number[]; // [T]
}

/** The samples of one group that are trained on; they share one prompt. */
export interface SampleGroup {
  readonly group: Group;
  readonly samples: readonly Sample[];
}

/** What one optimiser step (or several mini-batches of it) trains on. */
export interface Batch {
  readonly step: number;
  readonly phase: number;
  readonly groups: readonly SampleGroup[];
}
