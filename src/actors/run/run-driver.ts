import { type Actor, createActor, fromPromise } from "xstate";
import type { Json } from "../../contracts/task.js";
import { WeirError } from "../../errors.js";
import { type InFlight, STOP_GRACE_MS } from "../../streams/in-flight.js";
import type { Time } from "../../system/time.js";
import { connectParts, whenConnected } from "./connecting.js";
import {
  isPausing,
  isUnreachable,
  type LifecycleContext,
  type LifecycleEvent,
  lifecycleMachine,
  type Plan,
  type Return,
} from "./lifecycle.js";
import { planOf } from "./progress.js";
import { assertReachable, rollBack } from "./rollback.js";
import type { RollbackWish } from "./rollback-wish.js";
import { pauseAlert } from "./run-alert.js";
import type { RunContext } from "./run-context.js";
import { doCheckpoint, doDrain, doEvaluate, doFinish, doPreflight, doStep, doWarmup, restoreRun } from "./run-work.js";

/**
 * Drives a run: the lifecycle machine over the pieces of work, from the start to the moment at which nothing of it is at work any
 * more. It knows nothing of files, monitors and subscribers, so that a training system and the simulator share it.
 */

export interface RunDriverOptions {
  /** Tracks pieces of work and rewards. */
  readonly inFlight: InFlight;
  /** Called between two pieces of work, and when the run is paused; nothing of the lifecycle is at work meanwhile. */
  readonly safePoint: (signal: AbortSignal) => Promise<void>;
  /** The lifecycle has come to another state; `error` is what led to a recovery, a rollback or the failure. */
  readonly onState: (name: string, error: unknown) => void;
}

/** How a run ended. */
export interface RunEnd {
  readonly status: "completed" | "stopped" | "failed";
  readonly error: unknown;
}

/** States of the lifecycle in which responses are scored and a reward that takes no work is waited for. */
const WAITING_FOR_REWARDS: ReadonlySet<string> = new Set(["training", "evaluating"]);

export class RunDriver {
  /** Resolves once nothing of the run is at work. */
  readonly ended: Promise<RunEnd>;
  /** Null before the start: the first plan is that of a run that has been restored. */
  private machine: Actor<typeof lifecycleMachine> | null = null;
  /** What was sent before the start. */
  private readonly early: LifecycleEvent[] = [];
  /** Who waits for a rollback. */
  private readonly wishers: { readonly resolve: () => void; readonly reject: (error: unknown) => void }[] = [];
  private settle: (end: RunEnd) => void = () => undefined;
  private name = "created";
  private concluded = false;
  /** Aborts when the run ends. */
  private readonly ending = new AbortController();
  constructor(
    private readonly context: RunContext,
    private readonly options: RunDriverOptions,
  ) {
    this.ended = new Promise((resolve) => {
      this.settle = resolve;
    });
  }

  /** Name of the lifecycle's state. */
  get lifecycle(): string {
    return this.name;
  }

  start(): void {
    this.machine = this.createMachine();
    this.machine.start();
    this.context.pipeline.gate.onChange(() => this.stopHeld());
    for (const event of this.early.splice(0)) this.send(event);
  }

  send(event: LifecycleEvent): void {
    if (this.machine === null) this.early.push(event);
    // A run that has ended takes no more orders.
    else if (!this.concluded) this.machine.send(event);
    if (event.type === "STOP") this.stopHeld();
  }

  /** A run that is to stop does not wait for a reward that takes no work: its step might never end. */
  private stopHeld(): void {
    const { pipeline, log } = this.context;
    if (this.machine === null || this.concluded || !WAITING_FOR_REWARDS.has(this.name)) return;
    if (!this.memory.stopRequested || pipeline.gate.isOpen) return;
    log.warn(
      { actor: "lifecycle" },
      "the reward takes no work, so that the step at hand cannot be finished and no last checkpoint was written; the run can be resumed from the one before",
    );
    this.machine.send({ type: "ABORT" });
  }

