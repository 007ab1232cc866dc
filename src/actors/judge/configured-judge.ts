/** The built-in judges as a configuration describes them. */
import { readFileSync } from "node:fs";
import type { Config } from "../../config/schema.js";
import type { EngineOptions } from "../../contracts/engine.js";
import type { Judge } from "../../contracts/judge.js";
import { WeirError } from "../../errors.js";
import { createOpenAiJudge } from "../../rewards/judge/openai-judge.js";
import { judgePrompt } from "../../rewards/judge/prompt.js";
import { ReplyCache } from "../../rewards/judge/reply-cache.js";
import { createLocalJudge, type StartJudgeEngine } from "./local-judge.js";

type RewardConfig = Config["reward"];

/** The judge over a server. WEIR_E_ACTOR_MISSING where no URL is configured; WEIR_E_CONFIG where its template cannot be read. */
export function createConfiguredJudge(reward: RewardConfig, seed: number): Judge {
  const { url, model, apiKeyEnv, timeoutMs, groupTimeoutMs, retries, hedgeAfterMs, concurrency } = reward.judge;
  const { maxTokens, maxReplyBytes, maxPredictionChars, requestsPerMinute, tokensPerMinute } = reward.judge;
  if (url === null) {
    throw new WeirError(
      "WEIR_E_ACTOR_MISSING",
      "the hybrid reward needs a judge; set reward.judge.url and reward.judge.model, set reward.judge.actor to local and reward.judge.path, name a judge of your own in reward.judge.actor, pass actors.judge, or use reward.actor = rule",
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

/** What a local judge needs besides its configuration. */
export interface JudgeProcess {
  readonly engine: EngineOptions;
  readonly restartDelayMs: number;
  readonly start: StartJudgeEngine;
}

/** The judge that is a local model. WEIR_E_ACTOR_MISSING where no folder is configured; WEIR_E_CONFIG as above. */
export function createConfiguredLocalJudge(reward: RewardConfig, process: JudgeProcess): Judge {
  const { path, template, maxPredictionChars, maxTokens, concurrency, timeoutMs, groupTimeoutMs } = reward.judge;
  if (path === null) {
    throw new WeirError(
      "WEIR_E_ACTOR_MISSING",
      "the local judge needs a model folder; set reward.judge.path to one, or reward.judge.actor to another judge",
      { path: "reward.judge.path" },
    );
  }
  const { mode } = reward;
  return createLocalJudge({
    ...process,
    ...{ path, mode, maxTokens, concurrency, timeoutMs, groupTimeoutMs },
    prompt: judgePrompt({ mode, template: templateText(template), maxPredictionChars }),
    cache: replyCache(reward.judge.cache),
  });
}

/** What names the prompt of the configured judge: another template is another version. Errors: WEIR_E_CONFIG as above. */
export function configuredPromptVersion({ mode, judge }: Pick<RewardConfig, "mode" | "judge">): string {
  const { template, maxPredictionChars } = judge;
  return judgePrompt({ mode, template: templateText(template), maxPredictionChars }).version;
}

/** The text of a template's file; null where none is named. Errors: WEIR_E_CONFIG where it cannot be read. */
function templateText(file: string | null): string | null {
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
function replyCache({ directory, maxBytes }: RewardConfig["judge"]["cache"]): ReplyCache | null {
  if (maxBytes === 0) return null;
  const report = (error: unknown) =>
    process.emitWarning(
      `the folder of the judge's replies cannot be used (${error instanceof Error ? error.message : String(error)}); they are kept in memory only (reward.judge.cache.directory)`,
      { code: "WEIR_E_JUDGE" },
    );
  return new ReplyCache({ directory, maxBytes, report });
}
