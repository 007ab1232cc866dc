/** The built-in reward parts: `rule` (Eq. 12) and `hybrid` (Eq. 14). Both score the text of a rollout, without length shaping. */
import type { Config } from "../../config/schema.js";
import type { Judge } from "../../contracts/judge.js";
import type { RewardActor, RewardInput } from "../../contracts/reward.js";
import { WeirError } from "../../errors.js";
import { scoreHybrid } from "../../rewards/hybrid.js";
import { createOpenAiJudge } from "../../rewards/judge/openai-judge.js";
import { problemOf } from "../../rewards/judge/problem.js";
import { type RuleInput, type RuleOptions, ruleOutcome, scoreByRule } from "../../rewards/rule.js";
import { withoutEndText } from "../../rewards/text.js";

/** The response as the rules see it: without its end-of-sequence text. */
function ruleInput({ task, rollout }: RewardInput): RuleInput {
  return { source: task.source, response: withoutEndText(rollout.text), goldAnswers: task.goldAnswers };
}

/** Scores by rule alone. Rejects with WEIR_E_REWARD_SOURCE for an unknown data source. */
export function createRuleReward(options: RuleOptions): RewardActor {
  return {
    kind: "rule",
    specificationVersion: 1,
    async handle(input) {
      return ruleOutcome(scoreByRule(ruleInput(input), options), options.mode);
    },
  };
}

/** Scores by max(rule, judge). Rejects with WEIR_E_REWARD_SOURCE for an unknown data source. */
export function createHybridReward(options: RuleOptions & { readonly judge: Judge }): RewardActor {
  const { judge } = options;
  return {
    kind: "hybrid",
    specificationVersion: 1,
    handle: (input, { signal }) =>
      scoreHybrid({ ...ruleInput(input), problem: problemOf(input.task) }, options, judge, signal),
    dispose: () => judge.dispose?.(),
  };
}

/** The configured judge. WEIR_E_ACTOR_MISSING where no URL is configured. */
export function createConfiguredJudge(reward: Config["reward"], seed: number): Judge {
  const { url, model, apiKeyEnv, timeoutMs, retries, concurrency } = reward.judge;
  if (url === null) {
    throw new WeirError(
      "WEIR_E_ACTOR_MISSING",
      "the hybrid reward needs a judge; set reward.judge.url and reward.judge.model, name a judge of your own in reward.judge.actor, pass actors.judge, or use reward.actor = rule",
      { path: "reward.judge.url" },
    );
  }
  return createOpenAiJudge({ url, model, mode: reward.mode, apiKeyEnv, timeoutMs, retries, concurrency, seed });
}
