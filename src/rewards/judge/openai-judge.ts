/**
 * The judge over an OpenAI-compatible chat server at temperature 0. Invariants: those of `judge.ts`, `server-backend.ts` and `chat-server.ts`; the API
 * key is read from the environment.
 */
import type { Judge } from "../../contracts/judge.js";
import type { RewardMode } from "../../contracts/reward.js";
import { WeirError } from "../../errors.js";
import { environmentSecret } from "../../system/environment-secret.js";
import { redactor } from "../../system/secret.js";
import { BACKOFF_BASE_MS, BACKOFF_CAP_MS, type BackoffOptions } from "./backoff.js";
import type { BreakerSettings } from "./breaker-machine.js";
import { ChatServer } from "./chat-server.js";
import { type Clock, systemClock } from "./clock.js";
import { createJudge } from "./judge.js";
import { judgePrompt } from "./prompt.js";
import type { RateLimits } from "./rate-limit.js";
import type { ReplyCache } from "./reply-cache.js";
import { ServerBackend } from "./server-backend.js";

export interface OpenAiJudgeOptions extends RateLimits {
  /** Base URL up to and including /v1. */
  readonly url: string;
  readonly model: string;
  readonly mode: RewardMode;
  /** Name of the environment variable that holds the key; null sends none. */
  readonly apiKeyEnv: string | null;
  /** Text of a template of one's own; null for the built-in one. */
  readonly template: string | null;
  readonly maxPredictionChars: number;
  readonly maxReplyBytes: number;
  readonly maxTokens: number | null;
  /** Deadline of one request, ms. */
  readonly timeoutMs: number;
  /** Deadline of a question, and of all questions of a group that are open at the same time, ms. */
  readonly groupTimeoutMs: number;
  /** Further tries after the first. */
  readonly retries: number;
  readonly hedgeAfterMs: number | null;
  readonly concurrency: number;
  readonly breaker: BreakerSettings;
  readonly cache: ReplyCache | null;
  /** Seed of the jitter. */
  readonly seed: number;
  readonly backoff?: BackoffOptions;
  readonly clock?: Clock;
  readonly fetch?: typeof globalThis.fetch;
  readonly environment?: Readonly<Record<string, string | undefined>>;
}

/** The question of the breaker's probe. */
const PROBE = { problem: "How much is 1 + 1?", prediction: "2", gold: "2" };

/** Throws WEIR_E_CONFIG for an unusable URL or template, an empty model name or an unset key variable. */
export function createOpenAiJudge(options: OpenAiJudgeOptions): Judge {
  const endpoint = endpointOf(options);
  const key = environmentSecret(
    options.apiKeyEnv,
    { option: "reward.judge.apiKeyEnv", what: "the judge's API key, or clear the option" },
    options.environment,
  );
  const headers: Record<string, string> = { "content-type": "application/json" };
  if (key !== null) headers.authorization = `Bearer ${key}`;
  const redact = redactor(key);
  const { clock = systemClock, fetch = globalThis.fetch } = options;
  const { mode, template, maxPredictionChars, timeoutMs, maxReplyBytes } = options;
  const prompt = judgePrompt({ mode, template, maxPredictionChars });
  const backend = new ServerBackend({
    ...options,
    server: new ChatServer({ endpoint, headers, redact, timeoutMs, maxReplyBytes, clock, fetch }),
    origin: new URL(endpoint).origin,
    probe: prompt.messages(PROBE),
    backoff: options.backoff ?? { baseMs: BACKOFF_BASE_MS, capMs: BACKOFF_CAP_MS },
    clock,
    redact,
  });
  const { cache, groupTimeoutMs, maxTokens } = options;
  return createJudge(backend, { mode, prompt, cache, groupTimeoutMs, maxTokens, clock });
}

function endpointOf(options: OpenAiJudgeOptions): string {
  if (options.model === "") {
    throw new WeirError("WEIR_E_CONFIG", "the judge needs a model name, got none; set reward.judge.model");
  }
  const url = URL.canParse(options.url) ? new URL(options.url) : null;
  if (url !== null && (url.username !== "" || url.password !== "")) {
    throw new WeirError(
      "WEIR_E_CONFIG",
      "the judge's URL should hold no user name or password; remove them and name the variable of the key in reward.judge.apiKeyEnv",
    );
  }
  if (url === null || !/^https?:$/.test(url.protocol)) {
    throw new WeirError(
      "WEIR_E_CONFIG",
      "the judge needs an http(s) base URL that ends in /v1, got something else; set reward.judge.url",
    );
  }
  return `${options.url.replace(/\/+$/, "")}/chat/completions`;
}
