import { Observable } from "rxjs";
import { WeirError } from "../errors.js";
import { whenAborted } from "../system/when-aborted.js";
import { BoundedQueue, END, NOTHING } from "./bounded-queue.js";
import { InFlight } from "./in-flight.js";

/**
 * A stage of a pipeline as an operator: it pulls items from its mailbox, a bounded queue, works on at most `workers` of them at
 * once, and delivers what they become to the mailbox of the next stage, which holds it back when it is full. Stages are put
 * together with RxJS's `pipe`:
 *
 *   pipe(source({ name: "tasks", next }), stage({ name: "rollout", … }), stage({ name: "reward", … }))
 *
 * Subscribing to `running` lets a stage work; unsubscribing cancels what is in work. Invariants: the mailbox never exceeds its bound
 * (I4); an item is delivered once, however often the stage is stopped and started: what was in work is taken up again, what was
 * delivered is not delivered twice.
 */

/** What follows an error of `handle`. `restart` is for the stage's supervisor, which gives up after some; `fail` is for the run. */
export type Remedy =
  | { readonly action: "retry" }
  | { readonly action: "drop"; readonly reason: string }
  | { readonly action: "restart" }
  | { readonly action: "fail" };

export interface HandleOptions {
  /** Aborts when the stage is stopped; the result is no longer wanted then. */
  readonly signal: AbortSignal;
  /** Earlier calls with this item: those that failed, and those that a stop of the stage has cut short. */
  readonly earlier: number;
}

interface CommonOptions<Out> {
  readonly name: string;
  /** Delivers in the order in which items came; else as they are finished. */
  readonly ordered?: boolean;
  /** Called before an output is delivered, once for each. */
  readonly delivering?: (output: Out) => void;
}

export interface StageOptions<In, Out> extends CommonOptions<Out> {
  /** Items in work at once. */
  readonly workers: number;
  /** Bound of the mailbox. */
  readonly bound: number;
  /** Name of the mailbox among the queues; the stage's own where it is left out. */
  readonly queue?: string;
  /** What an item becomes, in the order of delivery; nothing is fine. */
  handle(item: In, options: HandleOptions): Promise<readonly Out[]> | readonly Out[];
  /** Without it every error is `fail`. */
  readonly onError?: (error: unknown, item: In, failures: number) => Remedy;
  /** An item was given up. */
  readonly onDrop?: (item: In, reason: string) => void;
}

export interface SourceOptions<Out> extends CommonOptions<Out> {
  /** The next item, END after the last. */
  next(options: { readonly signal: AbortSignal }): Promise<Out | typeof END>;
}

/** What a stage does at a moment. */
export interface StageStatus {
  readonly name: string;
  readonly workers: number;
  readonly busy: number;
  /** Workers that wait for the next stage's mailbox. */
  readonly waitingForRoom: number;
  readonly handled: number;
  readonly dropped: number;
  readonly queue: string | null;
  /** Nothing more will come into the mailbox. */
  readonly ended: boolean;
}

