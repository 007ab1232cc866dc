/**
 * The judge over an OpenAI-compatible chat server: T = 0, one deadline per request, retries with back-off on 429, 5xx
 * and broken connections, a bound on requests in flight, cancelling.
 * Invariants: every fault of the remote side is a verdict (`timedOut`, `failed`), never a number and never a rejection (I1);
 * a slot is returned on every path (I4); the API key is read from the environment, goes to the configured origin alone and
 * appears in no message; a server's answer is bounded in size and, from connection to last byte, in time.
 */

import { counterKey } from "../../algorithms/random.js";
import type { Judge, JudgeQuery, JudgeVerdict } from "../../contracts/judge.js";
import type { RewardMode } from "../../contracts/reward.js";
import { WeirError } from "../../errors.js";
import { retryAfterMs } from "../../system/retry-after.js";
import { redactor } from "../../system/secret.js";
import { BACKOFF_BASE_MS, BACKOFF_CAP_MS, type BackoffOptions, backoffMs } from "./backoff.js";
import { BODY_LIMIT, boundedText } from "./body.js";
import { type Clock, pause, systemClock } from "./clock.js";
import { judgeMessages } from "./prompt.js";
import { parseJudgeReply } from "./reply.js";
import { Semaphore } from "./semaphore.js";

export interface OpenAiJudgeOptions {
  /** Base URL up to and including /v1. */
  readonly url: string;
  readonly model: string;
  readonly mode: RewardMode;
  /** Name of the environment variable that holds the key; null sends none. */
  readonly apiKeyEnv: string | null;
  /** Deadline of one request, ms. */
  readonly timeoutMs: number;
  /** Further tries after the first. */
  readonly retries: number;
  readonly concurrency: number;
  /** Seed of the jitter. */
  readonly seed: number;
  readonly backoff?: BackoffOptions;
  readonly clock?: Clock;
  readonly fetch?: typeof globalThis.fetch;
  readonly environment?: Readonly<Record<string, string | undefined>>;
}

type Attempt =
  | { readonly kind: "reply"; readonly text: string }
  | { readonly kind: "retry"; readonly reason: string; readonly retryAfterMs: number | null }
  | { readonly kind: "final"; readonly verdict: JudgeVerdict };

/** Longest piece of a server's error text that goes into a reason. */
const ERROR_TEXT_LIMIT = 200;
const TOO_LONG = `the judge's answer is longer than ${BODY_LIMIT} bytes`;
/** Redirects that are followed; they stay on the configured origin. */
const REDIRECT_LIMIT = 3;

