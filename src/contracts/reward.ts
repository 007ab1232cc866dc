import type { JudgeUse } from "./judge.js";
import type { Readiness } from "./readiness.js";
import type { Rollout } from "./rollout.js";
import type { Task } from "./task.js";

/** Whose rules: those of the paper, or of its code release. */
export const REWARD_MODES = ["paper", "released"] as const;
export type RewardMode = (typeof REWARD_MODES)[number];

/** Kinds of tasks, each with a rule of its own. */
export const REWARD_FAMILIES = ["multiple-choice", "numeric", "qa"] as const;
export type RewardFamily = (typeof REWARD_FAMILIES)[number];

/** How the hybrid reward makes one number of the rule's and the judge's: see `combineRewards`. */
export const COMBINATIONS = ["max", "weighted", "first"] as const;
export type Combination = (typeof COMBINATIONS)[number];

/** When the judge is asked: where the rule did not succeed, wherever there are two answers to compare, or never. */
export const ASK_JUDGE_RULES = ["rule-failed", "always", "never"] as const;
export type AskJudgeRule = (typeof ASK_JUDGE_RULES)[number];

/**
 * The outcome of scoring a rollout (I1): only `scored` carries a number that may enter a baseline.
 * `value` is the reward before length shaping; `parts` names its components (rule, judge …).
 */
export type RewardOutcome =
  | {
      readonly kind: "scored";
      readonly value: number;
      readonly parts: Readonly<Record<string, number>>;
      /** Parsed answer, null where none was found. */
      readonly prediction: string | null;
      /** Present where a judge was asked; the same in the two kinds below. */
      readonly judge?: JudgeUse;
    }
  | { readonly kind: "abstained"; readonly reason: string }
  | { readonly kind: "timedOut"; readonly afterMs: number; readonly reason: string; readonly judge?: JudgeUse }
  | { readonly kind: "failed"; readonly code: string; readonly reason: string; readonly judge?: JudgeUse }
  /** The scorer answered, but with something that is not a reward (NaN, out of range). */
  | { readonly kind: "invalid"; readonly reason: string };

export interface RewardInput {
  readonly task: Task;
  readonly rollout: Rollout;
}

/** Scores one rollout. Must obey the signal; may reject, which the pipeline records as `failed`. */
export interface RewardActor {
  readonly kind: string;
  readonly specificationVersion: 1;
  handle(input: RewardInput, options: { readonly signal: AbortSignal }): Promise<RewardOutcome>;
  /** Absent where it always takes work. Nothing is sampled and nothing is scored while it is not ready. */
  readonly readiness?: Readiness;
  /** Makes ready what it needs, such as a model or a module; called before anything else, and again after a loss. */
  connect?(options: { readonly signal: AbortSignal }): Promise<void>;
  dispose?(): Promise<void> | void;
}
