import type { Logger } from "pino";
import { type Observable, Subject } from "rxjs";
import { type Actor, createActor, fromPromise } from "xstate";
import { parseConfig } from "../config/load.js";
import type { Config, ConfigInput } from "../config/schema.js";
import type { Alert } from "../contracts/alert.js";
import type { Fact, FactType } from "../contracts/fact.js";
import type { MetricRecord } from "../contracts/metrics.js";
import type { Json } from "../contracts/task.js";
import type { Trace } from "../contracts/trace.js";
import { WeirError } from "../errors.js";
import type { QueueGauge } from "../streams/bounded-queue.js";
import { assertMetrics } from "../streams/metrics.js";
import { PublishedMetrics } from "../streams/published-metrics.js";
import { createRegistry } from "./built-ins.js";
import type { EngineFactory } from "./engine-supervisor.js";
import { lifecycleMachine, type Plan } from "./lifecycle.js";
import { type AttachedMonitor, attachMonitor, type MonitorControls } from "./monitoring.js";
import { type OpenedRun, openRun } from "./open-run.js";
import {
  assertOrigins,
  assertPartNames,
  type PartsFile,
  type PartsRecord,
  partsRecord,
  unusedParts,
} from "./part-origins.js";
import { planOf } from "./progress.js";
import type { PartFactory, PartKind, Parts } from "./registry.js";
import type { RunContext } from "./run-context.js";
import {
  doCheckpoint,
  doEvaluate,
  doFinish,
  doPreflight,
  doStep,
  doWarmup,
  finishReport,
  restoreRun,
} from "./run-work.js";

/**
 * The training system: one run from start to end behind a small handle. It owns the lifecycle machine, the fan-out of
 * facts, metrics, alerts and traces, and the orderly end; the work itself is in run-work.ts.
 */

/** Parts passed by value; each replaces the one that the configuration names. */
export interface TrainingActors extends Partial<Parts> {
  /** Starts the engine; tests and remote engines give their own. */
  readonly engine?: EngineFactory;
}

export interface TrainingSystemOptions {
  readonly actors?: TrainingActors;
  /** Run folder to continue; the configuration must be the one it was started with. */
  readonly resume?: string;
  readonly logger?: Logger;
  /** Files that parts were loaded from (`loadParts`); the journal names them, and a changed one is remarked on resume. */
  readonly partsFiles?: readonly PartsFile[];
  /** Hears of faults of parts that end nothing, such as a reward of NaN; Node's process warnings where it is left out. */
  readonly onRemark?: (error: WeirError) => void;
  /** Keep serving the monitor after the run has ended, until `close()`. */
  readonly keepMonitor?: boolean;
}

export interface RunResult {
  readonly status: "completed" | "stopped";
  readonly runDirectory: string;
  /** What `report.json` holds. */
  readonly report: Json;
}

/** Where the lifecycle stands: a state's name such as `training`, `paused`, `completed`. */
export interface LifecycleState {
  readonly lifecycle: string;
  readonly phase: number;
}

export interface TrainingSystem {
  /** Registers a part under a name that the configuration may use. Errors: WEIR_E_ACTOR_DUPLICATE, WEIR_E_ACTOR_LATE. */
  register<K extends PartKind>(kind: K, name: string, factory: PartFactory<K>): TrainingSystem;
  /** Prepares the run and lets it go; resolves once it is under way. */
  start(): Promise<void>;
  /** Takes effect at the next safe point: between two steps. */
  pause(): void;
  resume(): void;
  checkpoint(): void;
  /** Ends the run: by default after the step at hand and a last checkpoint; with `abort` at once. */
  stop(options?: { readonly abort?: boolean }): Promise<RunResult>;
  /** Ends the present phase after the step at hand; false in the last phase or outside training. */
  skipPhase(): boolean;
  /** Stops serving a monitor that was kept; the run itself must have ended. */
  close(): Promise<void>;
  /** Resolves at the end of the run; rejects with the error that ended it. */
  readonly done: Promise<RunResult>;
  readonly state: LifecycleState;
  readonly runDirectory: string | null;
  /** URL of the live monitor, once started; null where it is switched off. */
  readonly monitorUrl: string | null;
  readonly state$: Observable<LifecycleState>;
  readonly metrics$: Observable<MetricRecord>;
  readonly alerts$: Observable<Alert>;
  readonly traces$: Observable<Trace>;
  readonly facts$: Observable<Fact>;
  readonly gauges$: Observable<readonly QueueGauge[]>;
}

/**
 * Checks the configuration and makes a system that has not started yet.
 * Errors: WEIR_E_CONFIG, WEIR_E_ACTOR_*.
 */
export function createTrainingSystem(
  config: ConfigInput | Config,
  options: TrainingSystemOptions = {},
): TrainingSystem {
  return new System(parseConfig(config), options);
}

class System implements TrainingSystem {
  readonly state$ = new Subject<LifecycleState>();
  readonly metrics$ = new Subject<MetricRecord>();
  readonly alerts$ = new Subject<Alert>();
  readonly traces$ = new Subject<Trace>();
  readonly facts$ = new Subject<Fact>();
  readonly gauges$ = new Subject<readonly QueueGauge[]>();
  readonly done: Promise<RunResult>;

