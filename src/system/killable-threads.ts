/**
 * Work in threads that can be ended: each piece has a deadline, and one that misses it, or whose caller gives up, ends its thread, whatever
 * it does, and another takes its place.
 * Invariants: a thread does one piece at a time, so that ending it takes no other piece with it; waiting pieces are served in order; an
 * idle thread does not keep the process alive; every piece settles exactly once.
 */
import { Worker } from "node:worker_threads";
import type { WeirError } from "../errors.js";
import { whenAborted } from "./when-aborted.js";

/** What a thread tells: that it is ready, that it can never be, or the answer to its piece of work. */
export type FromThread<Out> =
  | { readonly kind: "ready" }
  | { readonly kind: "refused"; readonly reason: string }
  | { readonly kind: "answer"; readonly answer: Out };

/** How a piece of work ended. */
export type ThreadEnd<Out> =
  | { readonly kind: "answer"; readonly answer: Out }
  | { readonly kind: "timedOut"; readonly afterMs: number }
  /** The thread ended by itself. */
  | { readonly kind: "lost"; readonly reason: string }
  | { readonly kind: "cancelled" };

export interface ThreadOptions {
  /** What the threads run; it posts `FromThread` messages. */
  readonly program: URL;
  readonly workerData: unknown;
  /** Threads at most; each starts when a piece of work waits for it. */
  readonly limit: number;
  /** Deadline of a piece, from when a thread takes it, ms. */
  readonly timeoutMs: number;
  /** The error of every piece where the program cannot be loaded. */
  readonly refusal: (reason: string) => WeirError;
}

/** Time that a thread has to load its program, ms: seconds on a busy machine, and a module that never ends loading is found. */
const START_MS = 60_000;
/** Time that ended threads are waited for, ms: native code, such as the product of two huge integers, ends when it is done. */
const CLOSE_MS = 5_000;
/** Heap of a thread, MiB: a thread that fills it is ended and takes nothing with it. A text of 1 MB needs some 50. */
const HEAP_MIB = 1024;

interface Piece<In, Out> {
  readonly input: In;
  readonly signal: AbortSignal;
  readonly resolve: (end: ThreadEnd<Out>) => void;
  readonly reject: (error: WeirError) => void;
}

interface Thread<In, Out> {
  readonly worker: Worker;
  isReady: boolean;
  piece: Piece<In, Out> | null;
  /** Ends the watch over the present piece, or over the start. */
  unwatch: () => void;
}

export class KillableThreads<In, Out> {
  private readonly threads = new Set<Thread<In, Out>>();
  private readonly waiting: Piece<In, Out>[] = [];
  /** Callers that wait for a first thread. */
  private readonly expecting: { readonly resolve: () => void; readonly reject: (error: WeirError) => void }[] = [];
  private readonly ending = new Set<Promise<unknown>>();
  /** Why no thread can work; null while they can. */
  private broken: WeirError | null = null;
  private closed = false;

  constructor(private readonly options: ThreadOptions) {}

  /** Threads that have not ended. */
  get size(): number {
    return this.threads.size;
  }

