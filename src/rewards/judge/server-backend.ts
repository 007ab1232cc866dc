/**
 * Conversations with a chat server, patiently: bounds on requests in flight and per minute, tries with back-off after 429, 5xx, broken
 * connections and late answers, a second request where an answer takes long, and a circuit breaker. Invariants: faults are completions, never
 * rejections; a place is returned on every path (I4); at most `concurrency` requests are in flight, second ones included.
 */
import { counterKey } from "../../algorithms/random.js";
import type { ChatMessage } from "../../contracts/task.js";
import { Semaphore } from "../../system/semaphore.js";
import { BACKOFF_CAP_MS, type BackoffOptions, backoffMs } from "./backoff.js";
import { Breaker } from "./breaker.js";
import type { BreakerSettings } from "./breaker-machine.js";
import type { ChatBackend, Completion, CompletionOptions, Meter } from "./chat-backend.js";
import type { ChatAnswer, ChatRequest, ChatServer } from "./chat-server.js";
import { type Clock, pause } from "./clock.js";
import { type Begun, RateLimit, type RateLimits } from "./rate-limit.js";

export interface ServerBackendOptions extends RateLimits {
  readonly server: ChatServer;
  /** Origin of the server, for messages. */
  readonly origin: string;
  readonly model: string;
  /** Further tries after the first. */
  readonly retries: number;
  readonly concurrency: number;
  /** Time after which a second request is sent, ms; null sends none. */
  readonly hedgeAfterMs: number | null;
  readonly breaker: BreakerSettings;
  /** A conversation with a short answer, by which the breaker finds out whether the server answers again. */
  readonly probe: readonly ChatMessage[];
  /** Seed of the jitter. */
  readonly seed: number;
  readonly backoff: BackoffOptions;
  readonly clock: Clock;
  readonly redact: (text: string) => string;
}

/** Characters of a token, and tokens of a reply, by which a request counts before its answer says how many they are. */
const CHARACTERS_PER_TOKEN = 4;
const REPLY_TOKENS = 256;
/** An answer of any length shows that the server is there. */
const PROBE_TOKENS = 16;

const CANCELLED: Completion = { kind: "failed", reason: "the question was cancelled" };

export class ServerBackend implements ChatBackend {
  readonly kind = "openai";
  readonly readiness: Breaker;
  private readonly slots: Semaphore;
  private readonly rate: RateLimit;

  constructor(private readonly options: ServerBackendOptions) {
    const { breaker, origin, clock, concurrency } = options;
    this.slots = new Semaphore(concurrency);
    this.rate = new RateLimit(options, clock);
    this.readiness = new Breaker({ ...breaker, server: origin, clock, probe: (signal) => this.probe(signal) });
  }

  get model(): string {
    return this.options.model;
  }

  redact(text: string): string {
    return this.options.redact(text);
  }

  async complete(messages: readonly ChatMessage[], options: CompletionOptions): Promise<Completion> {
    const { retries, seed, backoff, clock, model } = this.options;
    const { signal, maxTokens, meter } = options;
    const request: ChatRequest = { model, messages, maxTokens };
    const jitter = counterKey(seed, "judge-jitter", JSON.stringify(messages));
    for (let tries = 1; ; tries++) {
      const answer = await this.placed(request, signal, meter);
      if (answer.kind === "text") return { kind: "text", text: answer.text, cut: answer.cut };
      if (answer.kind === "cancelled") return CANCELLED;
      meter.lastFault = answer.reason;
      if (answer.kind === "refused") return { kind: "failed", reason: answer.reason };
      const asked = answer.kind === "retry" ? answer.retryAfterMs : null;
      if (asked !== null) this.rate.hold(Math.min(asked, BACKOFF_CAP_MS));
      if (tries > retries) return this.gaveUp(answer, tries);
      if (!(await pause(clock, backoffMs(tries, jitter, backoff, asked), signal))) return CANCELLED;
    }
  }

