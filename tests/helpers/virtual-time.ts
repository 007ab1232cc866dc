import type { Time } from "../../src/system/time.js";

/** Lets everything happen that waits for no timer. */
export async function settled(): Promise<void> {
  for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve));
}

interface Timer {
  readonly at: number;
  readonly callback: () => void;
}

/** A clock that moves only when a test moves it. */
export class VirtualTime implements Time {
  private clock = 0;
  private readonly timers = new Set<Timer>();

  now(): number {
    return this.clock;
  }

  set(callback: () => void, ms: number): unknown {
    const timer = { at: this.clock + ms, callback };
    this.timers.add(timer);
    return timer;
  }

  clear(handle: unknown): void {
    this.timers.delete(handle as Timer);
  }

  /** Timers that have not fired. */
  get pending(): number {
    return this.timers.size;
  }

  /** Moves on by `ms`, firing timers in the order of their times. */
  async advance(ms: number): Promise<void> {
    const end = this.clock + ms;
    await settled();
    for (let next = this.next(end); next !== null; next = this.next(end)) {
      this.clock = next.at;
      this.timers.delete(next);
      next.callback();
      await settled();
    }
    this.clock = end;
  }

  private next(end: number): Timer | null {
    let first: Timer | null = null;
    for (const timer of this.timers) if (timer.at <= end && (first === null || timer.at < first.at)) first = timer;
    return first;
  }
}
