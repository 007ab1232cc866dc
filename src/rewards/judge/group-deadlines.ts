/**
 * One deadline for the questions of a group that are open at the same time, counted from the first of them. A group whose questions are
 * all answered starts anew with its next one.
 */
import { whenAborted } from "../../system/when-aborted.js";
import type { Clock } from "./clock.js";

/** A question's time: `signal` aborts with the caller's or at the deadline, and `expired` tells which. */
export interface Allowance {
  readonly signal: AbortSignal;
  readonly expired: boolean;
  leave(): void;
}

interface Open {
  questions: number;
  readonly late: AbortController;
  readonly cancel: () => void;
}

export class GroupDeadlines {
  private readonly open = new Map<string, Open>();

  constructor(
    private readonly ms: number,
    private readonly clock: Clock,
  ) {}

  /** Enters a question; one without a group has a deadline of its own. `leave` has to be called when it ends. */
  enter(signal: AbortSignal, name?: string): Allowance {
    const group = (name === undefined ? undefined : this.open.get(name)) ?? this.begin(name);
    group.questions++;
    const controller = new AbortController();
    const end = () => controller.abort();
    const released = [whenAborted(signal, end), whenAborted(group.late.signal, end)];
    if (signal.aborted || group.late.signal.aborted) end();
    return {
      signal: controller.signal,
      get expired() {
        return !signal.aborted && group.late.signal.aborted;
      },
      leave: () => {
        for (const release of released) release();
        group.questions--;
        if (group.questions > 0) return;
        group.cancel();
        if (name !== undefined && this.open.get(name) === group) this.open.delete(name);
      },
    };
  }

  private begin(name: string | undefined): Open {
    const late = new AbortController();
    const group: Open = { questions: 0, late, cancel: this.clock.after(this.ms, () => late.abort()) };
    if (name !== undefined) this.open.set(name, group);
    return group;
  }
}
