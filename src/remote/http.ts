/**
 * Calls to a server over HTTP, for every part that has one. Invariants: each call has a deadline, from connection to last byte, and
 * ends with its signal (I5); a call is sent again only where the caller says that this is safe; the key goes to the configured origin
 * alone and is in no message; an answer is bounded in size. TLS, its authorities and proxies are Node's (NODE_EXTRA_CA_CERTS,
 * NODE_USE_ENV_PROXY).
 */
import { WeirError } from "../errors.js";
import { pause } from "../system/pause.js";
import { retryAfterMs } from "../system/retry-after.js";
import { redactor } from "../system/secret.js";
import type { Time } from "../system/time.js";

/** Whether a call may be sent again: `never`, only where it cannot have been taken in (`unsent`: no connection), or after any failure. */
export type Repeat = "never" | "unsent" | "always";

export interface HttpOptions {
  /** Origin, perhaps with a path that calls are below. */
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Is shown in no message. */
  readonly secret: string | null;
  /** How long a call is tried again, ms; 0 tries it once. */
  readonly patienceMs: number;
  readonly time: Time;
  readonly fetch?: typeof globalThis.fetch;
}

export interface HttpCall {
  readonly method?: "GET" | "POST" | "DELETE";
  /** Below the URL, with a leading slash. */
  readonly path: string;
  /** Sent as JSON; with `bytes` neither. */
  readonly json?: unknown;
  readonly bytes?: Uint8Array;
  readonly headers?: Readonly<Record<string, string>>;
  /** Of one try, ms. */
  readonly deadlineMs: number;
  readonly signal: AbortSignal;
  readonly repeat: Repeat;
  /** Most bytes of the answer; 64 MiB when left out. */
  readonly maxBytes?: number;
}

export interface HttpAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly bytes: Uint8Array;
  /** As text; for messages and for JSON. */
  text(): string;
  /** Errors: WEIR_E_REMOTE where it is no JSON. */
  json(): unknown;
}

const DEFAULT_MAX_BYTES = 64 * 2 ** 20;
const FIRST_WAIT_MS = 250;
const LONGEST_WAIT_MS = 10_000;
/** Longest piece of a server's own words in a message. */
const EXCERPT = 300;
/** Answers that say that the server cannot be had now; a gateway's, or its own. */
const AWAY = new Set([502, 503, 504]);
/** Connections that were refused or never made: the call has not been taken in. */
const UNSENT = new Set([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "UND_ERR_CONNECT_TIMEOUT",
]);

export class HttpClient {
  private readonly base: URL;
  private readonly fetch: typeof globalThis.fetch;
  private readonly redacted: (text: string) => string;

  /** Errors: WEIR_E_CONFIG for an address that is none, or that holds a user name or password. */
  constructor(private readonly options: HttpOptions) {
    this.base = baseOf(options.url);
    this.fetch = options.fetch ?? globalThis.fetch;
    this.redacted = redactor(options.secret);
  }

  get url(): string {
    return this.base.href.replace(/\/$/, "");
  }