  /**
   * Takes the run back at the next safe point: to the newest snapshot of RL step `to` or before, without it to the one before the last
   * step; resolves once it is there. Throws WEIR_E_STATE where there is no such snapshot. Errors: WEIR_E_STATE where there is none any
   * more by then, and where the run ends first.
   */
  rollBack({ to = null, by, reason }: Partial<Pick<RollbackWish, "to">> & Pick<RollbackWish, "by" | "reason">) {
    assertReachable(this.context.progress, to);
    return new Promise<void>((resolve, reject) => {
      this.wishers.push({ resolve, reject });
      this.send({ type: "ROLL_BACK", ...(to === null ? {} : { to }), by, reason });
    });
  }

  /** A paused run has no piece of work before which the safe point would come: it is now. */
  atRest(): void {
    const { inFlight, safePoint } = this.options;
    void inFlight.track(safePoint(this.ending.signal));
  }

  /** Ends the run at once, as after an error of the machinery around it. */
  async fail(error: unknown): Promise<void> {
    await this.conclude("failed", error);
  }

  private createMachine(): Actor<typeof lifecycleMachine> {
    const { context, options } = this;
    const { config } = context;
    const actor = createActor(
      lifecycleMachine.provide({
        actors: {
          preflight: this.piece(doPreflight),
          evaluate: this.piece(doEvaluate),
          warmup: this.piece(doWarmup),
          step: this.piece(doStep),
          checkpoint: this.piece(doCheckpoint),
          finish: this.piece(doFinish),
          recover: this.piece((_, signal) => this.recover(signal), false),
          rollBack: fromPromise<Plan>(async ({ signal }) => {
            const { rollback } = this.memory;
            const pause = await options.inFlight.track(this.goBack(rollback as RollbackWish, signal));
            await context.orders.catchUp(signal);
            return { ...this.plan(), pause };
          }),
          drain: this.piece(doDrain),
          reconnect: fromPromise<Return, { readonly away: Return | null }>(({ input, signal }) =>
            input.away === null ? new Promise(() => undefined) : this.reconnected(input.away, signal),
          ),
        },
      }),
      {
        clock: clockOf(context.time),
        input: {
          plan: this.plan(),
          maxRecoveries: config.engine.maxRestarts,
          pipeline: context.pipeline.input,
        },
      },
    );
    actor.subscribe({
      next: (snapshot) => this.moved(snapshot),
      error: (error) => void this.conclude("failed", error),
    });
    return actor;
  }

  /** Resolves to whether the run has to be paused for a person. */
  private async goBack(wish: RollbackWish, signal: AbortSignal): Promise<boolean> {
    const { context } = this;
    try {
      if (wish.by.kind !== "guard") assertReachable(context.progress, wish.to);
    } catch (error) {
      // A run that was brought back to an early checkpoint meanwhile goes on.
      context.log.warn({ actor: "guard", err: error }, "the run does not go back");
      for (const { reject } of this.wishers.splice(0)) reject(error);
      return false;
    }
    const pause = await rollBack(context, wish, signal);
    for (const { resolve } of this.wishers.splice(0)) resolve();
    return pause;
  }

  /** What the machine remembers. */
  private get memory(): LifecycleContext {
    return (this.machine as Actor<typeof lifecycleMachine>).getSnapshot().context;
  }

  private plan(): Plan {
    const { progress, workload, orders } = this.context;
    const rollback = orders.takeRollback();
    return { ...planOf(progress, workload), done: progress.warmupStep + progress.step, rollback };
  }

  private piece(work: (context: RunContext, signal: AbortSignal) => Promise<void>, safe = true) {
    const { context, options } = this;
    return fromPromise<Plan>(async ({ signal }) => {
      // A run that is being brought back is not the place for another part.
      if (safe) await options.safePoint(signal);
      await options.inFlight.track(work(context, signal));
      await context.orders.catchUp(signal);
      return this.plan();
    });
  }

