import { WeirError } from "../errors.js";
import { whenAborted } from "../system/when-aborted.js";

/** The observable state of a queue; shown by the monitor and asserted by tests. */
export interface QueueGauge {
  readonly name: string;
  readonly bound: number;
  /** Items held now. */
  readonly depth: number;
  /** Most items ever held at once; never above `bound` (I4). */
  readonly highWater: number;
  /** Producers waiting for room. */
  readonly waitingProducers: number;
  /** Consumers waiting for an item: open demand. */
  readonly waitingConsumers: number;
  /** Items delivered to consumers so far. */
  readonly passed: number;
}

/** Pulled once a queue is closed and empty. */
export const END = Symbol("end of queue");

/** Taken from a queue that has nothing at the moment. */
export const NOTHING = Symbol("nothing yet");

interface Waiter<T> {
  resolve(value: T): void;
  reject(error: unknown): void;
}

interface CallOptions {
  /** Withdraws a call that still waits; one that has been granted stands. */
  readonly signal?: AbortSignal;
}

/**
 * A first-in-first-out queue with a name and a bound: `push` waits for room, `pull` waits for an item.
 * Invariants: depth never exceeds the bound (I4); items leave in the order they came;
 * `close` lets consumers drain, `fail` rejects every waiting party with the error.
 */
export class BoundedQueue<T> {
  private readonly items: T[] = [];
  private readonly producers: (Waiter<void> & { item: T })[] = [];
  private readonly consumers: Waiter<T | typeof END>[] = [];
  private closed = false;
  private failure: { error: unknown } | null = null;
  private highWater = 0;
  private passed = 0;

  /** Errors: WEIR_E_CONFIG when the bound is not a positive integer. */
  constructor(
    readonly name: string,
    readonly bound: number,
  ) {
    if (!Number.isInteger(bound) || bound < 1) {
      throw new WeirError("WEIR_E_CONFIG", `queue "${name}": expected a bound that is an integer ≥ 1, got ${bound}`, {
        name,
        bound,
      });
    }
  }

  /** Resolves once the item is in the queue or with a consumer. Rejects after `close` or `fail`, and with the reason of `signal`. */
  push(item: T, { signal }: CallOptions = {}): Promise<void> {
    if (this.offer(item)) return Promise.resolve();
    if (this.failure) return Promise.reject(this.failure.error);
    if (this.closed)
      return Promise.reject(
        new WeirError("WEIR_E_STATE", `queue "${this.name}" is closed; nothing can be pushed`, { name: this.name }),
      );
    if (signal?.aborted) return Promise.reject(signal.reason as Error);
    return new Promise((resolve, reject) => {
      const waiter = { item, resolve, reject };
      this.producers.push(signal ? withdrawing(this.producers, waiter, signal) : waiter);
    });
  }

  /** Pushes the item where that needs no waiting; false where it has not been taken. */
  offer(item: T): boolean {
    if (this.ended) return false;
    const consumer = this.consumers.shift();
    if (consumer) {
      this.passed++;
      consumer.resolve(item);
      return true;
    }
    if (this.items.length >= this.bound) return false;
    this.items.push(item);
    this.highWater = Math.max(this.highWater, this.items.length);
    return true;
  }

  /** The oldest item where there is one now. */
  take(): T | typeof NOTHING {
    if (this.items.length === 0) return NOTHING;
    const item = this.items.shift() as T;
    this.passed++;
    const producer = this.producers.shift();
    if (producer) {
      this.items.push(producer.item);
      producer.resolve();
    }
    return item;
  }

  /** The oldest item, as soon as there is one; END when the queue is closed and empty. Rejects with the reason of `signal`. */
  pull({ signal }: CallOptions = {}): Promise<T | typeof END> {
    if (this.failure) return Promise.reject(this.failure.error);
    const item = this.take();
    if (item !== NOTHING) return Promise.resolve(item);
    if (this.closed) return Promise.resolve(END);
    if (signal?.aborted) return Promise.reject(signal.reason as Error);
    return new Promise((resolve, reject) => {
      const waiter = { resolve, reject };
      this.consumers.push(signal ? withdrawing(this.consumers, waiter, signal) : waiter);
    });
  }

  /** No more items will come. Producers that wait for room keep their place. */
  close(): void {
    this.closed = true;
    if (this.items.length === 0) for (const consumer of this.consumers.splice(0)) consumer.resolve(END);
  }

  /** Drops all items and rejects every waiting and later call with `error`. Later failures are ignored. */
  fail(error: unknown): void {
    if (this.failure) return;
    this.failure = { error };
    this.items.length = 0;
    for (const waiter of [...this.producers.splice(0), ...this.consumers.splice(0)]) waiter.reject(error);
  }

  /** Closed or failed. */
  get ended(): boolean {
    return this.closed || this.failure !== null;
  }

  gauge(): QueueGauge {
    return {
      name: this.name,
      bound: this.bound,
      depth: this.items.length,
      highWater: this.highWater,
      waitingProducers: this.producers.length,
      waitingConsumers: this.consumers.length,
      passed: this.passed,
    };
  }
}

/** The waiter, taken out of the list with the signal's reason when that aborts first. */
function withdrawing<T, W extends Waiter<T>>(list: W[], waiter: W, signal: AbortSignal): W {
  const guarded: W = {
    ...waiter,
    resolve: (value: T) => {
      forget();
      waiter.resolve(value);
    },
    reject: (error: unknown) => {
      forget();
      waiter.reject(error);
    },
  };
  const forget = whenAborted(signal, () => {
    const at = list.indexOf(guarded);
    if (at < 0) return;
    list.splice(at, 1);
    guarded.reject(signal.reason);
  });
  return guarded;
}
