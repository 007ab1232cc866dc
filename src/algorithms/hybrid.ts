/** Eq. 14: the reward of a rule and a judge. */

/** r = max(r_rule, r_LLM). */
export function hybridReward(rule: number, judge: number): number {
  return Math.max(rule, judge);
}
