/**
 * The hybrid reward: a rule's and a judge's, by default r = max(r_rule, r_LLM) (Eq. 14) with the judge asked where the rule did not
 * succeed and the family is not multiple choice. The judge is asked once, with the answers as they are written and the first gold answer that
 * the rule can read: further gold answers are other forms of that one, and a judge compares meanings.
 * Invariant: where the reward depends on a verdict that did not come, the outcome is `timedOut` or `failed`, never a silent 0 (I1).
 */
import { isCorrect } from "../algorithms/accuracy.js";
import { type CombineOptions, combineRewards, dependsOnJudge } from "../algorithms/hybrid.js";
import type { Judge, JudgeUse } from "../contracts/judge.js";
import type { AskJudgeRule, RewardFamily, RewardMode, RewardOutcome } from "../contracts/reward.js";
import { type RuleResult, ruleOutcome } from "./rule.js";

/** How one family of tasks is scored. */
export interface HybridPolicy extends CombineOptions {
  readonly askJudge: AskJudgeRule;
}

export interface HybridInput {
  readonly rule: RuleResult;
  /** The question without its document; null where the prompt has no recognisable one. */
  readonly problem: string | null;
  /** Names the questions that share one deadline. */
  readonly group: string;
}

/** The paper's reward; the release asks no judge on multiple choice. */
export function paperPolicy(family: RewardFamily | null): HybridPolicy {
  return {
    combine: "max",
    askJudge: family === "multiple-choice" ? "never" : "rule-failed",
    weights: { rule: 0.5, judge: 0.5 },
    correctAt: 1,
  };
}

function asks({ askJudge, correctAt }: HybridPolicy, { score, stated }: RuleResult): boolean {
  if (stated === null || askJudge === "never") return false;
  return askJudge === "always" || !isCorrect(score, correctAt);
}

export async function scoreHybrid(
  { rule, problem, group }: HybridInput,
  policy: HybridPolicy,
  mode: RewardMode,
  judge: Judge,
  signal: AbortSignal,
): Promise<RewardOutcome> {
  const byRule = ruleOutcome(rule, mode);
  if (byRule.kind !== "scored" || rule.stated === null || !asks(policy, rule)) return byRule;
  const isNeeded = dependsOnJudge(policy, rule.score);
  if (problem === null) return isNeeded ? NO_PROBLEM : byRule;
  const verdict = await judge.ask({ problem, ...rule.stated }, { signal, group });
  if (verdict.kind !== "verdict") return isNeeded ? outcomeOf(verdict) : { ...byRule, ...used(verdict.use) };
  return {
    ...byRule,
    value: combineRewards(policy, rule.score, verdict.value),
    parts: { ...byRule.parts, judge: verdict.value },
    ...used(verdict.use),
  };
}

const used = (use: JudgeUse | undefined) => (use === undefined ? {} : { judge: use });

function outcomeOf(fault: Exclude<Awaited<ReturnType<Judge["ask"]>>, { readonly kind: "verdict" }>): RewardOutcome {
  const { use, ...outcome } = fault;
  return { ...outcome, ...used(use) };
}

const NO_PROBLEM: RewardOutcome = {
  kind: "failed",
  code: "WEIR_E_DATA",
  reason:
    "the prompt has no question after its document ('</text>') and before 'Format your response as follows:', so the judge cannot be asked; give prompts of that form or use reward.actor = rule",
};
