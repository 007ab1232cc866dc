import { BehaviorSubject, type Observable } from "rxjs";
import type { BoundedQueue, QueueGauge } from "./bounded-queue.js";

/**
 * The gauges of every queue of the pipeline, by name. Queues live for one RL step; high-water marks and totals cover the
 * whole run, so that I4 can be checked at its end.
 */
export class GaugeBoard {
  private readonly live = new Map<string, BoundedQueue<unknown>>();
  private readonly past = new Map<string, QueueGauge>();
  private readonly changes = new BehaviorSubject<readonly QueueGauge[]>([]);

  /** Registers `queue` under its name; an earlier queue of that name adds to the totals. */
  watch<T>(queue: BoundedQueue<T>): BoundedQueue<T> {
    const before = this.live.get(queue.name);
    if (before) this.past.set(queue.name, this.combined(before));
    this.live.set(queue.name, queue as BoundedQueue<unknown>);
    return queue;
  }

  /** Present gauges, in the order in which the queues were first shown. */
  read(): readonly QueueGauge[] {
    return [...this.live.values()].map((queue) => this.combined(queue));
  }

  /** Emits the current gauges at every `publish`. */
  get observable(): Observable<readonly QueueGauge[]> {
    return this.changes.asObservable();
  }

  publish(): void {
    this.changes.next(this.read());
  }

  private combined(queue: BoundedQueue<unknown>): QueueGauge {
    const now = queue.gauge();
    const before = this.past.get(queue.name);
    if (!before) return now;
    return { ...now, highWater: Math.max(now.highWater, before.highWater), passed: now.passed + before.passed };
  }
}
