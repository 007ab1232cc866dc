/**
 * Who waits for a server of a group, the oldest first. Invariants: nobody waits longer than its deadline, nor longer than the group's
 * patience while no server is there; once that is spent everyone is turned away at once until a server has come back.
 */
import { WeirError } from "../../errors.js";
import type { Time } from "../../system/time.js";

interface Waiter {
  /** Settles the waiter where it can. */
  attempt(): void;
  reject(error: unknown): void;
}

export class Waiting {
  private waiters: Waiter[] = [];
  private patience: unknown = null;
  private spent = false;

  constructor(
    private readonly time: Time,
    private readonly patienceMs: number,
    /** Why no server is there. */
    private readonly absence: () => unknown,
  ) {}

  get count(): number {
    return this.waiters.length;
  }

  /** What `place` finds, once it finds something. Errors: those of `place`; WEIR_E_UNREACHABLE; the signal's reason. */
  turn<T>(place: () => T | null, end: number, signal: AbortSignal): Promise<T> {
    return new Promise((resolve, reject) => {
      const late = () =>
        finish(() =>
          reject(
            new WeirError(
              "WEIR_E_UNREACHABLE",
              "no server had room for a request before its deadline; start more, or raise engine.requestTimeoutMs",
            ),
          ),
        );
      const onAbort = () => finish(() => reject(signal.reason as Error));
      const waiter: Waiter = {
        attempt: () => {
          try {
            const found = place();
            if (found !== null) finish(() => resolve(found));
          } catch (error) {
            finish(() => reject(error as Error));
          }
        },
        reject: (error) => finish(() => reject(error as Error)),
      };
      const timer = this.time.set(late, Math.max(0, end - this.time.now()));
      const finish = (settle: () => void) => {
        this.time.clear(timer);
        signal.removeEventListener("abort", onAbort);
        this.waiters = this.waiters.filter((other) => other !== waiter);
        settle();
      };
      signal.addEventListener("abort", onAbort, { once: true });
      this.waiters.push(waiter);
      if (signal.aborted) onAbort();
      else if (this.spent) waiter.reject(this.absence());
      else this.pump();
    });
  }

  /** Resolves once a server is there; at once where one is. Errors: WEIR_E_UNREACHABLE after the group's patience. */
  forServer(present: boolean, signal: AbortSignal): Promise<void> {
    if (present) return Promise.resolve();
    return new Promise((resolve, reject) => {
      if (this.spent) return reject(this.absence() as Error);
      const finish = (settle: () => void) => {
        signal.removeEventListener("abort", onAbort);
        this.waiters = this.waiters.filter((other) => other !== waiter);
        settle();
      };
      const onAbort = () => finish(() => reject(signal.reason as Error));
      const waiter: Waiter = {
        attempt: () => {
          if (this.patience === null && !this.spent) finish(resolve);
        },
        reject: (error) => finish(() => reject(error as Error)),
      };
      signal.addEventListener("abort", onAbort, { once: true });
      this.waiters.push(waiter);
    });
  }

  /** The last server has gone. */
  alone(): void {
    if (this.patience !== null || this.spent) return;
    const giveUp = () => {
      this.patience = null;
      this.spent = true;
      const error = this.absence();
      for (const waiter of [...this.waiters]) waiter.reject(error);
    };
    this.patience = this.time.set(giveUp, this.patienceMs);
  }

  /** A server has come. */
  arrived(): void {
    if (this.patience !== null) this.time.clear(this.patience);
    this.patience = null;
    this.spent = false;
    this.pump();
  }

  /** Serves whoever can be served. */
  pump(): void {
    for (const waiter of [...this.waiters]) waiter.attempt();
  }

  close(error: unknown): void {
    if (this.patience !== null) this.time.clear(this.patience);
    this.patience = null;
    for (const waiter of [...this.waiters]) waiter.reject(error);
  }
}
