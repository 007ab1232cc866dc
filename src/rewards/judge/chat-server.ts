/**
 * One request to an OpenAI-compatible chat server. Invariants: the API key goes to the configured origin alone and is in no message; the
 * answer is bounded in size and, from connection to last byte, in time.
 */
import type { ChatMessage } from "../../contracts/task.js";
import { retryAfterMs } from "../../system/retry-after.js";
import { boundedText } from "./body.js";
import type { Clock } from "./clock.js";

export interface ChatRequest {
  readonly model: string;
  readonly messages: readonly ChatMessage[];
  readonly maxTokens: number | null;
}

/** What a request came to. `away` says whether the fault is the server's state rather than this question. */
export type ChatAnswer =
  | {
      readonly kind: "text";
      readonly text: string;
      readonly cut: boolean;
      readonly promptTokens: number | null;
      readonly completionTokens: number | null;
    }
  | { readonly kind: "retry"; readonly reason: string; readonly away: boolean; readonly retryAfterMs: number | null }
  | { readonly kind: "late"; readonly afterMs: number; readonly reason: string }
  | { readonly kind: "refused"; readonly reason: string; readonly away: boolean }
  | { readonly kind: "cancelled" };

export interface ChatServerOptions {
  /** Address of the chat completions. */
  readonly endpoint: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly redact: (text: string) => string;
  readonly timeoutMs: number;
  readonly maxReplyBytes: number;
  readonly clock: Clock;
  readonly fetch: typeof globalThis.fetch;
}

/** Longest piece of a server's error text that goes into a reason. */
const ERROR_TEXT_LIMIT = 200;
/** Redirects that are followed; they stay on the configured origin. */
const REDIRECT_LIMIT = 3;
/** Statuses that are about this one question: malformed, too long, not processable. Others are about the server or the key. */
const QUESTION_STATUSES = new Set([400, 413, 422]);
const TOO_MANY = 429;

export class ChatServer {
  constructor(private readonly options: ChatServerOptions) {}

  /** Sends a request under its deadline. Never rejects. */
  async send({ model, messages, maxTokens }: ChatRequest, signal: AbortSignal): Promise<ChatAnswer> {
    const { timeoutMs, clock } = this.options;
    const limit = maxTokens === null ? {} : { max_tokens: maxTokens };
    const body = JSON.stringify({ model, messages, temperature: 0, n: 1, ...limit });
    const controller = new AbortController();
    const started = clock.now();
    let late = false;
    const abort = () => controller.abort();
    if (signal.aborted) return { kind: "cancelled" };
    signal.addEventListener("abort", abort, { once: true });
    const cancelDeadline = clock.after(timeoutMs, () => {
      late = true;
      controller.abort();
    });
    try {
      return await this.answer(body, controller.signal);
    } catch (error) {
      if (signal.aborted) return { kind: "cancelled" };
      if (late) {
        const reason = `the judge gave no answer within ${timeoutMs} ms`;
        return { kind: "late", afterMs: Math.round(clock.now() - started), reason };
      }
      const reason = `the connection failed (${causeOf(error)})`;
      return { kind: "retry", reason, away: true, retryAfterMs: null };
    } finally {
      cancelDeadline();
      signal.removeEventListener("abort", abort);
    }
  }

  private async answer(body: string, signal: AbortSignal): Promise<ChatAnswer> {
    const { endpoint, headers, fetch, maxReplyBytes } = this.options;
    const request = { method: "POST", headers, body, signal, redirect: "manual" } as const;
    const response = await followed(fetch, endpoint, request);
    const { status } = response;
    if (status === TOO_MANY || status >= 500) {
      void response.body?.cancel().catch(() => {});
      const wait = retryAfterMs(response.headers.get("retry-after"));
      const reason = `the judge answered with status ${status}`;
      return { kind: "retry", reason, away: status !== TOO_MANY, retryAfterMs: wait };
    }
    const text = await boundedText(response, maxReplyBytes);
    if (text === null)
      return { kind: "refused", reason: `the judge's answer is longer than ${maxReplyBytes} bytes`, away: true };
    return response.ok ? completionOf(text) : this.refusal(status, text);
  }

  /** What an answer without a completion means. The key is redacted before a text is cut: a cut could spare half of it. */
  private refusal(status: number, text: string): ChatAnswer {
    if (status >= 300 && status < 400) {
      const reason = `the judge redirected the request (status ${status}), which is followed only within the configured host; set reward.judge.url to the final address`;
      return { kind: "refused", reason, away: true };
    }
    const detail = this.options.redact(text).slice(0, ERROR_TEXT_LIMIT).replace(/\s+/g, " ");
    const reason = `the judge refused the request with status ${status}: ${detail}`;
    return { kind: "refused", reason, away: !QUESTION_STATUSES.has(status) };
  }
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

interface CompletionBody {
  readonly choices?: readonly { readonly message?: { readonly content?: unknown }; readonly finish_reason?: unknown }[];
  readonly usage?: { readonly prompt_tokens?: unknown; readonly completion_tokens?: unknown } | null;
}

/** choices[0] of a chat completion. A body that is no JSON may be a gateway's and is asked for again; JSON of another shape is not. */
function completionOf(text: string): ChatAnswer {
  const reason = "the judge's answer is not a chat completion with text content";
  let body: CompletionBody | null;
  try {
    body = JSON.parse(text) as CompletionBody | null;
  } catch {
    return { kind: "retry", reason, away: true, retryAfterMs: null };
  }
  const choice = Array.isArray(body?.choices) ? body.choices[0] : undefined;
  const content = choice?.message?.content;
  if (typeof content !== "string") return { kind: "refused", reason, away: true };
  return {
    kind: "text",
    text: content,
    cut: choice?.finish_reason === "length",
    promptTokens: countOf(body?.usage?.prompt_tokens),
    completionTokens: countOf(body?.usage?.completion_tokens),
  };
}

function countOf(value: unknown): number | null {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 ? value : null;
}

/** The system's error code of a failed fetch (ECONNREFUSED …), never its message, which may hold the URL or headers. */
function causeOf(error: unknown): string {
  const cause = (error as { cause?: { code?: unknown } } | null)?.cause;
  return typeof cause?.code === "string" ? cause.code : "no further detail";
}
