/**
 * Requests that an engine process has not answered yet, in order. The deadline of each starts when it is the first of them.
 * Invariant: a request is settled once and then forgotten; its timer and abort listener go with it.
 */
import type { EvaluateLoss } from "../../contracts/trainer.js";
import type { WeirError } from "../../errors.js";
import type { EngineMethod } from "./protocol.js";

export interface PendingRequest {
  readonly method: EngineMethod;
  /** The caller's own loss. */
  readonly evaluate: EvaluateLoss | undefined;
}

/** How a request ends for its caller, and what happens on the way. */
export interface RequestHandlers {
  readonly resolve: (output: unknown) => void;
  readonly reject: (error: WeirError) => void;
  /** The caller has cancelled. */
  readonly onAbort: () => void;
  /** The deadline has passed; rejects the request. */
  readonly onDeadline: () => void;
}

interface Entry extends PendingRequest {
  readonly handlers: RequestHandlers;
  readonly signal: AbortSignal;
  timer: NodeJS.Timeout | undefined;
}

export class PendingRequests {
  private readonly entries = new Map<number, Entry>();
  private nextId = 1;

  /** `deadlineMs`: time of one request. */
  constructor(private readonly deadlineMs: number) {}

  get size(): number {
    return this.entries.size;
  }

  /** Adds a request and returns its id; `handlersOf` gives its handlers. */
  add(request: PendingRequest, signal: AbortSignal, handlersOf: (id: number) => RequestHandlers): number {
    const id = this.nextId++;
    const handlers = handlersOf(id);
    this.entries.set(id, { ...request, handlers, signal, timer: undefined });
    signal.addEventListener("abort", handlers.onAbort, { once: true });
    this.armFirst();
    return id;
  }

  get(id: number): PendingRequest | undefined {
    return this.entries.get(id);
  }

  resolve(id: number, output: unknown): void {
    this.remove(id)?.resolve(output);
  }

  reject(id: number, error: WeirError): void {
    this.remove(id)?.reject(error);
  }

  /** Rejects every request. */
  rejectAll(errorOf: (request: PendingRequest) => WeirError): void {
    for (const [id, entry] of [...this.entries]) this.reject(id, errorOf(entry));
  }

  private remove(id: number): RequestHandlers | undefined {
    const entry = this.entries.get(id);
    if (entry === undefined) return undefined;
    clearTimeout(entry.timer);
    entry.signal.removeEventListener("abort", entry.handlers.onAbort);
    this.entries.delete(id);
    this.armFirst();
    return entry.handlers;
  }

  private armFirst(): void {
    const [first] = this.entries.values();
    if (first !== undefined) first.timer ??= setTimeout(first.handlers.onDeadline, this.deadlineMs);
  }
}
