import type { Time } from "../system/time.js";

/**
 * Time that stands still while anything can go on and then jumps to the next timer, so that hours pass in milliseconds and every
 * run with the same inputs is the same run. Invariants: a timer fires only after every promise that could settle without it has
 * settled; timers of one instant fire in the order in which they were set.
 */

interface Timer {
  readonly at: number;
  readonly order: number;
  readonly owner: Lifetime | null;
  callback: (() => void) | null;
}

/** Why `run` came back: the goal was reached, nothing is left that could reach it, or more timers fired than allowed. */
export type Ran = "done" | "idle" | "limit";

export class VirtualTime implements Time {
  private readonly heap: Timer[] = [];
  private present = 0;
  private created = 0;
  private waiting = 0;

  /** ms since the beginning. */
  now(): number {
    return this.present;
  }

  /** Timers that are set. */
  get pending(): number {
    return this.waiting;
  }

  set(callback: () => void, ms: number): unknown {
    return this.add(callback, ms, null);
  }

  clear(handle: unknown): void {
    const timer = handle as Timer | null | undefined;
    if (!timer?.callback) return;
    timer.callback = null;
    timer.owner?.ended(timer);
    this.waiting--;
  }

  /** Time for one process: its timers end with it. */
  lifetime(): Lifetime {
    return new Lifetime(this);
  }

  add(callback: () => void, ms: number, owner: Lifetime | null): Timer {
    const timer: Timer = { at: this.present + Math.max(0, ms), order: this.created++, owner, callback };
    this.waiting++;
    this.rise(timer);
    return timer;
  }

  /** Lets time pass until `done`; at most `most` timers fire. */
  async run(done: () => boolean, most = Number.POSITIVE_INFINITY): Promise<Ran> {
    for (let fired = 0; ; fired++) {
      await settled();
      if (done()) return "done";
      if (fired >= most) return "limit";
      const timer = this.next();
      if (timer === null) return "idle";
      this.present = timer.at;
      const { callback } = timer;
      this.clear(timer);
      callback?.();
    }
  }

  /** The next timer that is still set, taken from the heap. */
  private next(): Timer | null {
    for (;;) {
      const [first] = this.heap;
      if (first === undefined) return null;
      this.sink();
      if (first.callback !== null) return first;
    }
  }

  private rise(timer: Timer): void {
    const { heap } = this;
    let at = heap.length;
    heap.push(timer);
    while (at > 0) {
      const above = (at - 1) >> 1;
      const parent = heap[above] as Timer;
      if (!isBefore(timer, parent)) break;
      heap[at] = parent;
      at = above;
    }
    heap[at] = timer;
  }

  /** Removes the first one. */
  private sink(): void {
    const { heap } = this;
    const last = heap.pop() as Timer;
    if (heap.length === 0) return;
    let at = 0;
    for (;;) {
      let below = 2 * at + 1;
      if (below >= heap.length) break;
      if (below + 1 < heap.length && isBefore(heap[below + 1] as Timer, heap[below] as Timer)) below++;
      if (!isBefore(heap[below] as Timer, last)) break;
      heap[at] = heap[below] as Timer;
      at = below;
    }
    heap[at] = last;
  }
}

/** The time of one process. After `abandon` none of its timers fires and none can be set, as after a kill. */
export class Lifetime implements Time {
  private readonly timers = new Set<Timer>();
  private over = false;

  constructor(private readonly whole: VirtualTime) {}

  now(): number {
    return this.whole.now();
  }

  /** Timers of this process that are set. */
  get pending(): number {
    return this.timers.size;
  }

  set(callback: () => void, ms: number): unknown {
    if (this.over) return null;
    const timer = this.whole.add(callback, ms, this);
    this.timers.add(timer);
    return timer;
  }

  clear(handle: unknown): void {
    this.whole.clear(handle);
  }

  abandon(): void {
    this.over = true;
    for (const timer of [...this.timers]) this.whole.clear(timer);
  }

  ended(timer: Timer): void {
    this.timers.delete(timer);
  }
}

const isBefore = (a: Timer, b: Timer): boolean => a.at < b.at || (a.at === b.at && a.order < b.order);

/** Node runs an immediate only when no microtask is left. */
const settled = () => new Promise<void>((resolve) => void setImmediate(resolve));
