import { whenAborted } from "./when-aborted.js";

/** A bound on how many pieces of work run at the same time; others wait in the order in which they came. */
export class Slots {
  private free: number;
  private readonly waiting: (() => void)[] = [];

  constructor(limit: number) {
    this.free = limit;
  }

  /** Runs `work` once there is room. Errors: its own; the reason of the signal while it waits. */
  async run<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    signal.throwIfAborted();
    if (this.free > 0) this.free--;
    else await this.room(signal);
    try {
      return await work();
    } finally {
      const next = this.waiting.shift();
      if (next === undefined) this.free++;
      else next();
    }
  }

  private room(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const forget = whenAborted(signal, () => {
        this.waiting.splice(this.waiting.indexOf(enter), 1);
        reject(signal.reason as Error);
      });
      const enter = () => {
        forget();
        resolve();
      };
      this.waiting.push(enter);
    });
  }
}
