/** Eq. 14 and its variants: one reward of a rule's and a judge's. */
import type { Combination } from "../contracts/reward.js";
import { isCorrect } from "./accuracy.js";

/** r = max(r_rule, r_LLM). */
export function hybridReward(rule: number, judge: number): number {
  return Math.max(rule, judge);
}

export interface CombineOptions {
  readonly combine: Combination;
  /** w_rule and w_judge of `weighted`, at least 0 and not both 0. */
  readonly weights: { readonly rule: number; readonly judge: number };
  /** Smallest reward that counts as a success. */
  readonly correctAt: number;
}

/**
 * The reward of a rule and of a judge that was asked; `judge` is null where it was not, and then r = r_rule.
 *
 *   max:      r = max(r_rule, r_judge)                                           (Eq. 14)
 *   weighted: r = (w_rule·r_rule + w_judge·r_judge) / (w_rule + w_judge)
 *   first:    r = r_rule where that is a success, else r_judge where that is one, else the larger of the two
 */
export function combineRewards(options: CombineOptions, rule: number, judge: number | null): number {
  if (judge === null) return rule;
  const { combine, weights, correctAt } = options;
  switch (combine) {
    case "max":
      return hybridReward(rule, judge);
    case "weighted":
      return (weights.rule * rule + weights.judge * judge) / (weights.rule + weights.judge);
    case "first":
      if (isCorrect(rule, correctAt)) return rule;
      return isCorrect(judge, correctAt) ? judge : hybridReward(rule, judge);
  }
}

/** Whether the judge's verdict, 0 or 1, changes the reward. */
export function dependsOnJudge(options: CombineOptions, rule: number): boolean {
  return combineRewards(options, rule, 0) !== combineRewards(options, rule, 1);
}
