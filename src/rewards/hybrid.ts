/**
 * The hybrid reward, r = max(r_rule, r_LLM) (Eq. 14): the judge is asked only where it can change the result, that is
 * where the rule gives less than 1, an answer was parsed and the family is not multiple choice. It is asked once, with the answers
 * as they are written and the first gold answer that the rule can read: further gold answers are other forms of that one,
 * and a judge compares meanings.
 * Invariant: when a judge that was needed fails, the outcome is `timedOut` or `failed`, never a silent 0 (I1).
 */
import { hybridReward } from "../algorithms/hybrid.js";
import type { Judge } from "../contracts/judge.js";
import type { RewardOutcome } from "../contracts/reward.js";
import { type RuleInput, type RuleOptions, ruleOutcome, scoreByRule } from "./rule.js";

export interface HybridInput extends RuleInput {
  /** The question without its document; null where the prompt has no recognisable one. */
  readonly problem: string | null;
}

export async function scoreHybrid(
  input: HybridInput,
  options: RuleOptions,
  judge: Judge,
  signal: AbortSignal,
): Promise<RewardOutcome> {
  const rule = scoreByRule(input, options);
  if (!rule.judgeable || rule.stated === null) return ruleOutcome(rule, options.mode);
  if (input.problem === null) {
    return {
      kind: "failed",
      code: "WEIR_E_DATA",
      reason:
        "the prompt has no question after its document ('</text>') and before 'Format your response as follows:', so the judge cannot be asked; give prompts of that form or use reward.actor = rule",
    };
  }
  const verdict = await judge.ask({ problem: input.problem, ...rule.stated }, { signal });
  if (verdict.kind !== "verdict") return verdict;
  return {
    kind: "scored",
    value: hybridReward(rule.score, verdict.value),
    parts: { rule: rule.score, judge: verdict.value },
    prediction: rule.prediction,
  };
}
