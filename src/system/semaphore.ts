/** A bound on how many things run concurrently; waiters are served in order of arrival, cancelled ones leave. */
import { WeirError } from "../errors.js";

export class Semaphore {
  private free: number;
  private readonly waiting: (() => void)[] = [];

  constructor(readonly limit: number) {
    if (!Number.isInteger(limit) || limit < 1) {
      throw new WeirError("WEIR_E_CONFIG", `a concurrency limit must be an integer of at least 1, got ${limit}`);
    }
    this.free = limit;
  }

  /** Current holders. */
  get held(): number {
    return this.limit - this.free;
  }

  /** A release function (idempotent), or null where nothing is free. */
  tryAcquire(): (() => void) | null {
    if (this.free === 0) return null;
    this.free--;
    return this.releaser();
  }

  /** Resolves to a release function (idempotent), or to null when the signal aborts first. */
  acquire(signal: AbortSignal): Promise<(() => void) | null> {
    if (signal.aborted) return Promise.resolve(null);
    const release = this.tryAcquire();
    if (release !== null) return Promise.resolve(release);
    return new Promise((resolve) => {
      const leave = () => {
        this.waiting.splice(this.waiting.indexOf(enter), 1);
        resolve(null);
      };
      const enter = () => {
        signal.removeEventListener("abort", leave);
        resolve(this.releaser());
      };
      signal.addEventListener("abort", leave, { once: true });
      this.waiting.push(enter);
    });
  }

  /** Runs `work` once there is room. Errors: its own; the reason of the signal where that aborts first. */
  async run<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    const release = await this.acquire(signal);
    if (release === null) throw signal.reason;
    try {
      return await work();
    } finally {
      release();
    }
  }

  /** The slot goes straight to the next waiter, so that a newcomer cannot overtake. */
  private releaser(): () => void {
    let done = false;
    return () => {
      if (done) return;
      done = true;
      const next = this.waiting.shift();
      if (next) next();
      else this.free++;
    };
  }
}