  /** Resolves once a thread has loaded the program. Errors: the refusal. */
  ready(): Promise<void> {
    if (this.broken !== null) return Promise.reject(this.broken);
    const threads = [...this.threads];
    if (this.closed || threads.some(({ isReady }) => isReady)) return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.expecting.push({ resolve, reject });
      if (threads.length === 0) this.start();
    });
  }

  /** Errors: the refusal. */
  run(input: In, signal: AbortSignal): Promise<ThreadEnd<Out>> {
    if (this.broken !== null) return Promise.reject(this.broken);
    if (this.closed || signal.aborted) return Promise.resolve({ kind: "cancelled" });
    return new Promise((resolve, reject) => {
      const forget = whenAborted(signal, () => this.giveUp(piece));
      const piece: Piece<In, Out> = {
        input,
        signal,
        resolve: (end) => {
          forget();
          resolve(end);
        },
        reject: (error) => {
          forget();
          reject(error);
        },
      };
      this.waiting.push(piece);
      this.serve();
    });
  }

  /** Ends all threads; what is in work or waits is cancelled. */
  async close(): Promise<void> {
    this.closed = true;
    for (const { resolve } of this.expecting.splice(0)) resolve();
    for (const piece of this.waiting.splice(0)) piece.resolve({ kind: "cancelled" });
    for (const thread of [...this.threads]) this.end(thread, { kind: "cancelled" });
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise((resolve) => {
      timer = setTimeout(resolve, CLOSE_MS);
    });
    await Promise.race([Promise.all(this.ending), late]);
    clearTimeout(timer);
  }

  /** Gives waiting pieces to idle threads, and starts threads for the others. */
  private serve(): void {
    for (const thread of this.threads) {
      if (this.waiting.length === 0) return;
      if (thread.isReady && thread.piece === null) this.assign(thread, this.waiting.shift() as Piece<In, Out>);
    }
    const starting = [...this.threads].filter(({ isReady }) => !isReady).length;
    for (let missing = this.waiting.length - starting; missing > 0; missing--) {
      if (this.threads.size >= this.options.limit) return;
      this.start();
    }
  }

  private start(): void {
    const { program, workerData } = this.options;
    const worker = new Worker(program, {
      workerData,
      execArgv: [],
      resourceLimits: { maxOldGenerationSizeMb: HEAP_MIB },
    });
    const timer = setTimeout(() => this.break(`its program was not loaded within ${START_MS} ms`), START_MS);
    const thread: Thread<In, Out> = { worker, isReady: false, piece: null, unwatch: () => clearTimeout(timer) };
    this.threads.add(thread);
    worker.on("message", (message: FromThread<Out>) => this.receive(thread, message));
    worker.on("error", (error) => this.lost(thread, error.message));
    worker.on("exit", (code) => this.lost(thread, `it ended with exit code ${code}`));
  }

  private receive(thread: Thread<In, Out>, message: FromThread<Out>): void {
    if (!this.threads.has(thread)) return;
    if (message.kind === "refused") {
      this.break(message.reason);
      return;
    }
    thread.unwatch();
    thread.unwatch = () => undefined;
    thread.isReady = true;
    for (const { resolve } of this.expecting.splice(0)) resolve();
    const { piece } = thread;
    thread.piece = null;
    if (message.kind === "answer") piece?.resolve(message);
    this.serve();
    if (thread.piece === null) thread.worker.unref();
  }

  private assign(thread: Thread<In, Out>, piece: Piece<In, Out>): void {
    const { timeoutMs } = this.options;
    const timer = setTimeout(() => this.end(thread, { kind: "timedOut", afterMs: timeoutMs }), timeoutMs);
    thread.unwatch = () => clearTimeout(timer);
    thread.piece = piece;
    thread.worker.ref();
    thread.worker.postMessage(piece.input);
  }

  /** The caller of a piece no longer wants it. */
  private giveUp(piece: Piece<In, Out>): void {
    const at = this.waiting.indexOf(piece);
    if (at >= 0) {
      this.waiting.splice(at, 1);
      piece.resolve({ kind: "cancelled" });
      return;
    }
    const thread = [...this.threads].find((one) => one.piece === piece);
    if (thread !== undefined) this.end(thread, { kind: "cancelled" });
  }

  /** Ends a thread; its piece ends like this, and the others go on. */
  private end(thread: Thread<In, Out>, end: ThreadEnd<Out>): void {
    if (!this.threads.delete(thread)) return;
    thread.unwatch();
    const ended: Promise<unknown> = thread.worker.terminate().finally(() => this.ending.delete(ended));
    this.ending.add(ended);
    thread.piece?.resolve(end);
    if (!this.closed) this.serve();
  }

  private lost(thread: Thread<In, Out>, reason: string): void {
    if (!this.threads.has(thread)) return;
    if (thread.isReady) this.end(thread, { kind: "lost", reason });
    else this.break(reason);
  }

  /** No thread can work: everything that waits, and everything that comes, is refused. */
  private break(reason: string): void {
    this.broken ??= this.options.refusal(reason);
    for (const { reject } of [...this.expecting.splice(0), ...this.waiting.splice(0)]) reject(this.broken);
    for (const thread of [...this.threads]) if (!thread.isReady) this.end(thread, { kind: "cancelled" });
  }
}
