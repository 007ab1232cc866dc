import type { PublishedPolicy } from "../contracts/published-policy.js";

/** Owns a value that readers follow: each reader gets the newest and skips what it was too slow for. */
export class Latest<T> {
  private waiting: (() => void)[] = [];
  private held: T | null = null;

  get value(): T | null {
    return this.held;
  }

  set(value: T | null): void {
    this.held = value;
    const waiting = this.waiting;
    this.waiting = [];
    for (const wake of waiting) wake();
  }

  /** Values for which `isNews` holds against the one given last (null at first), until the signal aborts. */
  async *follow(isNews: (value: T, last: T | null) => boolean, signal: AbortSignal): AsyncGenerator<T> {
    let last: T | null = null;
    while (!signal.aborted) {
      if (this.held !== null && isNews(this.held, last)) {
        last = this.held;
        yield last;
        continue;
      }
      await this.change(signal);
    }
  }

  private change(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        signal.removeEventListener("abort", done);
        this.waiting = this.waiting.filter((other) => other !== done);
        resolve();
      };
      this.waiting.push(done);
      signal.addEventListener("abort", done, { once: true });
    });
  }
}

/**
 * Whether a policy is news for a reader that was given `last`, or knows version `after`: a larger number, or, after a rollback, other
 * weights than those it was given.
 */
export function isNewer({ version }: PublishedPolicy, last: PublishedPolicy | null, after: number): boolean {
  if (last === null) return version.n > after;
  return version.n !== last.version.n || version.sha256 !== last.version.sha256;
}
