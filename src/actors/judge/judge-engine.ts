/**
 * The engine process of a local judge: started with its first use, replaced after a loss. Invariants: at most one process at a time; while
 * there is none that could answer, the judge says so (`Readiness`) and is tried again for as long as it is wanted, with growing waits.
 */
import type { Engine } from "../../contracts/engine.js";
import type { Readiness, ReadinessState } from "../../contracts/readiness.js";
import { WeirError } from "../../errors.js";
import { pause } from "../../system/pause.js";
import type { Time } from "../../system/time.js";
import { whenAborted } from "../../system/when-aborted.js";

export interface JudgeEngineOptions {
  /** Loads the model into a process of its own. */
  readonly start: (signal: AbortSignal) => Promise<Engine>;
  /** Wait before the first try after a loss, ms; doubles with each further one. */
  readonly restartDelayMs: number;
  readonly time: Time;
}

/** Longest wait between two tries, ms: a machine that has memory again is used within a minute. */
const LONGEST_WAIT_MS = 60_000;
/** Faults that may be gone the next time: the process ended, or was too slow. Others, such as a folder without a model, stay. */
const PASSING = new Set(["WEIR_E_ENGINE_CRASHED", "WEIR_E_ENGINE_TIMEOUT"]);

interface Away {
  readonly reason: string;
  /** ms of the clock. */
  readonly since: number;
}

export class JudgeEngine implements Readiness {
  private running: Engine | null = null;
  private starting: Promise<Engine> | null = null;
  /** Null while questions are taken. */
  private away: Away | null = null;
  /** The fault of the first start, where trying again is of no use. */
  private refusal: unknown = null;
  private readonly listeners = new Set<(state: ReadinessState) => void>();
  private readonly closing = new AbortController();

  constructor(private readonly options: JudgeEngineOptions) {}

  state(): ReadinessState {
    if (this.away === null) return { ready: true };
    const { reason, since } = this.away;
    return { ready: false, code: "WEIR_E_JUDGE", reason, forMs: this.options.time.now() - since };
  }

  onChange(listener: (state: ReadinessState) => void): () => void {
    this.listeners.add(listener);
    return () => {
      this.listeners.delete(listener);
    };
  }

  /** The running engine, once there is one; null when the signal aborts first. Errors: those of the engine's first start. */
  async engine(signal: AbortSignal): Promise<Engine | null> {
    if (this.running !== null) return this.running;
    if (this.refusal !== null) throw this.refusal;
    if (signal.aborted || this.closing.signal.aborted) return null;
    this.starting ??= this.firstStart();
    let forget = () => {};
    const left = new Promise<null>((resolve) => {
      forget = whenAborted(signal, () => resolve(null));
    });
    try {
      return await Promise.race([this.starting, left]);
    } catch (error) {
      if (this.closing.signal.aborted) return null;
      throw error;
    } finally {
      forget();
    }
  }

  async close(): Promise<void> {
    this.closing.abort(new WeirError("WEIR_E_ENGINE_ABORTED", "the judge was closed"));
    await this.starting?.catch(() => undefined);
    const engine = this.running;
    this.running = null;
    await engine?.close();
  }

  private async firstStart(): Promise<Engine> {
    this.setAway("the judge's model is being loaded");
    try {
      return await this.start();
    } catch (error) {
      if (!PASSING.has(WeirError.isInstance(error) ? error.code : "")) this.refusal = error;
      throw error;
    } finally {
      this.starting = null;
      // Without an engine each question is told why; nothing is gained by holding them back.
      this.setAway(null);
    }
  }

  private async start(): Promise<Engine> {
    const { signal } = this.closing;
    const engine = await this.options.start(signal);
    if (signal.aborted) {
      await engine.close();
      signal.throwIfAborted();
    }
    this.running = engine;
    void engine.exited.then(({ expected, reason }) => {
      if (expected || this.running !== engine) return;
      this.running = null;
      this.starting = this.restarted(reason);
      this.starting.catch(() => undefined);
    });
    return engine;
  }

  /** Tries until there is an engine again. Rejects only when the judge is closed. */
  private async restarted(reason: string): Promise<Engine> {
    const { restartDelayMs, time } = this.options;
    let why = reason;
    for (let wait = restartDelayMs; ; wait = Math.min(LONGEST_WAIT_MS, 2 * Math.max(1, wait))) {
      this.setAway(
        `the judge's engine process ended (${why}); it is started again every ${LONGEST_WAIT_MS} ms or sooner`,
      );
      await pause(time, wait, this.closing.signal);
      try {
        const engine = await this.start();
        this.starting = null;
        this.setAway(null);
        return engine;
      } catch (error) {
        this.closing.signal.throwIfAborted();
        why = error instanceof Error ? error.message : String(error);
      }
    }
  }

  private setAway(reason: string | null): void {
    const before = this.away;
    this.away = reason === null ? null : { reason, since: before?.since ?? this.options.time.now() };
    if ((before === null) === (this.away === null)) return;
    for (const listener of [...this.listeners]) listener(this.state());
  }
}
