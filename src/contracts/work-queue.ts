import type { Json } from "./task.js";

/** A piece of work that a worker holds for a while. Each call but `extend` ends the lease; any call after that is WEIR_E_STATE. */
export interface Lease<Task, Result> {
  readonly id: string;
  readonly task: Task;
  /** 1 for the first delivery. */
  readonly attempt: number;
  /** Wall clock, ms since 1970. After it the task is delivered again. */
  readonly expiresAt: number;
  /** Errors: WEIR_E_WORK_QUEUE where the lease has expired. */
  extend(): Promise<void>;
  /** Hands the result over; resolves once the queue has it, which may wait for room. */
  done(result: Result): Promise<void>;
  /** Gives the task back, to be delivered again after `delayMs`. */
  retry(delayMs: number): Promise<void>;
  /** Gives the task up: it becomes a dead letter with this reason. */
  reject(reason: string): Promise<void>;
}

export interface WorkResult<Result> {
  readonly id: string;
  readonly result: Result;
  /** Removes the result; call it after the ledger has it. A result that is not committed is delivered again after a restart. */
  commit(): Promise<void>;
}

export interface DeadLetter {
  readonly id: string;
  readonly attempts: number;
  readonly reason: string;
}

/** Bounded work between the control plane and workers; the unit of work is a group. Each id ends once: in a result or as a dead letter. */
export interface WorkQueue<Task, Result> {
  readonly kind: string;
  readonly specificationVersion: 1;
  /** Waits for room until `deadlineMs` from now, then answers `full`. An id that is known already is a `duplicate`. */
  offer(
    task: Task,
    options: { readonly id: string; readonly deadlineMs: number; readonly signal: AbortSignal },
  ): Promise<"accepted" | "duplicate" | "full">;
  /** Up to `max` tasks; waits until there is one, or gives none once the signal aborts. */
  take(options: { readonly max: number; readonly signal: AbortSignal }): Promise<readonly Lease<Task, Result>[]>;
  /** Results as they come; ends with the signal. One reader at a time. */
  results(options: { readonly signal: AbortSignal }): AsyncIterable<WorkResult<Result>>;
  /** Tasks that were rejected or delivered too often; ends with the signal. One reader at a time. */
  dead(options: { readonly signal: AbortSignal }): AsyncIterable<DeadLetter>;
  depth(): Promise<{ readonly ready: number; readonly leased: number; readonly results: number }>;
  /** Gives up every task, result and dead letter; what is still done under an old lease is not delivered. */
  clear(options: { readonly signal: AbortSignal }): Promise<void>;
  /** Tells workers what they have to know before they take a task, in place of what was told before; null: no work is to come. */
  announce(record: Json, options: { readonly signal: AbortSignal }): Promise<void>;
  /** What was announced last; null where nothing was. */
  announced(options: { readonly signal: AbortSignal }): Promise<Json>;
  /** Connects to its server; called once before anything else, and again after a loss. Errors: WEIR_E_UNREACHABLE, WEIR_E_REMOTE. */
  connect?(options: { readonly signal: AbortSignal }): Promise<void>;
  dispose?(): Promise<void> | void;
}
