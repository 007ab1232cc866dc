import type { Json } from "../contracts/task.js";
import type { DeadLetter, Lease, WorkQueue, WorkResult } from "../contracts/work-queue.js";
import { WeirError } from "../errors.js";

/**
 * The work queue inside one process. Invariants: ready and leased tasks never exceed `bound`, results never `resultBound`; an id
 * ends once, in a result or as a dead letter; a lease that expires gives its task back.
 */

export interface MemoryWorkQueueOptions {
  /** Tasks that are ready or leased. */
  readonly bound: number;
  /** Results that wait for their reader. */
  readonly resultBound: number;
  /** How long a lease lasts, ms. */
  readonly leaseMs: number;
  /** Deliveries of a task before it becomes a dead letter. */
  readonly maxAttempts: number;
  readonly clock?: () => number;
}

interface Entry<Task> {
  readonly id: string;
  readonly task: Task;
  attempts: number;
  /** Not delivered before this time. */
  notBefore: number;
}

interface Held<Task> {
  readonly entry: Entry<Task>;
  readonly attempt: number;
  expiresAt: number;
  /** One of the calls that end a lease has been made. */
  ending: boolean;
}

/** Longest sleep between two looks at expired leases, ms. */
const LONGEST_WAIT_MS = 1_000;

export function createMemoryWorkQueue<Task, Result>(options: MemoryWorkQueueOptions): WorkQueue<Task, Result> {
  return new MemoryWorkQueue(options);
}

class MemoryWorkQueue<Task, Result> implements WorkQueue<Task, Result> {
  readonly kind = "memory";
  readonly specificationVersion = 1;
  private readonly known = new Set<string>();
  private readonly ready: Entry<Task>[] = [];
  private readonly leased = new Map<string, Held<Task>>();
  private readonly finished: { readonly id: string; readonly result: Result }[] = [];
  /** Results that their reader has and has not committed. */
  private readonly uncommitted = new Set<string>();
  private readonly letters: DeadLetter[] = [];
  private record: Json = null;
  private waiting: (() => void)[] = [];
  private readonly clock: () => number;

  constructor(private readonly options: MemoryWorkQueueOptions) {
    this.clock = options.clock ?? Date.now;
  }

  async offer(
    task: Task,
    { id, deadlineMs, signal }: { readonly id: string; readonly deadlineMs: number; readonly signal: AbortSignal },
  ): Promise<"accepted" | "duplicate" | "full"> {
    const until = this.clock() + deadlineMs;
    for (;;) {
      signal.throwIfAborted();
      if (this.known.has(id)) return "duplicate";
      if (this.ready.length + this.leased.size < this.options.bound) break;
      const left = until - this.clock();
      if (left <= 0) return "full";
      await this.change(signal, left);
    }
    this.known.add(id);
    this.ready.push({ id, task, attempts: 0, notBefore: 0 });
    this.wake();
    return "accepted";
  }

  async take({ max, signal }: { readonly max: number; readonly signal: AbortSignal }): Promise<Lease<Task, Result>[]> {
    while (!signal.aborted) {
      this.reclaim();
      const now = this.clock();
      const due = this.ready.filter(({ notBefore }) => notBefore <= now).slice(0, max);
      if (due.length > 0) return due.map((entry) => this.lease(entry));
      await this.change(signal, this.nextEvent() - now);
    }
    return [];
  }

  async *results({ signal }: { readonly signal: AbortSignal }): AsyncGenerator<WorkResult<Result>> {
    while (!signal.aborted) {
      const next = this.finished.find(({ id }) => !this.uncommitted.has(id));
      if (next === undefined) {
        await this.change(signal, LONGEST_WAIT_MS);
        continue;
      }
      this.uncommitted.add(next.id);
      yield { ...next, commit: async () => this.commit(next.id) };
    }
  }

  async *dead({ signal }: { readonly signal: AbortSignal }): AsyncGenerator<DeadLetter> {
    while (!signal.aborted) {
      this.reclaim();
      const next = this.letters.shift();
      if (next !== undefined) yield next;
      else await this.change(signal, this.nextEvent() - this.clock());
    }
  }

  async depth(): Promise<{ readonly ready: number; readonly leased: number; readonly results: number }> {
    this.reclaim();
    return { ready: this.ready.length, leased: this.leased.size, results: this.finished.length };
  }

  async clear(): Promise<void> {
    this.ready.length = 0;
    this.leased.clear();
    this.finished.length = 0;
    this.uncommitted.clear();
    this.letters.length = 0;
    this.wake();
  }