/** Throws WEIR_E_CONFIG for an unusable URL, an empty model name or an unset key variable. */
export function createOpenAiJudge(options: OpenAiJudgeOptions): Judge {
  const endpoint = endpointOf(options);
  const key = keyOf(options);
  const headers: Record<string, string> = { "content-type": "application/json" };
  if (key !== null) headers.authorization = `Bearer ${key}`;
  const redact = redactor(key);
  const { clock = systemClock, fetch = globalThis.fetch } = options;
  const backoff = options.backoff ?? { baseMs: BACKOFF_BASE_MS, capMs: BACKOFF_CAP_MS };
  const slots = new Semaphore(options.concurrency);

  /** One request under its deadline. */
  const attempt = async (body: string, signal: AbortSignal): Promise<Attempt> => {
    const controller = new AbortController();
    const started = clock.now();
    let late = false;
    const abort = () => controller.abort();
    signal.addEventListener("abort", abort, { once: true });
    const cancelDeadline = clock.after(options.timeoutMs, () => {
      late = true;
      controller.abort();
    });
    try {
      const request = { method: "POST", headers, body, signal: controller.signal, redirect: "manual" } as const;
      const response = await followed(fetch, endpoint, request);
      if (response.status === 429 || response.status >= 500) {
        void response.body?.cancel().catch(() => {});
        return retryOf(response);
      }
      const text = await boundedText(response);
      return text === null ? { kind: "final", verdict: failed(TOO_LONG) } : classify(response, text, redact);
    } catch (error) {
      if (signal.aborted) return { kind: "final", verdict: cancelled() };
      if (late) {
        const reason = `the judge gave no answer within ${options.timeoutMs} ms`;
        return { kind: "final", verdict: { kind: "timedOut", afterMs: Math.round(clock.now() - started), reason } };
      }
      return { kind: "retry", reason: `the connection failed (${causeOf(error)})`, retryAfterMs: null };
    } finally {
      cancelDeadline();
      signal.removeEventListener("abort", abort);
    }
  };

  return {
    kind: "openai",
    specificationVersion: 1,
    async ask(query, { signal }) {
      const release = await slots.acquire(signal);
      if (release === null) return cancelled();
      try {
        const body = requestBody(options.model, query);
        const jitter = counterKey(options.seed, "judge-jitter", query.problem, query.prediction, query.gold);
        for (let tries = 1; ; tries++) {
          const result = await attempt(body, signal);
          if (result.kind === "reply") return verdictOf(result.text, options.mode, redact);
          if (result.kind === "final") return result.verdict;
          if (tries > options.retries) return failed(`${result.reason}; gave up after ${tries} tries`);
          const waited = await pause(clock, backoffMs(tries, jitter, backoff, result.retryAfterMs), signal);
          if (!waited) return cancelled();
        }
      } finally {
        release();
      }
    },
  };
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

/** The key, white space at its ends aside; null where none is configured. */
function keyOf(options: OpenAiJudgeOptions): string | null {
  const variable = options.apiKeyEnv;
  if (variable === null) return null;
  const key = (options.environment ?? process.env)[variable]?.trim();
  if (key === undefined || key === "") {
    throw new WeirError(
      "WEIR_E_CONFIG",
      `the environment variable ${variable} should hold the judge's API key but is not set; set it or clear reward.judge.apiKeyEnv`,
      { variable },
    );
  }
  if (!/^[\x21-\x7e]+$/.test(key)) {
    throw new WeirError(
      "WEIR_E_CONFIG",
      `the environment variable ${variable} should hold the judge's API key, visible ASCII characters without spaces, but holds others; set it again`,
      { variable },
    );
  }
  return key;
}

/** The answer to a request. Redirects (307, 308) are followed on the same origin only, so that the key goes nowhere else. */
async function followed(fetch: typeof globalThis.fetch, url: string, request: RequestInit): Promise<Response> {
  for (let hops = 0; ; hops++) {
    const response = await fetch(url, request);
    const location = response.headers.get("location");
    if ((response.status !== 307 && response.status !== 308) || location === null || hops === REDIRECT_LIMIT)
      return response;
    if (!URL.canParse(location, url) || new URL(location, url).origin !== new URL(url).origin) return response;
    await response.body?.cancel();
    url = new URL(location, url).href;
  }
}

function requestBody(model: string, query: JudgeQuery): string {
  return JSON.stringify({ model, messages: judgeMessages(query), temperature: 0, n: 1 });
}

function retryOf(response: Response): Attempt {
  const wait = retryAfterMs(response.headers.get("retry-after"));
  return { kind: "retry", reason: `the judge answered with status ${response.status}`, retryAfterMs: wait };
}

/** What an answer that needs no further try means. The key is redacted before a text is cut: a cut could spare half of it. */
function classify(response: Response, text: string, redact: (text: string) => string): Attempt {
  const status = response.status;
  if (status >= 300 && status < 400) {
    const reason = `the judge redirected the request (status ${status}), which is followed only within the configured host; set reward.judge.url to the final address`;
    return { kind: "final", verdict: failed(reason) };
  }
  if (!response.ok) {
    const detail = redact(text).slice(0, ERROR_TEXT_LIMIT).replace(/\s+/g, " ");
    return { kind: "final", verdict: failed(`the judge refused the request with status ${status}: ${detail}`) };
  }
  const content = contentOf(text);
  if (content === null) {
    return { kind: "final", verdict: failed("the judge's answer is not a chat completion with text content") };
  }
  return { kind: "reply", text: content };
}

/** choices[0].message.content of a chat completion; null where the body is anything else. */
function contentOf(text: string): string | null {
  try {
    const body = JSON.parse(text) as { choices?: { message?: { content?: unknown } }[] } | null;
    const content = body?.choices?.[0]?.message?.content;
    return typeof content === "string" ? content : null;
  } catch {
    return null;
  }
}

function verdictOf(reply: string, mode: RewardMode, redact: (text: string) => string): JudgeVerdict {
  const value = parseJudgeReply(reply, mode);
  const clean = redact(reply);
  if (value !== null) return { kind: "verdict", value, reply: clean };
  const tail = clean.slice(-ERROR_TEXT_LIMIT).replace(/\s+/g, " ");
  return failed(`the judge's reply holds neither [[YES]] nor [[NO]]: ${JSON.stringify(tail)}`);
}

function failed(reason: string): JudgeVerdict {
  return { kind: "failed", code: "WEIR_E_JUDGE", reason };
}

function cancelled(): JudgeVerdict {
  return failed("the question was cancelled");
}

/** The system's error code of a failed fetch (ECONNREFUSED …), never its message, which may hold the URL or headers. */
function causeOf(error: unknown): string {
  const cause = (error as { cause?: { code?: unknown } } | null)?.cause;
  return typeof cause?.code === "string" ? cause.code : "no further detail";
}