  private readonly registry;
  private readonly published = new PublishedMetrics((error) => this.remark(error));
  private readonly settle: { resolve(result: RunResult): void; reject(error: unknown): void };
  private started = false;
  private run: OpenedRun | null = null;
  private machine: Actor<typeof lifecycleMachine> | null = null;
  private monitor: AttachedMonitor | null = null;
  private lifecycle = "created";

  constructor(
    private readonly config: Config,
    private readonly options: TrainingSystemOptions,
  ) {
    this.registry = createRegistry(config, {
      publish: (name, value) => this.published.publish(name, value),
      report: (error) => this.remark(error),
    });
    assertPartNames(options.actors ?? {});
    const { advantage, reward, curriculum, judge } = options.actors ?? {};
    if (advantage) this.registry.use("advantage", advantage);
    if (reward) this.registry.use("reward", reward);
    if (curriculum) this.registry.use("curriculum", curriculum);
    if (judge) this.registry.use("judge", judge);
    let settle: System["settle"] = { resolve: () => undefined, reject: () => undefined };
    this.done = new Promise((resolve, reject) => {
      settle = { resolve, reject };
    });
    // A caller that only listens to observables must not be killed by an unhandled rejection.
    this.done.catch(() => undefined);
    this.settle = settle;
  }

  register<K extends PartKind>(kind: K, name: string, factory: PartFactory<K>): TrainingSystem {
    this.registry.register(kind, name, factory);
    return this;
  }

  get state(): LifecycleState {
    return { lifecycle: this.lifecycle, phase: this.run?.context.curriculumMachine.getSnapshot().context.phase ?? 1 };
  }

  get runDirectory(): string | null {
    return this.run?.context.store.directory ?? null;
  }

  get monitorUrl(): string | null {
    return this.monitor?.url ?? null;
  }

  async start(): Promise<void> {
    if (this.started)
      throw new WeirError("WEIR_E_STATE", "start() was called twice; make another system for another run", {});
    this.started = true;
    this.registry.seal();
    try {
      const names = {
        advantage: this.config.advantage.actor,
        reward: this.config.reward.actor,
        curriculum: this.config.curriculum.actor,
        judge: this.config.reward.judge.actor,
      };
      const parts = {
        advantage: this.registry.build("advantage", names),
        reward: this.registry.build("reward", names),
        curriculum: this.registry.build("curriculum", names),
      };
      const origins = partsRecord(this.registry, names, this.options.partsFiles ?? []);
      this.run = await openRun(this.config, {
        parts,
        origins: origins as unknown as Json,
        published: this.published,
        ...(this.options.actors?.engine ? { engine: this.options.actors.engine } : {}),
        ...(this.options.resume === undefined ? {} : { resume: this.options.resume }),
        ...(this.options.logger ? { logger: this.options.logger } : {}),
        taps: {
          fact: (type, step, data) => this.fact(type, step, data),
          metrics: (record) => this.metrics(record),
          alert: (alert) => this.alert(alert),
          trace: (trace) => {
            this.traces$.next(trace);
            this.monitor?.trace(trace);
          },
          changed: () => this.changed(),
        },
        onGauges: (gauges) => {
          this.gauges$.next(gauges);
          this.monitor?.gauges(gauges);
        },
      });
      const { context } = this.run;
      this.compareParts(origins);
      for (const remark of unusedParts(this.registry, names)) this.remark(remark);
      if (this.config.monitor.enabled) {
        this.monitor = await attachMonitor(context, this.controls(), this.run.pastFacts);
      }
      await this.run.begin();
      this.runMachine(context);
    } catch (error) {
      await this.end(() => this.settle.reject(error));
      throw error;
    }
  }

  pause(): void {
    this.require().send({ type: "PAUSE" });
  }

  resume(): void {
    this.require().send({ type: "RESUME" });
  }

  checkpoint(): void {
    this.require().send({ type: "CHECKPOINT" });
  }

  stop(options: { readonly abort?: boolean } = {}): Promise<RunResult> {
    this.require().send({ type: options.abort ? "ABORT" : "STOP" });
    return this.done;
  }

  skipPhase(): boolean {
    const context = this.run?.context;
    if (!context || this.lifecycle !== "training" || this.state.phase >= context.phases.length) return false;
    context.skipPhase = true;
    return true;
  }

  async close(): Promise<void> {
    await this.monitor?.close();
    this.monitor = null;
  }

  private controls(): MonitorControls {
    return {
      pause: () => this.pause(),
      resume: () => this.resume(),
      checkpoint: () => this.checkpoint(),
      stop: (abort) => void this.stop({ abort }).catch(() => undefined),
      skipPhase: () => this.skipPhase(),
      reached: (test) =>
        new Promise((resolve) => {
          if (test(this.lifecycle)) {
            resolve(this.lifecycle);
            return;
          }
          const subscription = this.state$.subscribe({
            next: ({ lifecycle }) => {
              if (!test(lifecycle)) return;
              subscription.unsubscribe();
              resolve(lifecycle);
            },
            complete: () => resolve(this.lifecycle),
          });
        }),
    };
  }