/** An error that ends a stage; its supervisor may start the stage again where `restartable`. */
export class StageFailure extends Error {
  constructor(
    readonly stage: string,
    override readonly cause: unknown,
    readonly restartable: boolean,
  ) {
    super(`stage ${stage}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}

/** A stage without the types of its items, as a supervisor sees it. */
export interface SupervisedStage {
  readonly name: string;
  readonly mailbox: BoundedQueue<unknown> | null;
  /** Runs the stage while it is subscribed to; completes when the mailbox has ended and nothing is in work. Errors: StageFailure. */
  readonly running: Observable<never>;
  /**
   * Resolves once nothing of the stage is at work: no worker, and no call of `handle`, also where it goes on after its signal has
   * aborted. Never rejects.
   */
  settled(): Promise<void>;
  status(): StageStatus;
}

/** The open end of a chain of stages. */
export interface Flow<Out> {
  readonly stages: readonly SupervisedStage[];
  connect(mailbox: BoundedQueue<Out>): void;
}

/** A stage that takes its items from a function. */
export function source<Out>(options: SourceOptions<Out>): Flow<Out> {
  const made = new Stage<Out, Out>({ ...options, workers: 1, handle: (item) => [item] }, null, async (signal) =>
    options.next({ signal }),
  );
  return { stages: [made], connect: (mailbox) => made.connect(mailbox) };
}

/** A stage behind others. Errors: WEIR_E_CONFIG for a bound or a number of workers that is not a positive integer. */
export function stage<In, Out>(options: StageOptions<In, Out>): (before: Flow<In>) => Flow<Out> {
  return (before) => {
    if (!Number.isInteger(options.workers) || options.workers < 1)
      throw new WeirError("WEIR_E_CONFIG", `stage "${options.name}": expected workers ≥ 1, got ${options.workers}`);
    const mailbox = new BoundedQueue<In>(options.queue ?? options.name, options.bound);
    const made = new Stage<In, Out>(
      options,
      mailbox,
      (signal) => mailbox.pull({ signal }),
      () => mailbox.take(),
    );
    before.connect(mailbox);
    return { stages: [...before.stages, made], connect: (next) => made.connect(next) };
  };
}

/** An item in work. */
interface Job<In, Out> {
  readonly item: In;
  /** Position in the order in which items came. */
  readonly ticket: number;
  failures: number;
  /** Calls of `handle` so far. */
  calls: number;
  outputs: readonly Out[] | null;
  /** Outputs that `delivering` has been told of. */
  announced: number;
  delivered: number;
}

type WorkOptions<In, Out> = Omit<StageOptions<In, Out>, "bound">;

class Stage<In, Out> implements SupervisedStage {
  readonly name: string;
  readonly mailbox: BoundedQueue<unknown> | null;
  private next: BoundedQueue<Out> | null = null;
  /** Taken and not finished, the oldest first; at most one for each worker. */
  private readonly open = new Set<Job<In, Out>>();
  /** Of these, the ones that no worker has. */
  private left: Job<In, Out>[] = [];
  private tickets = 0;
  /** Ticket whose outputs are delivered next, where the order counts. */
  private turn = 0;
  private turnWaiters: (() => void)[] = [];
  private waitingForRoom = 0;
  private handled = 0;
  private dropped = 0;
  private present: Promise<unknown> = Promise.resolve();
  /** Calls of `handle` that no worker waits for any more. */
  private readonly abandoned = new InFlight();

  constructor(
    private readonly options: WorkOptions<In, Out>,
    mailbox: BoundedQueue<In> | null,
    private readonly take: (signal: AbortSignal) => Promise<In | typeof END>,
    /** The same where nothing has to be waited for. */
    private readonly takeNow: () => In | typeof NOTHING = () => NOTHING,
  ) {
    this.name = options.name;
    this.mailbox = mailbox as BoundedQueue<unknown> | null;
  }

  connect(next: BoundedQueue<Out>): void {
    this.next = next;
  }

  get running(): Observable<never> {
    return new Observable<never>((subscriber) => {
      const own = new AbortController();
      // Whatever an earlier subscription still has in work ends before this one begins.
      const work = this.present.then(() => this.workAll(own));
      this.present = work.then(
        () => undefined,
        () => undefined,
      );
      work.then(
        () => {
          this.next?.close();
          subscriber.complete();
        },
        (error) => subscriber.error(error),
      );
      return () => own.abort();
    });
  }

  async settled(): Promise<void> {
    await this.present;
    await this.abandoned.idle();
  }

  status(): StageStatus {
    const { name, mailbox, handled, dropped, waitingForRoom } = this;
    return {
      name,
      workers: this.options.workers,
      busy: this.open.size,
      waitingForRoom,
      handled,
      dropped,
      queue: mailbox?.name ?? null,
      ended: mailbox?.ended ?? false,
    };
  }

  /** Runs all workers to the end of the mailbox. Rejects, after all have ended, with what went wrong first. */
  private async workAll(own: AbortController): Promise<void> {
    own.signal.throwIfAborted();
    this.left = [...this.open].sort((a, b) => a.ticket - b.ticket);
    this.waitingForRoom = 0;
    let failed = false;
    let failure: unknown;
    const worker = async () => {
      try {
        await this.work(own.signal);
      } catch (error) {
        if (failed) return;
        failed = true;
        // A stage that was stopped has not failed, and nobody listens to it any more.
        failure =
          error instanceof StageFailure || own.signal.aborted ? error : new StageFailure(this.name, error, false);
        // One for all: the others stop, and their items wait for the restart.
        own.abort(error);
      }
    };
    await Promise.all(Array.from({ length: this.options.workers }, worker));
    if (failed) throw failure;
  }

  private async work(signal: AbortSignal): Promise<void> {
    const abandon = new Abandon(signal, this.abandoned);
    try {
      for (;;) {
        signal.throwIfAborted();
        const job = this.left.shift() ?? this.begin(this.takeNow()) ?? this.begin(await this.take(signal));
        if (job === null) return;
        if (job.outputs === null) await this.carryOut(job, abandon, signal);
        await this.finish(job, signal);
      }
    } finally {
      abandon.release();
    }
  }

  private begin(item: In | typeof END | typeof NOTHING): Job<In, Out> | null {
    if (item === END || item === NOTHING) return null;
    const job: Job<In, Out> = {
      item,
      ticket: this.tickets++,
      failures: 0,
      calls: 0,
      outputs: null,
      announced: 0,
      delivered: 0,
    };
    this.open.add(job);
    return job;
  }

  private async carryOut(job: Job<In, Out>, abandon: Abandon, signal: AbortSignal): Promise<void> {
    while (job.outputs === null) {
      // An item that came at the moment of a stop waits for the next start.
      signal.throwIfAborted();
      try {
        const outputs = this.options.handle(job.item, { signal, earlier: job.calls++ });
        job.outputs = outputs instanceof Promise ? await abandon.race(outputs) : outputs;
      } catch (error) {
        signal.throwIfAborted();
        this.remedy(job, error);
      }
    }
  }

  /** Delivers what has become of the item. */
  private async finish(job: Job<In, Out>, signal: AbortSignal): Promise<void> {
    const outputs = job.outputs ?? [];
    if (this.options.ordered) await this.myTurn(job, signal);
    while (job.delivered < outputs.length) {
      const output = outputs[job.delivered] as Out;
      this.announce(job, output);
      // Once it has been taken it counts as delivered, also where the stage is stopped at that moment.
      if (this.next !== null && !this.next.offer(output)) await this.waitForRoom(this.next, output, signal);
      job.delivered++;
    }
    this.open.delete(job);
    this.handled++;
    this.turn = job.ticket + 1;
    this.wakeTurns();
  }

  private announce(job: Job<In, Out>, output: Out): void {
    if (job.announced > job.delivered) return;
    this.options.delivering?.(output);
    job.announced++;
  }

  private async waitForRoom(next: BoundedQueue<Out>, output: Out, signal: AbortSignal): Promise<void> {
    this.waitingForRoom++;
    try {
      await next.push(output, { signal });
    } finally {
      this.waitingForRoom--;
    }
  }

  /** Counts the failure; throws where the stage ends by it. */
  private remedy(job: Job<In, Out>, error: unknown): void {
    const { onError, onDrop, name } = this.options;
    const remedy = onError?.(error, job.item, job.failures) ?? { action: "fail" };
    job.failures++;
    if (remedy.action === "retry") return;
    if (remedy.action !== "drop") throw new StageFailure(name, error, remedy.action === "restart");
    this.dropped++;
    onDrop?.(job.item, remedy.reason);
    job.outputs = [];
  }

  private async myTurn(job: Job<In, Out>, signal: AbortSignal): Promise<void> {
    const forget = whenAborted(signal, () => this.wakeTurns());
    try {
      while (job.ticket !== this.turn) {
        signal.throwIfAborted();
        await new Promise<void>((resolve) => this.turnWaiters.push(resolve));
      }
    } finally {
      forget();
    }
  }

  private wakeTurns(): void {
    if (this.turnWaiters.length > 0) for (const go of this.turnWaiters.splice(0)) go();
  }
}

/** Lets a worker go on at once when its signal aborts, whether or not what it waits for heeds the signal. */
class Abandon {
  private reject: ((reason: unknown) => void) | null = null;
  private work: Promise<unknown> = Promise.resolve();
  readonly release: () => void;
  private readonly onAbort = () => {
    if (this.reject === null) return;
    this.late.track(this.work);
    this.reject(this.signal.reason);
  };

  constructor(
    private readonly signal: AbortSignal,
    private readonly late: InFlight,
  ) {
    this.release = whenAborted(signal, this.onAbort);
  }

  race<T>(work: Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      // `handle` itself may have led to the stop.
      if (this.signal.aborted) {
        this.late.track(work);
        reject(this.signal.reason as Error);
        return;
      }
      this.work = work;
      const settle = () => {
        this.reject = null;
      };
      this.reject = reject;
      work.then(
        (value) => {
          settle();
          resolve(value);
        },
        (error) => {
          settle();
          reject(error);
        },
      );
    });
  }
}
