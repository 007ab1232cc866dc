import { asyncScheduler, auditTime, map, type Observable, type SchedulerLike, Subject } from "rxjs";
import type { ActorStatus, LagStatus } from "../contracts/actor-status.js";
import type { BoundedQueue, QueueGauge } from "./bounded-queue.js";

/** What the pipeline shows of itself at one moment. */
export interface PipelineReading {
  readonly queues: readonly QueueGauge[];
  /** The supervision tree, in the order in which the actors were registered. */
  readonly actors: readonly ActorStatus[];
  readonly lag: LagStatus | null;
}

/**
 * The gauges of every queue of the pipeline by name, the status of every actor, and the lag of the last batch. A queue of a name
 * that comes again adds to the earlier one: totals cover the whole run, and so do high-water marks while the bound stays the same, so that
 * I4 can be checked at its end.
 */
export class GaugeBoard {
  private readonly live = new Map<string, BoundedQueue<unknown>>();
  private readonly past = new Map<string, QueueGauge>();
  private readonly actors: (() => ActorStatus | readonly ActorStatus[])[] = [];
  private lastLag: LagStatus | null = null;
  private readonly changes = new Subject<void>();

  /** Registers `queue` under its name; an earlier queue of that name adds to the totals. */
  watch<T>(queue: BoundedQueue<T>): BoundedQueue<T> {
    const before = this.live.get(queue.name);
    if (before) this.past.set(queue.name, this.combined(before));
    this.live.set(queue.name, queue as BoundedQueue<unknown>);
    return queue;
  }

  /** Registers an actor, or a group of actors that may grow and shrink; `read` gives their present status. */
  watchActor(read: () => ActorStatus | readonly ActorStatus[]): void {
    this.actors.push(read);
  }

  /** Present gauges, in the order in which the queues were first shown. */
  read(): readonly QueueGauge[] {
    return [...this.live.values()].map((queue) => this.combined(queue));
  }

  /** Present status of the actors, in the order of their registration; of several with one name, the latest. */
  readActors(): readonly ActorStatus[] {
    const statuses = this.actors.flatMap((read) => read());
    return [...new Map(statuses.map((status) => [status.name, status])).values()];
  }

  /** Tokens by lag of the last batch; null before the first. */
  get lag(): LagStatus | null {
    return this.lastLag;
  }

  /** Shown with the next reading. */
  setLag(lag: LagStatus): void {
    this.lastLag = lag;
  }

  /** Everything as it is now. */
  reading(): PipelineReading {
    return { queues: this.read(), actors: this.readActors(), lag: this.lastLag };
  }

  /**
   * A reading at the end of each interval of `everyMs` in which something was published. However often that was, it is read once:
   * a pipeline may publish per item.
   */
  readings(everyMs: number, scheduler: SchedulerLike = asyncScheduler): Observable<PipelineReading> {
    return this.changes.pipe(
      auditTime(everyMs, scheduler),
      map(() => this.reading()),
    );
  }

  /** Says that something has changed. */
  publish(): void {
    this.changes.next();
  }

  private combined(queue: BoundedQueue<unknown>): QueueGauge {
    const now = queue.gauge();
    const before = this.past.get(queue.name);
    if (!before) return now;
    // A bound that changed with the size of a group has a peak of its own.
    const highest = before.bound === now.bound ? before.highWater : 0;
    return { ...now, highWater: Math.max(now.highWater, highest), passed: now.passed + before.passed };
  }
}
