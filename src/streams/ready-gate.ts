import type { Readiness, ReadinessState } from "../contracts/readiness.js";
import { pause } from "../system/pause.js";
import type { Time } from "../system/time.js";
import { whenAborted } from "../system/when-aborted.js";

/**
 * Holds work back while a part says that it cannot take any. Invariants: each change from ready to not ready and back is told once;
 * whoever waits goes on by itself, also where another part has taken the place of the one that was not ready.
 */

export interface ReadyGateOptions {
  /** Of the part in use now; undefined where it always takes work. */
  readonly readiness: () => Readiness | undefined;
  readonly time: Time;
}

/** How often those who wait look by themselves, ms: a part may have been replaced, or may not have called back. */
const LOOK_MS = 1_000;

const READY: ReadinessState = { ready: true };

export class ReadyGate {
  private watched: Readiness | null = null;
  private stopWatching: () => void = () => undefined;
  private readonly waiting = new Set<() => void>();
  private readonly listeners = new Set<(state: ReadinessState) => void>();
  /** When work was held, in the time of the run; null while it is not. */
  private heldSince: number | null = null;
  private heldBefore = 0;

  constructor(private readonly options: ReadyGateOptions) {}

  /** Whether work may be given now. */
  get isOpen(): boolean {
    return this.look().ready;
  }

  /** Time for which work has been held so far, ms. */
  get heldMs(): number {
    return this.heldBefore + (this.heldSince === null ? 0 : this.options.time.now() - this.heldSince);
  }

  /** Resolves once work may be given, at once where it may. Errors: the reason of the signal. */
  async opened(signal: AbortSignal): Promise<void> {
    while (!this.isOpen) await this.changeOr(signal);
  }

  /** Calls back when work is held, and when it goes on; the returned function ends that. */
  onChange(listener: (state: ReadinessState) => void): () => void {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  }

  /** Follows the part no more until it is asked again. */
  rest(): void {
    this.stopWatching();
    this.stopWatching = () => undefined;
    this.watched = null;
  }

  private look(): ReadinessState {
    const readiness = this.options.readiness() ?? null;
    if (readiness !== this.watched) {
      this.stopWatching();
      this.watched = readiness;
      this.stopWatching = readiness?.onChange(() => this.look()) ?? (() => undefined);
    }
    const state = readiness?.state() ?? READY;
    this.note(state);
    return state;
  }

  private note(state: ReadinessState): void {
    const { time } = this.options;
    if (state.ready === (this.heldSince === null)) return;
    if (this.heldSince === null) this.heldSince = time.now();
    else {
      this.heldBefore += time.now() - this.heldSince;
      this.heldSince = null;
      for (const wake of [...this.waiting]) wake();
    }
    for (const listener of [...this.listeners]) listener(state);
  }

  /** Resolves when work may be given again, or after a while. Errors: the reason of the signal. */
  private async changeOr(signal: AbortSignal): Promise<void> {
    const own = new AbortController();
    const forget = whenAborted(signal, () => own.abort());
    const wake = () => own.abort();
    this.waiting.add(wake);
    await pause(this.options.time, LOOK_MS, own.signal).catch(() => undefined);
    this.waiting.delete(wake);
    forget();
    signal.throwIfAborted();
  }
}
