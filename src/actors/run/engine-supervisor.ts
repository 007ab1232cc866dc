import type { ActorState, ActorStatus } from "../../contracts/actor-status.js";
import type {
  Engine,
  EngineInfo,
  EngineOptions,
  EngineStats,
  MemoryPlan,
  MicroBatchSize,
} from "../../contracts/engine.js";
import type { PolicyStore } from "../../contracts/policy-store.js";
import type { Sampler } from "../../contracts/sampler.js";
import type { Trainer } from "../../contracts/trainer.js";
import { WeirError } from "../../errors.js";
import { pause } from "../../system/pause.js";
import { realTime } from "../../system/time.js";

/**
 * Owns the embedded engine of a run: starts it where a part of the run is built on it, replaces it after a loss, closes it. Its
 * sampler, trainer and policy store are parts like any other, which last over restarts; the engine itself is seen by nobody.
 * Invariant: at most one engine at a time; a lost engine is closed before the next one starts.
 */

/** The signal ends a start that takes too long. */
export type EngineFactory = (modelDirectory: string, options: EngineOptions, signal?: AbortSignal) => Promise<Engine>;

/** The parts that the embedded engine gives; each lasts over restarts of the engine. */
export interface EmbeddedParts {
  readonly sampler: Sampler;
  readonly trainer: Trainer;
  readonly policyStore: PolicyStore;
}

/** What is told of the embedded engine; all of it null where the run does without one. */
export interface EngineView {
  readonly info: EngineInfo | null;
  /** Hash of the weights that the engine was started with. */
  readonly startSha256: string | null;
  stats(options: { readonly signal: AbortSignal }): Promise<EngineStats | null>;
  planMemory(size: MicroBatchSize, options: { readonly signal: AbortSignal }): Promise<MemoryPlan | null>;
  restart(delayMs: number, reason: string, signal: AbortSignal): Promise<void>;
  /** The engine as a node of the supervision tree; none where the run does without one. */
  statuses(): readonly ActorStatus[];
}

export class EngineSupervisor implements EngineView {
  /** Asking for them says that the run needs the engine. */
  readonly parts: EmbeddedParts;
  startSha256: string | null = null;
  private current: Engine | null = null;
  private needed = false;
  /** Calls of the engine's parts: under way, answered, rejected. */
  private readonly calls: Calls = { busy: 0, handled: 0, dropped: 0 };
  private state: ActorState = "starting";
  private restarts = 0;
  private detail: string | null = null;

  constructor(
    private readonly factory: EngineFactory,
    private readonly modelDirectory: string,
    private readonly options: EngineOptions,
  ) {
    this.parts = this.lastingParts();
  }

  /** Says that a part of the run is built on the engine. */
  need(): void {
    this.needed = true;
  }

  get info(): EngineInfo | null {
    return this.current?.info ?? null;
  }

  /** Starts the engine where it is needed. */
  async start(signal?: AbortSignal): Promise<void> {
    if (!this.needed) return;
    try {
      const engine = await this.factory(this.modelDirectory, this.options, signal);
      if (signal?.aborted) {
        await engine.close().catch(() => undefined);
        signal.throwIfAborted();
      }
      this.current = engine;
    } catch (error) {
      this.state = "failed";
      this.detail = error instanceof Error ? error.message : String(error);
      throw error;
    }
    this.state = "running";
    this.detail = null;
    this.startSha256 = this.current.version().sha256;
  }

  statuses(): readonly ActorStatus[] {
    if (!this.needed) return [];
    const { calls, restarts, detail } = this;
    const state = this.state === "running" && calls.busy === 0 ? "waitingForInput" : this.state;
    const policyVersion = this.current?.version().n ?? null;
    return [
      { name: "engine", parent: "run", state, workers: 1, ...calls, restarts, queue: null, policyVersion, detail },
    ];
  }

  /** Closes what is left of the present engine and starts another, after a wait; `reason` is why. Only waits where none is needed. */
  async restart(delayMs: number, reason: string, signal: AbortSignal): Promise<void> {
    if (!this.needed) {
      if (delayMs > 0) await pause(realTime, delayMs, signal);
      return;
    }
    const closed = this.close();
    this.state = "restarting";
    this.detail = reason;
    this.restarts++;
    await closed;
    if (delayMs > 0) await pause(realTime, delayMs, signal);
    signal.throwIfAborted();
    await this.start(signal);
  }

  /** Never rejects: an engine that cannot be closed is gone. */
  async close(): Promise<void> {
    const engine = this.current;
    this.current = null;
    if (this.state !== "failed") this.state = "stopped";
    await engine?.close().catch(() => undefined);
  }

  async stats(options: { readonly signal: AbortSignal }): Promise<EngineStats | null> {
    return (await this.current?.stats(options)) ?? null;
  }

  async planMemory(size: MicroBatchSize, options: { readonly signal: AbortSignal }): Promise<MemoryPlan | null> {
    return (await this.current?.planMemory(size, options)) ?? null;
  }

  /** The running engine. Errors: WEIR_E_STATE before `start`. */
  private engine(): Engine {
    if (!this.current) throw new WeirError("WEIR_E_STATE", "the engine has not been started; call start() first", {});
    return this.current;
  }

  private lastingParts(): EmbeddedParts {
    const { calls } = this;
    return {
      sampler: lasting<Sampler>("engine", 2, calls, () => this.engine().sampler, [
        "sample",
        "adopt",
        "release",
        "load",
      ]),
      trainer: lasting<Trainer>("engine", 2, calls, () => this.engine().trainer, [
        "forwardBackward",
        "sftForwardBackward",
        "gradientNorm",
        "discardGradients",
        "optimStep",
        "reviseStep",
        "logprobs",
        "publish",
        "saveState",
        "loadState",
        "freezeReference",
        "resetOptimiser",
      ]),
      policyStore: lasting<PolicyStore>("engine", 1, calls, () => this.engine().policyStore, [
        "publish",
        "current",
        "fetch",
        "watch",
        "retain",
      ]),
    };
  }
}

interface Calls {
  busy: number;
  handled: number;
  dropped: number;
}

/** Counts a call until its promise settles; an answer that is no promise is no work of the engine. */
function counted(calls: Calls, result: unknown): unknown {
  if (!(result instanceof Promise)) return result;
  calls.busy++;
  const settle = (outcome: "handled" | "dropped") => () => {
    calls.busy--;
    calls[outcome]++;
  };
  result.then(settle("handled"), settle("dropped"));
  return result;
}

/** A part whose calls go to the part of whichever engine runs now. */
function lasting<T extends object>(
  kind: string,
  specificationVersion: number,
  calls: Calls,
  present: () => T,
  methods: readonly (keyof T & string)[],
): T {
  const forwarded = methods.map((name) => [
    name,
    (...given: unknown[]) => counted(calls, (present()[name] as (...given: unknown[]) => unknown)(...given)),
  ]);
  const part = { kind, specificationVersion, ...Object.fromEntries(forwarded) };
  for (const name of ["capabilities", "model"])
    Object.defineProperty(part, name, { enumerable: true, get: () => present()[name as keyof T] });
  return part as T;
}