  /**
   * The answer, whatever its status but 429, 502, 503 and 504, which are waited out like a broken connection where `repeat` allows it.
   * Errors: WEIR_E_UNREACHABLE after `patienceMs` of such; the reason of the signal; WEIR_E_REMOTE for an answer that is too long.
   */
  async call(call: HttpCall): Promise<HttpAnswer> {
    const { time, patienceMs } = this.options;
    const started = time.now();
    for (let tries = 1; ; tries++) {
      const outcome = await this.once(call);
      if ("answer" in outcome) return outcome.answer;
      const spent = time.now() - started;
      const wait =
        outcome.waitMs ?? Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** (tries - 1)) * (0.5 + Math.random() / 2);
      const again = call.repeat === "always" || (call.repeat === "unsent" && outcome.unsent);
      if (!again || spent + wait > patienceMs) throw this.unreachable(call, outcome, tries, spent);
      await pause(time, wait, call.signal);
    }
  }

  /** An answer of status 2xx. Errors: as `call`; WEIR_E_REMOTE with the server's own words for another status. */
  async ok(call: HttpCall): Promise<HttpAnswer> {
    const answer = await this.call(call);
    if (answer.status >= 200 && answer.status < 300) return answer;
    throw this.refusal(call, answer);
  }

  /** WEIR_E_REMOTE for an answer that refuses a call; `details.status` is its status. */
  refusal({ method = "POST", path }: Pick<HttpCall, "method" | "path">, answer: HttpAnswer): WeirError {
    const { status } = answer;
    return new WeirError(
      "WEIR_E_REMOTE",
      `${this.url} refused ${method} ${path} with status ${status}: ${this.redacted(excerptOf(answer.text()))}`,
      { url: this.url, path, status },
    );
  }

  private async once(call: HttpCall): Promise<Outcome> {
    const { method = "POST", path, json, bytes, deadlineMs, signal } = call;
    signal.throwIfAborted();
    const late = new AbortController();
    const timer = this.options.time.set(() => late.abort(), deadlineMs);
    const body = json === undefined ? bytes : JSON.stringify(json);
    try {
      const response = await this.fetch(new URL(path.replace(/^\//, ""), this.base), {
        method,
        headers: {
          ...(json === undefined ? {} : { "content-type": "application/json" }),
          ...this.options.headers,
          ...call.headers,
        },
        ...(body === undefined ? {} : { body: body as BodyInit }),
        signal: AbortSignal.any([signal, late.signal]),
        // A redirect to another origin would carry the key there.
        redirect: "manual",
      });
      const answer = answerOf(response, await readBody(response, call.maxBytes ?? DEFAULT_MAX_BYTES, this.url, path));
      if (!AWAY.has(response.status) && response.status !== 429) return { answer };
      const text = `it answered with status ${response.status}: ${this.redacted(excerptOf(answer.text()))}`;
      return { text, unsent: response.status === 429, waitMs: retryAfterMs(response.headers.get("retry-after")) };
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      if (WeirError.isInstance(error)) throw error;
      if (late.signal.aborted)
        return { text: `it gave no answer within ${deadlineMs} ms`, unsent: false, waitMs: null };
      const { code, message } = causeOf(error);
      return { text: this.redacted(message), unsent: UNSENT.has(code), waitMs: null };
    } finally {
      this.options.time.clear(timer);
    }
  }

  private unreachable({ path }: HttpCall, { text }: Failure, tries: number, spentMs: number): WeirError {
    const times = tries === 1 ? "once" : `${tries} times over ${Math.round(spentMs / 1000)} s`;
    return new WeirError(
      "WEIR_E_UNREACHABLE",
      `${this.url} cannot be reached (${path}, tried ${times}): ${text}; start the server, or correct its address`,
      { url: this.url, path },
    );
  }
}

interface Failure {
  readonly text: string;
  /** The server has not taken the call in. */
  readonly unsent: boolean;
  /** What the server asks to wait; null where it says nothing. */
  readonly waitMs: number | null;
}

type Outcome = { readonly answer: HttpAnswer } | Failure;

function baseOf(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || !/^https?:$/.test(url.protocol) || url.username !== "" || url.password !== "")
    throw new WeirError(
      "WEIR_E_CONFIG",
      "a server's address is http:// or https:// with a host and no user name or password; name the variable of its key instead",
    );
  if (!url.pathname.endsWith("/")) url.pathname += "/";
  return url;
}

function answerOf(response: Response, bytes: Uint8Array): HttpAnswer {
  const text = () => new TextDecoder().decode(bytes);
  return {
    status: response.status,
    headers: response.headers,
    bytes,
    text,
    json() {
      try {
        return JSON.parse(text()) as unknown;
      } catch (cause) {
        throw new WeirError(
          "WEIR_E_REMOTE",
          `${response.url} answered ${excerptOf(text())}, which is no JSON`,
          {},
          { cause },
        );
      }
    },
  };
}

async function readBody(response: Response, limit: number, url: string, path: string): Promise<Uint8Array> {
  if (response.body === null) return new Uint8Array();
  const reader = response.body.getReader();
  const parts: Uint8Array[] = [];
  for (let size = 0; ; ) {
    const { done, value } = await reader.read();
    if (done) return new Uint8Array(Buffer.concat(parts));
    size += value.byteLength;
    if (size > limit) {
      void reader.cancel().catch(() => undefined);
      throw new WeirError("WEIR_E_REMOTE", `${url} answered ${path} with more than ${limit} bytes`, { url, path });
    }
    parts.push(value);
  }
}

function causeOf(error: unknown): { readonly code: string; readonly message: string } {
  const inner = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const code = (inner as { readonly code?: unknown } | null)?.code;
  return {
    code: typeof code === "string" ? code : "",
    message: inner instanceof Error ? inner.message || String(code) : String(inner),
  };
}

function excerptOf(text: string): string {
  const line = text.replace(/\s+/g, " ").trim();
  return line.length > EXCERPT ? `${line.slice(0, EXCERPT)}…` : line || "nothing";
}
