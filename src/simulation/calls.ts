import { setMaxListeners } from "node:events";
import type { Time } from "../system/time.js";
import { type Fault, type FaultPlan, SIMULATED_ERROR, SimulatedFault, SLOWNESS } from "./faults.js";
import type { GroundTruth } from "./ground-truth.js";
import type { Draws } from "./latency.js";
import type { ScriptedEngine } from "./scripted-engine.js";

/**
 * Every await of a scripted part goes through here: it takes its time, may meet a fault, and ends at once when its signal fires.
 * A call that hangs answers only then.
 */

export interface CallOptions {
  readonly signal: AbortSignal | null;
  /** Virtual seconds. */
  readonly seconds: number;
  /** The process that does the work; null for work in the control plane's own process or at a service. */
  readonly engine?: ScriptedEngine | null;
}

/** Is told of each call as it begins; `ms` is how long it will take. */
export type CallListener = (name: string, ms: number) => void;

export interface CallTools {
  readonly time: Time;
  readonly faults: FaultPlan;
  readonly draws: Draws;
  readonly truth: GroundTruth;
  readonly onCall: CallListener;
  readonly trace: (what: string) => void;
}

const MS = 1000;
/** Listeners on one signal that Node takes without a warning, and a margin for those that others have set. */
const FEW_LISTENERS = 4;

export class ScriptedCalls {
  private readonly running = new Map<string, number>();
  private inWork = 0;

  constructor(readonly tools: CallTools) {}

  /**
   * `work` runs when the time has passed, and gives the answer.
   * Errors: the signal's reason; those of `work`; WEIR_E_ENGINE_* of the engine; SimulatedFault.
   */
  run<T>(name: string, { signal, seconds, engine = null }: CallOptions, work: () => T): Promise<T> {
    const { time, faults, draws, truth, onCall, trace } = this.tools;
    if (signal?.aborted) return Promise.reject(signal.reason as Error);
    if (engine !== null && !engine.alive) return Promise.reject(engine.lost());
    // One listener per call in work; this is not a leak.
    if (signal !== null && this.inWork >= FEW_LISTENERS) setMaxListeners(0, signal);
    const fault = faults.at(name);
    const ms = seconds * MS * (fault === "slow" ? SLOWNESS : 1);
    trace(fault === null ? `${name} begins` : `${name} begins, fault: ${fault}`);
    onCall(name, ms);
    return new Promise<T>((resolve, reject) => {
      this.count(name, 1);
      let timer: unknown = null;
      let ended = false;
      const end = (act: () => void) => {
        // Its own work may have cancelled it, as a reward does that tells of its judge.
        if (ended) return;
        ended = true;
        this.count(name, -1);
        time.clear(timer);
        signal?.removeEventListener("abort", onAbort);
        engine?.leave(fail);
        if (fault === "hang") truth.hangsEnded++;
        act();
      };
      const fail = (error: unknown) => {
        trace(`${name} fails: ${error instanceof Error ? error.message.slice(0, 120) : String(error)}`);
        end(() => reject(error as Error));
      };
      const onAbort = () => fail(signal?.reason);
      signal?.addEventListener("abort", onAbort, { once: true });
      engine?.enter(name, fail);
      if (fault === "hang") {
        truth.hangs++;
        return;
      }
      const early = fault === "crash" || fault === "reject" ? draws.next(`early/${name}`) : 1;
      timer = time.set(() => this.finish({ name, fault, engine, work, end, resolve, fail }), ms * early);
    });
  }

  /** Names of the calls that have not ended, with how many there are of each where there are several. */
  get open(): string[] {
    return [...this.running].map(([name, count]) => (count === 1 ? name : `${count} × ${name}`));
  }

  private count(name: string, by: number): void {
    this.inWork += by;
    const count = (this.running.get(name) ?? 0) + by;
    if (count === 0) this.running.delete(name);
    else this.running.set(name, count);
  }

  private finish<T>({ name, fault, engine, work, end, resolve, fail }: Finishing<T>): void {
    if (fault === "crash" && engine !== null) {
      engine.crash("WEIR_E_ENGINE_CRASHED", `simulated crash in ${name}`);
      return;
    }
    if (fault === "crash" || fault === "reject") {
      fail(new SimulatedFault(`${SIMULATED_ERROR} of ${name}`));
      return;
    }
    let answer: T;
    try {
      answer = work();
    } catch (error) {
      fail(error);
      return;
    }
    this.tools.trace(`${name} ends`);
    end(() => resolve(answer));
  }
}

interface Finishing<T> {
  readonly name: string;
  readonly fault: Fault | null;
  readonly engine: ScriptedEngine | null;
  readonly work: () => T;
  readonly end: (act: () => void) => void;
  readonly resolve: (value: T) => void;
  readonly fail: (error: unknown) => void;
}
