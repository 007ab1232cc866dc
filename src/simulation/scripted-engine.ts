import { type ErrorCode, WeirError } from "../errors.js";
import type { Time } from "../system/time.js";
import { SimulatedFault } from "./faults.js";

/**
 * An engine process of the simulator: it is there or it is gone, and takes every call in work with it. Like weir's own engine it
 * has a deadline for each request, after which it is given up.
 */
export class ScriptedEngine {
  alive: boolean;
  /** ms in which at least one call was in work. */
  readonly busy: BusyTime;
  private readonly calls = new Map<(error: unknown) => void, unknown>();
  private onExit: (reason: string) => void = () => undefined;

  constructor(
    readonly name: string,
    private readonly time: Time,
    /** Null: none, as at a service; whoever calls has to have one. */
    private readonly deadlineMs: number | null,
    /** Whether it runs from the start, or is started later. */
    begins: boolean,
  ) {
    this.alive = begins;
    this.busy = new BusyTime(() => time.now());
  }

  /** A call began; `fail` ends it when the engine is lost. */
  enter(call: string, fail: (error: unknown) => void): void {
    const { deadlineMs } = this;
    const late = () => this.crash("WEIR_E_ENGINE_TIMEOUT", `${call} gave no answer within ${deadlineMs} ms`);
    this.calls.set(fail, deadlineMs === null ? null : this.time.set(late, deadlineMs));
    this.busy.begin();
  }

  leave(fail: (error: unknown) => void): void {
    if (!this.calls.has(fail)) return;
    this.time.clear(this.calls.get(fail));
    this.calls.delete(fail);
    this.busy.end();
  }

  crash(code: ErrorCode, reason: string): void {
    if (!this.alive) return;
    this.alive = false;
    for (const fail of [...this.calls.keys()]) fail(this.failure(code, reason));
    this.onExit(reason);
  }

  /** Ends it; what it has in work is lost. */
  close(): void {
    this.crash("WEIR_E_ENGINE_CRASHED", "it was closed");
  }

  start(): void {
    this.alive = true;
  }

  /** Calls back when the process is lost. */
  whenLost(listener: (reason: string) => void): void {
    this.onExit = listener;
  }

  /** The error of a call to a process that is gone. */
  lost(): WeirError {
    return this.failure("WEIR_E_ENGINE_CRASHED", "it is gone");
  }

  private failure(code: ErrorCode, reason: string): WeirError {
    const cause = new SimulatedFault(reason);
    return new WeirError(code, `the engine ${this.name} was lost: ${reason}`, { engine: this.name }, { cause });
  }
}

/** Adds up the time in which at least one thing is in work. */
export class BusyTime {
  private running = 0;
  private since = 0;
  private past = 0;

  constructor(private readonly now: () => number) {}

  begin(): void {
    if (this.running++ === 0) this.since = this.now();
  }

  end(): void {
    if (--this.running === 0) this.past += this.now() - this.since;
  }

  /** ms so far. */
  get ms(): number {
    return this.past + (this.running > 0 ? this.now() - this.since : 0);
  }
}