  private moved(snapshot: ReturnType<Actor<typeof lifecycleMachine>["getSnapshot"]>): void {
    const name = typeof snapshot.value === "string" ? snapshot.value : String(Object.values(snapshot.value)[0]);
    if (name === "deciding" || name === this.name) return;
    const { context, options } = this;
    this.name = name;
    try {
      context.taps.fact("lifecycle.changed", context.progress.step, {
        machine: "lifecycle",
        value: snapshot.value as Json,
      });
      options.onState(name, snapshot.context.error);
      const { error, away } = snapshot.context;
      if (name === "paused" && (isPausing(error) || away !== null)) context.taps.alert(pauseAlert(context, error));
      if (name === "paused") {
        context.pipeline.hold();
        // Nothing runs in a paused run before which a part could be replaced.
        this.atRest();
      } else if (name === "draining") context.pipeline.hold();
      else context.pipeline.release();
    } catch (error) {
      // A journal that cannot be written ends the run in order; what is in work is cancelled with the machine.
      void this.conclude("failed", error);
      return;
    }
    if (name === "stopped" && isUnreachable(snapshot.context.error))
      context.log.warn(
        { actor: "lifecycle", err: snapshot.context.error },
        "a server cannot be reached, so that no last checkpoint was written; the run can be resumed from the one before",
      );
    if (snapshot.status === "done") void this.conclude(name, snapshot.context.error);
  }

  /** Resolves once every server answers, to how the run goes on. */
  private async reconnected(away: Return, signal: AbortSignal): Promise<Return> {
    const { context, options } = this;
    await options.inFlight.track(whenConnected(context, signal));
    context.log.info({ actor: "lifecycle" }, "every server answers again");
    // A server that was started anew holds no policy.
    context.policies.forgetAdoption();
    return context.pipeline.isBroken ? "restore" : away;
  }

  private async recover(signal: AbortSignal): Promise<void> {
    const { context } = this;
    const { error, recoveries } = this.memory;
    const reason = error instanceof Error ? error.message : "engine lost";
    context.log.warn(
      { actor: "lifecycle", reason },
      context.engine.statuses().length > 0
        ? "the engine was lost; restarting it and restoring the last checkpoint"
        : "the state of a server was lost; restoring the last checkpoint",
    );
    const delay = context.config.engine.restartDelayMs * 2 ** Math.max(0, recoveries - 1);
    const restarted = context.engine.restart(delay, reason, signal);
    this.tellEngine("restarting");
    await restarted;
    await connectParts(context.parts, signal);
    await restoreRun(context, { reason, freshEngine: true }, signal);
    this.tellEngine("running");
  }

  private tellEngine(state: "restarting" | "running"): void {
    const { engine, gauges, progress, taps } = this.context;
    for (const { name, detail, restarts } of engine.statuses())
      taps.fact("actor.changed", progress.step, { actor: name, state, reason: detail, restarts });
    gauges.publish();
  }

  /** Brings the run to its end, once. Never rejects. */
  private async conclude(state: string, error: unknown): Promise<void> {
    if (this.concluded) return;
    this.concluded = true;
    const { context, options } = this;
    this.ending.abort();
    // Stops what is in work where the machine itself has not ended.
    this.machine?.stop();
    for (const { reject } of this.wishers.splice(0))
      reject(new WeirError("WEIR_E_STATE", "the run ended before it could be rolled back", {}));
    const left = await options.inFlight.settled(STOP_GRACE_MS);
    if (left > 0)
      context.log.warn(
        { actor: "lifecycle", left },
        `${left} pieces of work (rewards or engine calls) ignored their signal for ${STOP_GRACE_MS} ms after the run had ended; they are left behind`,
      );
    await context.pipeline.halt("aborted").catch((cause) => {
      context.log.error({ actor: "lifecycle", err: cause }, "open rollouts could not be ended in the ledger");
    });
    if (state === "failed" && this.name !== "failed") {
      this.name = "failed";
      options.onState("failed", error);
    }
    this.settle({ status: state === "failed" ? "failed" : state === "completed" ? "completed" : "stopped", error });
  }
}

/** A run's time as XState wants it. */
function clockOf(time: Time) {
  return {
    setTimeout: (callback: () => void, ms: number) => time.set(callback, ms),
    clearTimeout: (handle: unknown) => time.clear(handle),
  };
}

/** Errors: WEIR_E_STATE before the run has started. */
export function driving(driver: RunDriver | null): RunDriver {
  if (driver) return driver;
  throw new WeirError("WEIR_E_STATE", "the training system has not started; call start() first", {});
}