  dispose(): void {
    this.readiness.stop();
  }

  private gaveUp(answer: Extract<ChatAnswer, { kind: "retry" | "late" }>, tries: number): Completion {
    const reason = `${answer.reason}; gave up after ${tries} ${tries === 1 ? "try" : "tries"}`;
    if (answer.kind === "late") return { kind: "timedOut", afterMs: answer.afterMs, reason };
    // One that only ever says "later" is away, too; a single 429 is no fault.
    if (!answer.away) this.readiness.failed(answer.reason);
    return { kind: "failed", reason };
  }

  /** Sends a request as soon as the breaker is closed, a slot is free and the limits allow it. */
  private async placed(request: ChatRequest, signal: AbortSignal, meter: Meter): Promise<ChatAnswer> {
    for (;;) {
      if (!(await this.readiness.closed(signal))) return { kind: "cancelled" };
      const release = await this.slots.acquire(signal);
      if (release === null) return { kind: "cancelled" };
      try {
        const begun = await this.rate.take(tokensOf(request), signal);
        if (begun === null) return { kind: "cancelled" };
        if (!this.readiness.state().ready) continue;
        return await this.hedged(request, begun, signal, meter);
      } finally {
        release();
      }
    }
  }

  /** The first completion of the request and, where that takes long, of a second one; where both fail, the last fault. */
  private hedged(request: ChatRequest, begun: Begun, signal: AbortSignal, meter: Meter): Promise<ChatAnswer> {
    const { hedgeAfterMs, clock } = this.options;
    if (hedgeAfterMs === null) return this.sent(request, begun, signal, meter);
    return new Promise((resolve) => {
      const ended = new AbortController();
      const either = AbortSignal.any([signal, ended.signal]);
      let open = 0;
      const start = (place: Begun, release: () => void) => {
        open++;
        void this.sent(request, place, either, meter).then((answer) => {
          release();
          open--;
          if (answer.kind !== "text" && open > 0) return;
          cancelTimer();
          ended.abort();
          resolve(answer);
        });
      };
      const second = () => {
        const release = this.slots.tryAcquire();
        const place = release === null ? null : this.rate.tryTake(tokensOf(request));
        if (release !== null && place !== null) start(place, release);
        else release?.();
      };
      const cancelTimer = clock.after(hedgeAfterMs, second);
      start(begun, () => undefined);
    });
  }

  /** One request, counted by the meter, the limits and the breaker. */
  private async sent(request: ChatRequest, begun: Begun, signal: AbortSignal, meter: Meter): Promise<ChatAnswer> {
    meter.requests++;
    const answer = await this.options.server.send(request, signal);
    if (answer.kind === "text") {
      const { promptTokens, completionTokens } = answer;
      meter.add(promptTokens, completionTokens);
      if (promptTokens !== null && completionTokens !== null) begun.tokens = promptTokens + completionTokens;
      this.readiness.answered();
    } else if (answer.kind === "late") this.readiness.failed(answer.reason);
    else if (answer.kind === "refused" && !answer.away) this.readiness.answered();
    else if (answer.kind !== "cancelled" && answer.away) this.readiness.failed(answer.reason);
    return answer;
  }

  private async probe(signal: AbortSignal): Promise<void> {
    const request: ChatRequest = { model: this.options.model, messages: this.options.probe, maxTokens: PROBE_TOKENS };
    const answer = await this.options.server.send(request, signal);
    if (answer.kind === "text" || (answer.kind === "refused" && !answer.away)) return;
    throw new Error(answer.kind === "cancelled" ? "the probe was cancelled" : answer.reason);
  }
}

function tokensOf({ messages, maxTokens }: ChatRequest): number {
  const characters = messages.reduce((sum, { content }) => sum + (content?.length ?? 0), 0);
  return Math.ceil(characters / CHARACTERS_PER_TOKEN) + (maxTokens ?? REPLY_TOKENS);
}