  async announce(record: Json): Promise<void> {
    this.record = record;
  }

  async announced(): Promise<Json> {
    return this.record;
  }

  private commit(id: string): void {
    const at = this.finished.findIndex((one) => one.id === id);
    if (at < 0) return;
    this.finished.splice(at, 1);
    this.uncommitted.delete(id);
    this.wake();
  }

  private lease(entry: Entry<Task>): Lease<Task, Result> {
    this.ready.splice(this.ready.indexOf(entry), 1);
    entry.attempts += 1;
    const held: Held<Task> = {
      entry,
      attempt: entry.attempts,
      expiresAt: this.clock() + this.options.leaseMs,
      ending: false,
    };
    this.leased.set(entry.id, held);
    const { id, task } = entry;
    return {
      id,
      task,
      attempt: held.attempt,
      get expiresAt() {
        return held.expiresAt;
      },
      extend: async () => {
        this.assertHeld(held);
        held.expiresAt = this.clock() + this.options.leaseMs;
      },
      done: (result) => this.finish(held, result),
      retry: async (delayMs) => {
        this.endLease(held);
        this.giveBack(held, this.clock() + delayMs);
      },
      reject: async (reason) => {
        this.endLease(held);
        this.bury(held, reason);
      },
    };
  }

  /** Waits for room; the lease is held meanwhile, so that nobody else does the work again. */
  private async finish(held: Held<Task>, result: Result): Promise<void> {
    this.endLease(held);
    held.expiresAt = Number.POSITIVE_INFINITY;
    const { signal } = new AbortController();
    while (this.finished.length >= this.options.resultBound && this.leased.get(held.entry.id) === held)
      await this.change(signal, LONGEST_WAIT_MS);
    if (this.leased.get(held.entry.id) !== held) throw expired(held);
    this.leased.delete(held.entry.id);
    this.finished.push({ id: held.entry.id, result });
    this.wake();
  }

  /** Errors: WEIR_E_STATE for a second call that ends the lease; as `assertHeld`. */
  private endLease(held: Held<Task>): void {
    this.assertHeld(held);
    held.ending = true;
  }

  private assertHeld(held: Held<Task>): void {
    if (held.ending) throw new WeirError("WEIR_E_STATE", `the lease of "${held.entry.id}" has ended already`);
    this.reclaim();
    if (this.leased.get(held.entry.id) === held) return;
    throw expired(held);
  }

  /** Gives back the tasks of leases that have expired. */
  private reclaim(): void {
    const now = this.clock();
    for (const held of [...this.leased.values()]) if (held.expiresAt <= now) this.giveBack(held, now);
  }

  private giveBack(held: Held<Task>, notBefore: number): void {
    if (held.entry.attempts >= this.options.maxAttempts) {
      this.bury(held, `delivered ${held.entry.attempts} times without a result`);
      return;
    }
    this.leased.delete(held.entry.id);
    held.entry.notBefore = notBefore;
    this.ready.push(held.entry);
    this.wake();
  }

  private bury({ entry }: Held<Task>, reason: string): void {
    this.leased.delete(entry.id);
    this.letters.push({ id: entry.id, attempts: entry.attempts, reason });
    this.wake();
  }

  /** When the next lease expires or the next delayed task is due. */
  private nextEvent(): number {
    const times = [
      ...[...this.leased.values()].map(({ expiresAt }) => expiresAt),
      ...this.ready.map(({ notBefore }) => notBefore),
    ];
    const now = this.clock();
    return Math.min(now + LONGEST_WAIT_MS, ...times.filter((time) => time > now));
  }

  private wake(): void {
    const { waiting } = this;
    this.waiting = [];
    for (const resume of waiting) resume();
  }

  /** Resolves when something changes, the time is over, or the signal aborts. */
  private change(signal: AbortSignal, waitMs: number): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        signal.removeEventListener("abort", done);
        this.waiting = this.waiting.filter((other) => other !== done);
        resolve();
      };
      const timer = setTimeout(done, Math.min(Math.max(waitMs, 0), LONGEST_WAIT_MS));
      this.waiting.push(done);
      signal.addEventListener("abort", done, { once: true });
    });
  }
}

function expired({ entry, attempt }: Held<unknown>): WeirError {
  return new WeirError(
    "WEIR_E_WORK_QUEUE",
    `the lease of "${entry.id}" (delivery ${attempt}) has expired or ended; what was done under it is not taken`,
    { id: entry.id, attempt },
  );
}
