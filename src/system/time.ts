/** The clock and the timers of a run. They are injected, so that tests and the simulator run on virtual time. */
export interface Timers {
  set(callback: () => void, ms: number): unknown;
  clear(handle: unknown): void;
}

export interface Time extends Timers {
  /** ms since some moment; wall clock where it is `realTime`. */
  now(): number;
}

export const realTime: Time = {
  now: () => Date.now(),
  set: (callback, ms) => setTimeout(callback, ms),
  clear: (handle) => clearTimeout(handle as NodeJS.Timeout),
};