  private require(): Actor<typeof lifecycleMachine> {
    if (!this.machine)
      throw new WeirError("WEIR_E_STATE", "the training system has not started; call start() first", {});
    return this.machine;
  }

  private runMachine(context: RunContext): void {
    const piece = (work: (context: RunContext, signal: AbortSignal) => Promise<void>) =>
      fromPromise<Plan>(async ({ signal }) => {
        await work(context, signal);
        return planOf(context.progress, context.workload);
      });
    const recover = async (_: RunContext, signal: AbortSignal) => {
      const recoveries = this.machine?.getSnapshot().context.recoveries ?? 1;
      const reason = String((this.machine?.getSnapshot().context.error as Error | null)?.message ?? "engine lost");
      context.log.warn(
        { actor: "lifecycle", reason },
        "the engine was lost; restarting it and restoring the last checkpoint",
      );
      await context.supervisor.restart(this.config.engine.restartDelayMs * 2 ** Math.max(0, recoveries - 1), signal);
      await restoreRun(context, reason, signal);
    };
    const machine = lifecycleMachine.provide({
      actors: {
        preflight: piece(doPreflight),
        evaluate: piece(doEvaluate),
        warmup: piece(doWarmup),
        step: piece(doStep),
        checkpoint: piece(doCheckpoint),
        finish: piece(doFinish),
        recover: piece(recover),
        drain: piece(doCheckpoint),
      },
    });
    const actor = createActor(machine, {
      input: { plan: planOf(context.progress, context.workload), maxRecoveries: this.config.engine.maxRestarts },
    });
    this.machine = actor;
    actor.subscribe({
      next: (snapshot) => {
        const name = typeof snapshot.value === "string" ? snapshot.value : String(Object.values(snapshot.value)[0]);
        if (name === "deciding" || name === this.lifecycle) return;
        this.lifecycle = name;
        this.fact("lifecycle.changed", context.progress.step, { machine: "lifecycle", value: snapshot.value as Json });
        this.changed();
        if (snapshot.status === "done") void this.conclude(name, snapshot.context.error);
      },
      error: (error) => void this.conclude("failed", error),
    });
    actor.start();
  }

  private async conclude(state: string, error: unknown): Promise<void> {
    const context = this.run?.context as RunContext;
    if (state === "failed") {
      context.log.error({ actor: "lifecycle", err: error }, "the run failed");
      this.fact("run.finished", context.progress.step, {
        status: "failed",
        error: error instanceof Error ? error.message : String(error),
      });
      await this.end(() => this.settle.reject(error));
      return;
    }
    const status = state === "completed" ? "completed" : "stopped";
    let report: Json = null;
    try {
      report = await finishReport(context);
    } catch (cause) {
      context.log.error({ actor: "lifecycle", err: cause }, "the report could not be written");
    }
    this.fact("run.finished", context.progress.step, { status });
    await this.end(() => this.settle.resolve({ status, runDirectory: context.store.directory, report }));
  }

  /** Errors: WEIR_E_ACTOR_MISSING where a resumed run had a part of the user's own that is not given now. */
  private compareParts(now: PartsRecord): void {
    const first = this.run?.pastFacts.find((fact) => fact.type === "run.started");
    for (const remark of assertOrigins(first?.data.parts as PartsRecord | undefined, now)) this.remark(remark);
  }

  /** A fault that ends nothing: to the log, and to whoever started the run. */
  private remark(error: WeirError): void {
    this.run?.context.log.warn({ actor: "parts", code: error.code }, error.message);
    if (this.options.onRemark) this.options.onRemark(error);
    else process.emitWarning(error.message, { code: error.code });
  }

  /** Releases everything, then settles `done`. */
  private async end(settle: () => void): Promise<void> {
    try {
      if (!this.options.keepMonitor) await this.close();
      await this.run?.close();
    } finally {
      for (const subject of [this.state$, this.metrics$, this.alerts$, this.traces$, this.facts$, this.gauges$])
        subject.complete();
      settle();
    }
  }

  private fact(type: FactType, step: number, data: Readonly<Record<string, Json>>): Fact {
    const fact = (this.run as OpenedRun).append(type, step, data);
    this.facts$.next(fact);
    this.monitor?.fact(fact);
    return fact;
  }

  private metrics(record: MetricRecord): void {
    assertMetrics(record.values);
    this.fact("metrics.recorded", record.step, { phase: record.phase, values: { ...record.values } });
    this.metrics$.next(record);
  }

  private alert(alert: Alert): void {
    this.fact("alert.raised", alert.step, { alert: alert as unknown as Json });
    this.alerts$.next(alert);
    this.run?.context.log.warn({ actor: "guard", step: alert.step, rule: alert.rule }, alert.text);
  }

  private changed(): void {
    if (!this.run) return;
    this.state$.next(this.state);
  }
}
