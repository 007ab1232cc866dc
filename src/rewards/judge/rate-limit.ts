/**
 * Limits of a server in requests and tokens per minute: in no 60 seconds are more begun. Waiters are served in order of arrival; cancelled
 * ones leave. Tokens are estimated when a request begins and corrected when its answer has come.
 */
import { whenAborted } from "../../system/when-aborted.js";
import type { Clock } from "./clock.js";

export interface RateLimits {
  /** Null sets no limit. */
  readonly requestsPerMinute: number | null;
  readonly tokensPerMinute: number | null;
}

/** A request that has begun; `tokens` is what it counts for. */
export interface Begun {
  readonly at: number;
  tokens: number;
}

interface Waiter {
  readonly tokens: number;
  enter(begun: Begun): void;
}

const MINUTE_MS = 60_000;

export class RateLimit {
  /** Of the last minute, the oldest first; empty without limits. */
  private begun: Begun[] = [];
  private readonly waiting: Waiter[] = [];
  private heldUntil = Number.NEGATIVE_INFINITY;
  private cancelTimer: (() => void) | null = null;

  constructor(
    private readonly limits: RateLimits,
    private readonly clock: Clock,
  ) {}

  /** Lets nothing begin for `ms`: the server has asked for that. */
  hold(ms: number): void {
    this.heldUntil = Math.max(this.heldUntil, this.clock.now() + ms);
  }

  /** Resolves when a request of about `tokens` may begin, or to null when the signal aborts first. */
  take(tokens: number, signal: AbortSignal): Promise<Begun | null> {
    if (signal.aborted) return Promise.resolve(null);
    return new Promise((resolve) => {
      const waiter: Waiter = {
        tokens,
        enter: (begun) => {
          release();
          resolve(begun);
        },
      };
      const release = whenAborted(signal, () => {
        this.waiting.splice(this.waiting.indexOf(waiter), 1);
        resolve(null);
        this.serve();
      });
      this.waiting.push(waiter);
      this.serve();
    });
  }

  /** A request of about `tokens` that begins now; null where it would have to wait. */
  tryTake(tokens: number): Begun | null {
    return this.waiting.length === 0 && this.waitFor(tokens) <= 0 ? this.begin(tokens) : null;
  }

  private begin(tokens: number): Begun {
    const begun = { at: this.clock.now(), tokens };
    if (this.limits.requestsPerMinute !== null || this.limits.tokensPerMinute !== null) this.begun.push(begun);
    return begun;
  }

  private serve(): void {
    this.cancelTimer?.();
    this.cancelTimer = null;
    for (let next = this.waiting[0]; next !== undefined; next = this.waiting[0]) {
      const wait = this.waitFor(next.tokens);
      if (wait > 0) {
        this.cancelTimer = this.clock.after(wait, () => this.serve());
        return;
      }
      this.waiting.shift();
      next.enter(this.begin(next.tokens));
    }
  }

  /** Time until a request of `tokens` may begin, ms; one that is larger than the whole limit may when nothing else counts. */
  private waitFor(tokens: number): number {
    const now = this.clock.now();
    this.begun = this.begun.filter(({ at }) => at + MINUTE_MS > now);
    const { requestsPerMinute, tokensPerMinute } = this.limits;
    let free = this.heldUntil;
    const excess = requestsPerMinute === null ? 0 : this.begun.length - requestsPerMinute + 1;
    if (excess > 0) free = Math.max(free, (this.begun[excess - 1]?.at ?? now) + MINUTE_MS);
    if (tokensPerMinute !== null) {
      let sum = this.begun.reduce((total, request) => total + request.tokens, 0);
      for (const request of this.begun) {
        if (sum + tokens <= tokensPerMinute) break;
        sum -= request.tokens;
        free = Math.max(free, request.at + MINUTE_MS);
      }
    }
    return free - now;
  }
}
