/**
 * The circuit breaker around a server: what its requests came to goes in, and whether it takes questions comes out. Those that wait
 * for it go on by themselves when it has closed again.
 */
import { type Actor, createActor } from "xstate";
import type { Readiness, ReadinessState } from "../../contracts/readiness.js";
import { whenReady } from "../../system/when-ready.js";
import { type BreakerInput, breakerMachine } from "./breaker-machine.js";
import type { Clock } from "./clock.js";

export interface BreakerOptions extends BreakerInput {
  /** Names the server in reasons. */
  readonly server: string;
  readonly clock: Clock;
}

export class Breaker implements Readiness {
  private readonly actor: Actor<typeof breakerMachine>;
  private readonly listeners = new Set<(state: ReadinessState) => void>();
  /** When it opened, ms of the clock; null while it is closed. */
  private openedAt: number | null = null;

  constructor(private readonly options: BreakerOptions) {
    const { clock } = options;
    this.actor = createActor(breakerMachine, {
      input: options,
      clock: {
        setTimeout: (callback, ms) => clock.after(ms, () => callback()),
        clearTimeout: (cancel) => (cancel as (() => void) | undefined)?.(),
      },
    });
    this.actor.subscribe((snapshot) => this.follow(snapshot.matches("closed")));
    this.actor.start();
  }

  answered(): void {
    this.actor.send({ type: "ANSWERED" });
  }

  failed(fault: string): void {
    this.actor.send({ type: "FAILED", fault });
  }

  state(): ReadinessState {
    if (this.openedAt === null) return { ready: true };
    const { fault } = this.actor.getSnapshot().context;
    const { server, openMs, clock } = this.options;
    return {
      ready: false,
      code: "WEIR_E_JUDGE",
      reason: `the judge at ${server} is away (${fault}); it is tried again every ${openMs} ms`,
      forMs: Math.round(clock.now() - this.openedAt),
    };
  }

  onChange(listener: (state: ReadinessState) => void): () => void {
    // Each call counts by itself, also where one function is given twice.
    const own = (state: ReadinessState) => listener(state);
    this.listeners.add(own);
    return () => void this.listeners.delete(own);
  }

  /** Resolves to true when it is closed, at once where it is; to false when the signal aborts first. */
  closed(signal: AbortSignal): Promise<boolean> {
    return whenReady(this, signal).then(
      () => true,
      () => false,
    );
  }

  /** Ends its timer and its probe. */
  stop(): void {
    this.actor.stop();
  }

  private follow(closed: boolean): void {
    if (closed === (this.openedAt === null)) return;
    this.openedAt = closed ? null : this.options.clock.now();
    const state = this.state();
    for (const listener of [...this.listeners]) listener(state);
  }
}
