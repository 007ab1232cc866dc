/**
 * A bounded queue of events behind an async iterator. When the reader falls behind by more than the bound, all events are
 * dropped, and `refill` asks for a fresh snapshot at the next read.
 */

/** Events held for a slow reader: some minutes of a busy channel. */
const BOUND = 1_000;

export class EventQueue<T> implements AsyncIterableIterator<T> {
  private held: T[] = [];
  private waiter: ((result: IteratorResult<T>) => void) | null = null;
  private overflowed = false;
  private ended = false;
  /** Called once when the iteration ends. */
  onEnd: (() => void) | null = null;

  constructor(
    private readonly refill: () => void,
    private readonly bound: number = BOUND,
  ) {}

  push(event: T): void {
    if (this.ended || this.overflowed) return;
    if (this.waiter) {
      const resolve = this.waiter;
      this.waiter = null;
      resolve({ value: event, done: false });
    } else if (this.held.length < this.bound) this.held.push(event);
    else {
      this.held = [];
      this.overflowed = true;
    }
  }

  next(): Promise<IteratorResult<T>> {
    const event = this.held.shift();
    if (event !== undefined) return Promise.resolve({ value: event, done: false });
    if (this.ended) return Promise.resolve({ value: undefined, done: true });
    return new Promise((resolve) => {
      this.waiter = resolve;
      if (!this.overflowed) return;
      this.overflowed = false;
      this.refill();
    });
  }

  return(): Promise<IteratorResult<T>> {
    this.end();
    return Promise.resolve({ value: undefined, done: true });
  }

  end(): void {
    if (this.ended) return;
    this.ended = true;
    this.waiter?.({ value: undefined, done: true });
    this.waiter = null;
    this.onEnd?.();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
