/** Tracks unfinished pieces of work and rewards of a run, so that its end can wait for them, within bounds. */
import { realTime, type Timers } from "../system/time.js";

/**
 * How long a stop waits for what was cancelled, ms: longer than an HTTP request needs to be torn down, shorter than a person waits for a
 * prompt. What ignores its signal for longer is left behind.
 */
export const STOP_GRACE_MS = 2_000;

export class InFlight {
  private readonly open = new Set<Promise<unknown>>();

  constructor(private readonly timers: Timers = realTime) {}

  get size(): number {
    return this.open.size;
  }

  /** Tracks `work` until it settles; returns it. */
  track<T>(work: Promise<T>): Promise<T> {
    this.open.add(work);
    const end = () => void this.open.delete(work);
    work.then(end, end);
    return work;
  }

  /** Resolves once all work has settled. Never rejects. */
  async idle(): Promise<void> {
    while (this.open.size > 0) await Promise.allSettled([...this.open]);
  }

  /** Resolves once all work has settled, or after `ms`, with the number of unsettled pieces. Never rejects. */
  async settled(ms: number): Promise<number> {
    if (this.open.size === 0) return 0;
    let timer: unknown;
    const late = new Promise<void>((resolve) => {
      timer = this.timers.set(resolve, ms);
    });
    await Promise.race([this.idle(), late]);
    this.timers.clear(timer);
    return this.open.size;
  }
}
