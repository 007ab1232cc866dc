/**
 * Runs that alternate, a step each, so that neighbouring steps of all of them meet the same machine. A run's turn lasts from the moment
 * it may sample to the moment it wants to sample for its next step: all that a step costs lies within.
 */
import { whenAborted } from "../../../system/when-aborted.js";

interface Waiter {
  readonly run: number;
  grant(): void;
}

export class Turns {
  /** Ms of each finished turn, by run. */
  readonly spent: readonly number[][];
  /** Whose turn is or comes next. */
  private present = 0;
  private begun: number | null = null;
  private readonly waiting = new Map<number, Waiter>();

  constructor(
    private readonly runs: number,
    private readonly now: () => number,
    /** A turn of the last run has ended: all have the same number of turns. */
    private readonly onRound: (rounds: number) => void = () => undefined,
  ) {
    this.spent = Array.from({ length: runs }, () => []);
  }

  /** Ends the run's turn where it has it; resolves once it has the next. Errors: the reason of the signal. */
  take(run: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.begun !== null && this.present === run) {
      this.spent[run]?.push(this.now() - this.begun);
      this.begun = null;
      this.present = (run + 1) % this.runs;
      if (this.present === 0) this.onRound(this.spent[run]?.length ?? 0);
    }
    return new Promise((resolve, reject) => {
      const forget = whenAborted(signal, () => {
        this.waiting.delete(run);
        reject(signal.reason as Error);
      });
      const grant = () => {
        forget();
        resolve();
      };
      this.waiting.set(run, { run, grant });
      this.grant();
    });
  }

  private grant(): void {
    const next = this.begun === null ? this.waiting.get(this.present) : undefined;
    if (next === undefined) return;
    this.waiting.delete(next.run);
    this.begun = this.now();
    next.grant();
  }
}
