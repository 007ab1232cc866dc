/** The built-in reward parts: `rule` (Eq. 12) and `hybrid` (Eq. 14). Both score the text of a rollout, without length shaping. */
import { readFileSync } from "node:fs";
import type { Config } from "../../config/schema.js";
import type { Judge } from "../../contracts/judge.js";
import type { RewardActor, RewardInput } from "../../contracts/reward.js";
import { WeirError } from "../../errors.js";
import { scoreHybrid } from "../../rewards/hybrid.js";
import { createOpenAiJudge } from "../../rewards/judge/openai-judge.js";
import { problemOf } from "../../rewards/judge/problem.js";
import { ReplyCache } from "../../rewards/judge/reply-cache.js";
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

/** The configured judge. WEIR_E_ACTOR_MISSING where no URL is configured; WEIR_E_CONFIG where its template cannot be read. */
export function createConfiguredJudge(reward: Config["reward"], seed: number): Judge {
  const { url, model, apiKeyEnv, timeoutMs, groupTimeoutMs, retries, hedgeAfterMs, concurrency } = reward.judge;
  const { maxTokens, maxReplyBytes, maxPredictionChars, requestsPerMinute, tokensPerMinute } = reward.judge;
  if (url === null) {
    throw new WeirError(
      "WEIR_E_ACTOR_MISSING",
      "the hybrid reward needs a judge; set reward.judge.url and reward.judge.model, name a judge of your own in reward.judge.actor, pass actors.judge, or use reward.actor = rule",
      { path: "reward.judge.url" },
    );
  }
  const { window, failures, share, openMs } = reward.judge.breaker;
  return createOpenAiJudge({
    ...{ url, model, mode: reward.mode, apiKeyEnv, timeoutMs, groupTimeoutMs, retries, hedgeAfterMs, concurrency },
    ...{ maxTokens, maxReplyBytes, maxPredictionChars, requestsPerMinute, tokensPerMinute, seed },
    breaker: { window, failures, share, openMs },
    template: templateText(reward.judge.template),
    cache: replyCache(reward.judge.cache),
  });
}

/** The text of a template's file; null where none is named. Errors: WEIR_E_CONFIG where it cannot be read. */
export function templateText(file: string | null): string | null {
  if (file === null) return null;
  try {
    return readFileSync(file, "utf8");
  } catch (cause) {
    throw new WeirError(
      "WEIR_E_CONFIG",
      `option "reward.judge.template": expected a file with the judge's prompt at "${file}", found none that can be read`,
      { path: "reward.judge.template", file },
      { cause },
    );
  }
}

/** The configured cache of a judge's replies; null where nothing is kept. */
export function replyCache({ directory, maxBytes }: Config["reward"]["judge"]["cache"]): ReplyCache | null {
  if (maxBytes === 0) return null;
  const report = (error: unknown) =>
    process.emitWarning(
      `the folder of the judge's replies cannot be used (${error instanceof Error ? error.message : String(error)}); they are kept in memory only (reward.judge.cache.directory)`,
      { code: "WEIR_E_JUDGE" },
    );
  return new ReplyCache({ directory, maxBytes, report });
}
