import { type Actor, createActor, fromPromise } from "xstate";
import { judgedOf } from "../actors/guard/guard.js";
import type { PartKind, Parts } from "../actors/parts/part-kinds.js";
import { type LifecycleEvent, lifecycleMachine, type Plan } from "../actors/run/lifecycle.js";
import { planOf } from "../actors/run/progress.js";
import type { PartReplacements } from "../actors/run/replacement.js";
import type { RunContext } from "../actors/run/run-context.js";
import {
  doCheckpoint,
  doEvaluate,
  doFinish,
  doPreflight,
  doStep,
  doWarmup,
  finishReport,
  restoreRun,
  tellJudged,
} from "../actors/run/run-work.js";
import type { Json } from "../contracts/task.js";
import type { InFlight } from "../streams/in-flight.js";
import type { Time } from "../system/time.js";
import { machineClock } from "./virtual-time.js";

/** Runs the lifecycle machine of a context to its end. */

export interface DriverOptions {
  readonly replacements: PartReplacements;
  readonly inFlight: InFlight;
  readonly time: Time;
}

export type Ended = { readonly status: "completed" | "stopped" | "failed"; readonly error: unknown };

const GRACE_MS = 2_000;

export class RunDriver {
  lifecycle = "created";
  ended: Ended | null = null;
  private machine: Actor<typeof lifecycleMachine> | null = null;
  private readonly ending = new AbortController();

  constructor(
    private readonly context: RunContext,
    private readonly options: DriverOptions,
  ) {}

  send(event: LifecycleEvent): void {
    this.machine?.send(event);
  }

  replace<K extends PartKind>(kind: K, part: Parts[K]): void {
    void this.options.replacements.request(kind, part).catch(() => undefined);
    if (this.lifecycle === "paused") void this.options.replacements.apply(this.context, this.ending.signal);
  }

  start(): void {
    const { context } = this;
    const { replacements, inFlight, time } = this.options;
    const piece = (work: (context: RunContext, signal: AbortSignal) => Promise<void>, safe = true) =>
      fromPromise<Plan>(async ({ signal }) => {
        if (safe) await replacements.apply(context, signal);
        await inFlight.track(work(context, signal));
        return { ...planOf(context.progress, context.workload), done: stepsDone(context) };
      });
    const actor = createActor(
      lifecycleMachine.provide({
        actors: {
          preflight: piece(doPreflight),
          evaluate: piece(doEvaluate),
          warmup: piece(doWarmup),
          step: piece(doStep),
          checkpoint: piece(doCheckpoint),
          finish: piece(doFinish),
          recover: piece((_, signal) => this.recover(signal), false),
          rollBack: piece((_, signal) => this.rollBack(signal), false),
          drain: piece(doCheckpoint),
        },
      }),
      {
        clock: machineClock(time) as never,
        input: {
          plan: { ...planOf(context.progress, context.workload), done: stepsDone(context) },
          maxRecoveries: context.config.engine.maxRestarts,
          maxRollbacks: context.config.guard.maxRollbacks,
        },
      },
    );
    this.machine = actor;
    actor.subscribe({
      next: (snapshot) => {
        const name = typeof snapshot.value === "string" ? snapshot.value : String(Object.values(snapshot.value)[0]);
        if (name === "deciding" || name === this.lifecycle) return;
        this.lifecycle = name;
        context.taps.fact("lifecycle.changed", context.progress.step, {
          machine: "lifecycle",
          value: snapshot.value as Json,
        });
        if (name === "paused") void inFlight.track(replacements.apply(context, this.ending.signal));
        if (snapshot.status === "done") void this.conclude(name, snapshot.context.error);
      },
      error: (error) => void this.conclude("failed", error),
    });
    actor.start();
  }

  private async recover(signal: AbortSignal): Promise<void> {
    const { context } = this;
    const { recoveries = 1, error } = this.machine?.getSnapshot().context ?? {};
    await context.engine.restart(context.config.engine.restartDelayMs * 2 ** Math.max(0, recoveries - 1), signal);
    await restoreRun(context, { reason: String((error as Error | null)?.message), freshEngine: true }, signal);
  }

  private async rollBack(signal: AbortSignal): Promise<void> {
    const error = this.machine?.getSnapshot().context.error as Error | null;
    await restoreRun(this.context, { reason: String(error?.message), freshEngine: false }, signal);
    tellJudged(this.context, judgedOf(error));
  }

  private async conclude(state: string, error: unknown): Promise<void> {
    this.ending.abort();
    this.options.replacements.end();
    await this.options.inFlight.settled(GRACE_MS);
    if (state !== "failed") await finishReport(this.context);
    this.ended = { status: state as Ended["status"], error: state === "failed" ? error : null };
  }
}

const stepsDone = ({ progress }: RunContext): number => progress.warmupStep + progress.step;
