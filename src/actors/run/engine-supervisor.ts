import type { Engine, EngineOptions } from "../../contracts/engine.js";
import { WeirError } from "../../errors.js";

/**
 * Owns the engine process of a run: starts it, replaces it after a loss, closes it.
 * Invariant: at most one engine at a time; a lost engine is closed before the next one starts.
 */

export type EngineFactory = (modelDirectory: string, options: EngineOptions) => Promise<Engine>;

export class EngineSupervisor {
  private current: Engine | null = null;

  constructor(
    private readonly factory: EngineFactory,
    private readonly modelDirectory: string,
    private readonly options: EngineOptions,
  ) {}

  /** The running engine. Errors: WEIR_E_STATE before `start`. */
  engine(): Engine {
    if (!this.current) throw new WeirError("WEIR_E_STATE", "the engine has not been started; call start() first", {});
    return this.current;
  }

  get running(): boolean {
    return this.current !== null;
  }

  async start(): Promise<Engine> {
    this.current = await this.factory(this.modelDirectory, this.options);
    return this.current;
  }

  /** Closes what is left of the present engine and starts another, after a wait. */
  async restart(delayMs: number, signal: AbortSignal): Promise<Engine> {
    await this.close();
    if (delayMs > 0) await abortableDelay(delayMs, signal);
    signal.throwIfAborted();
    return this.start();
  }

  /** Never rejects: an engine that cannot be closed is gone. */
  async close(): Promise<void> {
    const engine = this.current;
    this.current = null;
    await engine?.close().catch(() => undefined);
  }
}

function abortableDelay(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = () => {
      clearTimeout(timer);
      reject(signal.reason as Error);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", onAbort);
      resolve();
    }, ms);
    signal.addEventListener("abort", onAbort, { once: true });
  });
}
