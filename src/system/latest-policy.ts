import type { PublishedPolicy } from "../contracts/published-policy.js";

/** The policy that was published last, for readers that follow it: each gets the newest and skips what it was too slow for. */
export class LatestPolicy {
  private waiting: (() => void)[] = [];
  private held: PublishedPolicy | null = null;

  get value(): PublishedPolicy | null {
    return this.held;
  }

  set(value: PublishedPolicy): void {
    this.held = value;
    const waiting = this.waiting;
    this.waiting = [];
    for (const wake of waiting) wake();
  }

  /** `watch` of a policy store: policies newer than version `after`, until the signal aborts. */
  async *watch(after: number, { signal }: { readonly signal: AbortSignal }): AsyncGenerator<PublishedPolicy> {
    let last: PublishedPolicy | null = null;
    while (!signal.aborted) {
      if (this.held !== null && isNewer(this.held, last, after)) {
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
function isNewer({ version }: PublishedPolicy, last: PublishedPolicy | null, after: number): boolean {
  if (last === null) return version.n > after;
  return version.n !== last.version.n || version.sha256 !== last.version.sha256;
}
