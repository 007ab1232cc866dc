/**
 * When a fault acts: from RL step `from`, for a number of attempts at a step. An attempt ends with the step's commit or with a rollback,
 * so that a guard that goes back does not meet the same fault for ever. Hears the facts of one run.
 */
import type { Fact } from "../../../contracts/fact.js";
import { whenAborted } from "../../../system/when-aborted.js";

export interface WindowOptions {
  /** First RL step with the fault, 1-based. */
  readonly from: number;
  readonly attempts: number;
  readonly onBegin?: () => void;
  /** The fault is over; called once, and only after `onBegin`. */
  readonly onEnd?: () => void;
}

interface Waiter {
  readonly done: number;
  resolve(): void;
}

export class FaultWindow {
  /** RL steps that were tried with the fault so far. */
  done = 0;
  private state: "before" | "during" | "after" = "before";
  private waiters: Waiter[] = [];

  constructor(private readonly options: WindowOptions) {
    if (options.from <= 1) this.begin();
  }

  get active(): boolean {
    return this.state === "during";
  }

  get begun(): boolean {
    return this.state !== "before";
  }

  hear(fact: Fact): void {
    const committed = fact.type === "step.committed";
    if (!committed && fact.type !== "run.rolledBack") return;
    if (this.state === "before") {
      if (committed && fact.step >= this.options.from - 1) this.begin();
      return;
    }
    this.done++;
    if (this.state === "during" && this.done >= this.options.attempts) this.end();
    this.release();
  }

  /** Ends the fault before its time, as a person does who finds it; does nothing where it does not act. */
  end(): void {
    if (this.state !== "during") return;
    this.state = "after";
    this.release();
    this.options.onEnd?.();
  }

  /** Resolves once `attempts` more of them have ended, or the fault is over. Errors: the reason of the signal. */
  later(attempts: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (!this.active) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const forget = whenAborted(signal, () => reject(signal.reason as Error));
      this.waiters.push({
        done: this.done + attempts,
        resolve: () => {
          forget();
          resolve();
        },
      });
    });
  }

  private begin(): void {
    this.state = "during";
    this.options.onBegin?.();
  }

  private release(): void {
    const due = this.waiters.filter(({ done }) => !this.active || this.done >= done);
    this.waiters = this.waiters.filter((waiter) => !due.includes(waiter));
    for (const waiter of due) waiter.resolve();
  }
}
