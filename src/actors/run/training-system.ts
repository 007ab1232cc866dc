import type { Logger } from "pino";
import type { Observable } from "rxjs";
import type { Webhook } from "../../../monitor/server/webhook.js";
import { parseConfig } from "../../config/load.js";
import type { Config, ConfigInput } from "../../config/schema.js";
import type { ActorStatus } from "../../contracts/actor-status.js";
import type { Alert } from "../../contracts/alert.js";
import type { Fact, FactData, FactType } from "../../contracts/fact.js";
import type { Initiator, KnobState, OrderWish } from "../../contracts/knob.js";
import type { MetricRecord } from "../../contracts/metrics.js";
import type { PartsFile } from "../../contracts/part-origin.js";
import type { Json } from "../../contracts/task.js";
import type { Trace } from "../../contracts/trace.js";
import { assertFormat } from "../../data/formats/index.js";
import { WeirError } from "../../errors.js";
import { startEngine } from "../../model/engine/host.js";
import type { PolicyPlaceOptions } from "../../store/policy-place.js";
import { readRunRecord } from "../../store/run-record.js";
import type { QueueGauge } from "../../streams/bounded-queue.js";
import { InFlight } from "../../streams/in-flight.js";
import { assertMetrics } from "../../streams/telemetry/metrics.js";
import { PublishedMetrics } from "../../streams/telemetry/published-metrics.js";
import { assertJudge } from "../evaluation/evaluate-benchmark.js";
import type { RunBenchmarks } from "../evaluation/run-benchmark-list.js";
import { createRegistry } from "../parts/built-ins.js";
import { buildRunParts, type ChosenKind, type PartKind, type Parts } from "../parts/part-kinds.js";
import { assertPartNames, partsRecord, unusedParts } from "../parts/part-origins.js";
import { assertChosen, type PartFactory } from "../parts/registry.js";
import { assertCountingJudge } from "../reward/behaviour-counts.js";
import { trackedReward } from "../reward/tracked-reward.js";
import type { SamplerPool } from "../rollout/sampler-pool.js";
import { artifactKind } from "../update/publisher.js";
import { assertCanTrain } from "./can-train.js";
import { judgesBefore } from "./capabilities.js";
import { type EngineFactory, EngineSupervisor } from "./engine-supervisor.js";
import { foreignPrecisions } from "./foreign-engines.js";
import { knobsOfRun } from "./knobs.js";
import { type AttachedMonitor, attachMonitor, type MonitorControls, webhookOf } from "./monitoring.js";
import { type OpenedRun, openRun } from "./open-run.js";
import { anotherPhase, assertOrder } from "./orders.js";
import { PartReplacements } from "./replacement.js";
import { RunActor } from "./run-actor.js";
import type { RunContext } from "./run-context.js";
import { driving, RunDriver, type RunEnd } from "./run-driver.js";
import { finishReport } from "./run-work.js";
import {
  createSamplerEngines,
  judgeMemory,
  memoryParts,
  samplerCount,
  samplingOnly,
  trainsHere,
} from "./sampler-engines.js";
import { createStreams, type LifecycleState } from "./streams.js";

/**
 * The training system: one run from start to end behind a small handle. It owns the lifecycle machine, the fan-out of
 * facts, metrics, alerts and traces, and the orderly end; the work itself is in run-work.ts.
 */

export type { LifecycleState };

/** Parts passed by value; each replaces the one that the configuration names. */
export interface TrainingActors extends Partial<Pick<Parts, ChosenKind>> {
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

export interface OrderOptions {
  /** For the journal. */
  readonly reason?: string;
}

export interface RollBackOptions extends OrderOptions {
  /** Last RL step that is to stay; all but the last one unless given. */
  readonly toStep?: number;
}

export interface RunResult {
  readonly status: "completed" | "stopped";
  readonly runDirectory: string;
  /** What `report.json` holds. */
  readonly report: Json;
}

export interface TrainingSystem {
  /**
   * Registers a part under a name that the configuration may use; `file` says where it was loaded from.
   * Errors: WEIR_E_ACTOR_DUPLICATE, WEIR_E_ACTOR_LATE.
   */
  register<K extends PartKind>(kind: K, name: string, factory: PartFactory<K>, file?: PartsFile): TrainingSystem;
  /**
   * Replaces a part of a run that is under way, between two pieces of work, by another one or by the name of a registered one;
   * resolves once the new one is in use. State goes over by `snapshot` and `restore` where the parts have them.
   * Errors: WEIR_E_REPLACE for a trainer or policy store, or a part that does not fit the run; WEIR_E_PART, WEIR_E_CAPABILITY;
   * WEIR_E_ACTOR_UNKNOWN; WEIR_E_STATE before the start and where the run ends first. The run goes on with the old part then.
   */
  replace<K extends ChosenKind>(kind: K, part: Parts[K] | string): Promise<void>;
  /**
   * Turns a knob between two pieces of work; resolves once the turn has taken effect and is in the run folder, so that it outlives
   * a kill. Null takes the option's own default, where it has one. Errors: WEIR_E_KNOB for an unknown path or a value beyond its
   * bounds; WEIR_E_CONFIG and WEIR_E_CAPABILITY where the run's parts do not allow it; WEIR_E_STATE before the start and where the
   * run ends first; WEIR_E_DISK.
   */
  setKnob(path: string, value: number | null, options?: OrderOptions): Promise<void>;
  /** What can be turned in this run, as it is now; empty before the start. */
  readonly knobs: readonly KnobState[];
  /**
   * Has the batch of the next RL step change no weight; resolves once that is in the run folder. The batch is saved as one that the
   * guard skipped. Errors: WEIR_E_CAPABILITY for a trainer that cannot throw a gradient away; WEIR_E_STATE, WEIR_E_DISK.
   */
  skipBatch(options?: OrderOptions): Promise<void>;
  /** Prepares the run and lets it go; resolves once it is under way. */
  start(): Promise<void>;
  /** Takes effect at the next safe point: between two steps. */
  pause(): void;
  resume(): void;
  checkpoint(): void;
  /** Ends the run: by default after the current step and a last checkpoint; with `abort` at once. */
  stop(options?: { readonly abort?: boolean }): Promise<RunResult>;
  /**
   * Takes the run back to a snapshot, between two pieces of work, while journal and ledger go on; resolves once it is there. Knobs that
   * were turned since are as they were. Errors: WEIR_E_STATE where there is no such snapshot, before the start, and where the run
   * ends first.
   */
  rollBack(options?: RollBackOptions): Promise<void>;
  /** Ends the present phase after the current step; false in the last phase or outside training. */
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
  /** The supervision tree: state, work and restarts of each actor. */
  readonly actors$: Observable<readonly ActorStatus[]>;
}

/**
 * Checks the configuration and makes a system that has not started yet.
 * Errors: WEIR_E_CONFIG, WEIR_E_ACTOR_*.
 */
export function createTrainingSystem(
  config: ConfigInput | Config,
  options: TrainingSystemOptions = {},
): TrainingSystem {
  const parsed = parseConfig(config);
  assertFormat(parsed.data.format);
  return new System(parsed, options);
}

/** Who turns a knob by a call of the training system's own. */
const PROGRAM: Initiator = { kind: "program", name: "" };

class System implements TrainingSystem {
  readonly done: Promise<RunResult>;

  private readonly out = createStreams((error) => this.subscriberFault(error));
  readonly state$ = this.out.state.observable;
  readonly metrics$ = this.out.metrics.observable;
  readonly alerts$ = this.out.alerts.observable;
  readonly traces$ = this.out.traces.observable;
  readonly facts$ = this.out.facts.observable;
  readonly gauges$ = this.out.gauges.observable;
  readonly actors$ = this.out.actors.observable;

  private readonly inFlight = new InFlight();
  private readonly registry;
  private readonly supervisor: EngineSupervisor;
  /** The samplers of `rollout.engines`; null without. */
  private readonly samplers: SamplerPool | null;
  private readonly replacements: PartReplacements;
  private readonly published = new PublishedMetrics((error) => this.remark(error));
  private readonly settle: { resolve(result: RunResult): void; reject(error: unknown): void };
  private started = false;
  private run: OpenedRun | null = null;
  private driver: RunDriver | null = null;
  private monitor: AttachedMonitor | null = null;
  private webhook: Webhook | null = null;
  private failedEarly = false;
  private readonly node = new RunActor();
  private concluded = false;

  constructor(
    private readonly config: Config,
    private readonly options: TrainingSystemOptions,
  ) {
    const { engine, ...actors } = options.actors ?? {};
    const start: EngineFactory =
      engine ??
      ((modelDir, settings, signal) => startEngine({ modelDir, options: settings, ...(signal ? { signal } : {}) }));
    const trains = trainsHere(config);
    const { judge, rest } = judgeMemory(config, trains);
    const memory = memoryParts(rest, samplerCount(config), trains);
    this.supervisor = new EngineSupervisor(start, config.model.path, {
      ...config.engine,
      memoryGiB: memory.trainer,
      lora: trains ? config.model.lora && { ...config.model.lora, seed: config.run.seed } : null,
    });
    this.samplers = createSamplerEngines(config, start, memory.sampler);
    this.registry = createRegistry(
      config,
      {
        publish: (name, value) => this.published.publish(name, value),
        report: (error) => this.remark(error),
        callTimeoutMs: config.engine.requestTimeoutMs,
      },
      {
        parts: () => this.embedded(),
        samplers: this.samplers,
        judge: { start, memoryGiB: judge },
        policyPlace: () => this.policyPlace(),
      },
      () => (this.run === null ? null : foreignPrecisions(this.run.context)),
    );
    this.replacements = new PartReplacements(this.registry, () => this.names(), this.inFlight);
    assertPartNames(options.actors ?? {});
    for (const [kind, part] of Object.entries(actors) as [ChosenKind, Parts[ChosenKind] | undefined][])
      if (part) this.registry.use(kind, part);
    let settle: System["settle"] = { resolve: () => undefined, reject: () => undefined };
    this.done = new Promise((resolve, reject) => {
      settle = { resolve, reject };
    });
    // A caller that only listens to observables must not be killed by an unhandled rejection.
    this.done.catch(() => undefined);
    this.settle = settle;
  }

  register<K extends PartKind>(
    kind: K,
    name: string,
    factory: PartFactory<K>,
    file: PartsFile | null = null,
  ): TrainingSystem {
    this.registry.register(kind, name, factory, file);
    return this;
  }

  async replace<K extends ChosenKind>(kind: K, part: Parts[K] | string): Promise<void> {
    await this.replacement(kind, part, PROGRAM);
  }

  /** Throws before the start. Errors: as `replace`. */
  private replacement<K extends ChosenKind>(kind: K, part: Parts[K] | string, by: Initiator): Promise<void> {
    const { driver } = this.underWay("a part can be replaced");
    const done = this.replacements.request(kind, part, by);
    if (this.lifecycle === "paused") driver.atRest();
    return done;
  }

  async setKnob(path: string, value: number | null, { reason }: OrderOptions = {}): Promise<void> {
    await this.order({ order: { type: "set", path, value }, by: PROGRAM, reason: reason ?? null });
  }

  async skipBatch({ reason }: OrderOptions = {}): Promise<void> {
    await this.order({ order: { type: "skipBatch" }, by: PROGRAM, reason: reason ?? null });
  }

  async rollBack({ toStep, reason }: RollBackOptions = {}): Promise<void> {
    await this.goBack(PROGRAM, toStep ?? null, reason ?? "asked for by the program");
  }

  /** Throws where there is no such snapshot. Errors: as `rollBack`. */
  private goBack(by: Initiator, to: number | null, reason: string): Promise<void> {
    const { driver } = this.underWay("a run can be rolled back");
    return driver.rollBack({ to, by, reason });
  }

  get knobs(): readonly KnobState[] {
    return this.run === null ? [] : knobsOfRun(this.run.context);
  }

  /** Throws where the order could not be obeyed now. Errors: as `setKnob`. */
  private order(wish: OrderWish): Promise<void> {
    const { context, driver } = this.underWay("a run can be steered");
    assertOrder(context, wish.order);
    const done = context.orders.request(wish);
    if (this.lifecycle === "paused") driver.atRest();
    return done;
  }

  private underWay(what: string): { readonly context: RunContext; readonly driver: RunDriver } {
    const { context } = this.run ?? {};
    if (context && this.driver && !this.concluded) return { context, driver: this.driver };
    throw new WeirError("WEIR_E_STATE", `${what} while a run is under way; call start() first`, {});
  }

  /** Names by which the configuration chooses parts. */
  private names(): Readonly<Record<ChosenKind, string>> {
    const { config } = this;
    const [sampler, trainer] = [config.sampler.actor, config.trainer.actor];
    const store = config.policyStore.actor;
    // Workers on other machines get policies where they get groups.
    const remote = this.registry.origin("workQueue", config.workQueue.actor).kind === "nats";
    return {
      advantage: config.advantage.actor,
      reward: config.reward.actor,
      curriculum: config.curriculum.actor,
      judge: config.reward.judge.actor,
      loss: config.loss.algorithm,
      sampler,
      trainer,
      policyStore: store !== "auto" ? store : remote ? "nats" : this.sharesWeights() ? "engine" : "folder",
      workQueue: config.workQueue.actor,
      filter: config.dynamicSampling.enabled ? config.dynamicSampling.filter : "none",
      guard: config.guard.actor === "auto" ? this.fittingGuard() : config.guard.actor,
      ...this.replacements.named,
    };
  }

  /** Sampler and trainer are on one engine or server, so that no weights have to be handed over. */
  private sharesWeights(): boolean {
    const { config, registry } = this;
    const [sampler, trainer] = (["sampler", "trainer"] as const).map((kind) =>
      registry.origin(kind, config[kind].actor),
    );
    if (sampler?.source !== "built-in" || trainer?.source !== "built-in" || sampler.kind !== trainer.kind) return false;
    const { urls } = config.sampler;
    return sampler.kind === "engine"
      ? this.samplers === null
      : urls.every((url) => sameAddress(url, config.trainer.url));
  }

  /** The built-in guard that the trainer has the operations for. */
  private fittingGuard(): "standard" | "finite" {
    const { trainer } = this.options.actors ?? {};
    const { source } = this.registry.origin("trainer", this.config.trainer.actor);
    // A built-in trainer does either: throw gradients away, or rehearse.
    const judged = trainer ? trainer.capabilities && judgesBefore(this.config, trainer) : source === "built-in";
    return judged ? "standard" : "finite";
  }

  private get lifecycle(): string {
    return this.failedEarly ? "failed" : (this.driver?.lifecycle ?? "created");
  }

  /** Starts the samplers of `rollout.engines` where the run samples from them, and journals what becomes of each. */
  private async startSamplers(names: Readonly<Record<ChosenKind, string>>): Promise<void> {
    const { samplers, registry } = this;
    const { kind, source } = registry.origin("sampler", names.sampler);
    if (samplers === null || kind !== "engine" || source !== "built-in") return;
    samplers.onChange((change) => this.actorChanged(change));
    await samplers.start();
  }

  private actorChanged(change: FactData["actor.changed"]): void {
    const context = this.run?.context;
    if (!context || this.concluded) return;
    const { actor, state, reason } = change;
    context.log.warn({ actor, state }, reason ?? "runs again");
    // The tree shows it together with the fact, not with the next reading.
    context.gauges.publish();
    try {
      this.fact("actor.changed", context.progress.step, change);
    } catch (error) {
      void this.driver?.fail(error);
    }
  }

  private embedded() {
    const { supervisor, config } = this;
    supervisor.need();
    const { parts } = supervisor;
    return trainsHere(config) ? parts : { ...parts, sampler: samplingOnly(parts.sampler) };
  }

  private policyPlace(): PolicyPlaceOptions {
    const context = this.run?.context;
    if (!context)
      throw new WeirError("WEIR_E_STATE", "the run folder is not there yet; publish policies once the run has begun");
    const { directory, maxGiB } = this.config.policyStore;
    const { trainedParameters, parameters } = context.parts.trainer.model;
    const numbers = artifactKind(context.parts) === "adapter" ? trainedParameters : parameters;
    return {
      ...{ directory, maxGiB, runDirectory: context.store.directory },
      preferMemory: this.samplers !== null,
      // Published weights are float32.
      versionBytes: 4 * numbers,
    };
  }

  /** The benchmarks of the configuration. They ask the judge of the run's reward, or where that asks none the configured one. */
  private benchmarks(names: Readonly<Record<ChosenKind, string>>): RunBenchmarks {
    const { registry, config } = this;
    const all = config.evaluation.benchmarks.map((one) => ({
      ...one,
      benchmark: registry.build("benchmark", { benchmark: one.name }),
    }));
    const { url, actor } = config.reward.judge;
    const configured = url !== null || actor !== "openai" || registry.origin("judge", names.judge).source === "own";
    const missing = all.length > 0 && registry.latest("judge") === null;
    const own = missing && configured ? registry.build("judge", names) : null;
    for (const { name, benchmark } of all) assertJudge(name, benchmark, registry.latest("judge"));
    const dispose = async () => {
      for (const { benchmark } of all) await benchmark.dispose?.();
      await own?.dispose?.();
    };
    return { all, judge: () => registry.latest("judge"), dispose };
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
      const replaced = await this.replacedBefore();
      const names = this.names();
      const build = <K extends PartKind>(kind: K) => this.registry.build(kind, names);
      const reward = this.registry.buildAsking("reward", names);
      this.replacements.asksJudge = reward.asked.has("judge");
      const parts = buildRunParts(build, trackedReward(reward.part, this.inFlight), this.registry.hasQueue(names));
      assertCanTrain(this.config, parts.advantage);
      const judge = () => (this.replacements.asksJudge ? this.registry.latest("judge") : null);
      if (this.config.reward.behaviours.judgeShare > 0) assertCountingJudge(judge());
      const benchmarks = this.benchmarks(names);
      const files = this.options.partsFiles ?? [];
      const origins = () => partsRecord(this.registry, this.names(), files, this.replacements.asksJudge);
      this.run = await openRun(this.config, {
        parts,
        benchmarks,
        origins,
        judge,
        published: this.published,
        supervisor: this.supervisor,
        startSamplers: () => this.startSamplers(names),
        ...(this.options.resume === undefined ? {} : { resume: this.options.resume }),
        ...(this.options.logger ? { logger: this.options.logger } : {}),
        taps: {
          fact: (type, step, data) => this.fact(type, step, data),
          metrics: (record) => this.metrics(record),
          alert: (alert) => this.alert(alert),
          trace: (trace) => {
            this.out.traces.next(trace);
            this.monitor?.trace(trace);
          },
          changed: () => this.changed(),
        },
        onGauges: (reading) => {
          this.out.gauges.next(reading.queues);
          this.out.actors.next(reading.actors);
          this.monitor?.gauges(reading);
        },
      });
      const { context } = this.run;
      context.gauges.watchActor(() => this.node.status(context.progress.step));
      context.gauges.watchActor(() => this.samplers?.actors() ?? []);
      const unused = unusedParts(this.registry, names);
      for (const remark of [...replaced, ...this.run.partRemarks, ...unused]) this.remark(remark);
      this.webhook = webhookOf(context);
      if (this.config.monitor.enabled) {
        this.monitor = await attachMonitor(context, this.controls(), this.run.pastFacts());
      }
      await this.run.begin();
      this.driver = this.drive(context);
      void this.driver.ended.then((end) => this.conclude(end));
      this.driver.start();
    } catch (error) {
      this.concluded = true;
      this.failedEarly = true;
      await this.end(() => this.settle.reject(error));
      throw error;
    }
  }

  /** Puts back what a resumed run was given by name; gives what is worth a remark. */
  private async replacedBefore(): Promise<readonly WeirError[]> {
    const { resume } = this.options;
    if (resume === undefined) return [];
    // What is wrong with the folder is told where it is opened.
    const record = await readRunRecord(resume).catch(() => null);
    return record === null ? [] : this.replacements.adopt(record, this.config);
  }

  pause(): void {
    driving(this.driver).send({ type: "PAUSE" });
  }

  resume(): void {
    driving(this.driver).send({ type: "RESUME" });
  }

  checkpoint(): void {
    driving(this.driver).send({ type: "CHECKPOINT" });
  }

  stop(options: { readonly abort?: boolean } = {}): Promise<RunResult> {
    driving(this.driver).send({ type: options.abort ? "ABORT" : "STOP" });
    return this.done;
  }

  skipPhase(): boolean {
    return this.endPhase(PROGRAM);
  }

  private endPhase(by: Initiator): boolean {
    const context = this.run?.context;
    if (!context || this.lifecycle !== "training" || !anotherPhase(context)) return false;
    context.orders.request({ order: { type: "skipPhase" }, by, reason: null }).catch((error) => {
      context.log.warn({ actor: "knobs", err: error }, "the phase was not ended");
    });
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
      skipPhase: (by) => this.endPhase(by),
      order: (wish) => this.order(wish),
      rollBack: (by, to, reason) => this.goBack(by, to, reason),
      replace: (kind, name, by) => {
        assertChosen(kind);
        return this.replacement(kind, name, by);
      },
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

  private drive(context: RunContext): RunDriver {
    return new RunDriver(context, {
      inFlight: this.inFlight,
      safePoint: (signal) => this.atSafePoint(context, signal),
      onState: (name, error) => {
        this.node.enter(name, error);
        this.changed();
        context.gauges.publish();
      },
    });
  }

  private async atSafePoint(context: RunContext, signal: AbortSignal): Promise<void> {
    await this.inFlight.track(context.orders.apply(signal));
    await this.replacements.apply(context, signal);
  }

  /** Brings the run to its end. Never rejects. */
  private async conclude({ status, error }: RunEnd): Promise<void> {
    this.concluded = true;
    const context = this.run?.context as RunContext;
    this.replacements.end();
    context.orders.end();
    if (status === "failed") {
      context.log.error({ actor: "lifecycle", err: error }, "the run failed");
      this.lastFact(context, { status, error: error instanceof Error ? error.message : String(error) });
      await this.end(() => this.settle.reject(error));
      return;
    }
    let report: Json = null;
    try {
      report = await finishReport(context);
    } catch (cause) {
      context.log.error({ actor: "lifecycle", err: cause }, "the report could not be written");
    }
    this.lastFact(context, { status });
    await this.end(() => this.settle.resolve({ status, runDirectory: context.store.directory, report }));
  }

  /** A fault that ends nothing: to the log, and to whoever started the run. */
  private remark(error: WeirError): void {
    this.run?.context.log.warn({ actor: "parts", code: error.code }, error.message);
    if (this.options.onRemark) this.options.onRemark(error);
    else process.emitWarning(error.message, { code: error.code });
  }

  /** The fact of the end, where it can still be written; the run ends either way. */
  private lastFact(context: RunContext, data: FactData["run.finished"]): void {
    this.told(() => this.fact("run.finished", context.progress.step, data));
  }

  private told(tell: () => void): void {
    try {
      tell();
    } catch (cause) {
      this.run?.context.log.error({ actor: "lifecycle", err: cause }, "the end of the run could not be journalled");
    }
  }

  /** Releases everything, then settles `done`; what could not be closed is logged, and told where nothing else went wrong. */
  private async end(settle: () => void): Promise<void> {
    const failures: unknown[] = [];
    const keep = (error: unknown) => failures.push(error);
    if (!this.options.keepMonitor) await this.close().catch(keep);
    await this.webhook?.close();
    await this.run?.close().catch(keep);
    for (const stream of Object.values(this.out)) stream.complete();
    if (failures.length > 0 && this.lifecycle !== "failed") this.settle.reject(failures[0]);
    // A promise that is settled already stays as it is.
    settle();
  }

  private fact<T extends FactType>(type: T, step: number, data: FactData[T]): Fact {
    const fact = (this.run as OpenedRun).append(type, step, data);
    this.out.facts.next(fact);
    this.monitor?.fact(fact);
    this.webhook?.fact(fact);
    return fact;
  }

  /** A subscriber's fault is told, in the log where there is one, and changes nothing for anybody else. */
  private subscriberFault(error: unknown): void {
    const text = error instanceof Error ? error.message : String(error);
    const fault = new WeirError(
      "WEIR_E_SUBSCRIBER",
      `a subscriber of the training system's streams threw: ${text}; the run goes on and the subscriber is told further records, fix it`,
      {},
      { cause: error },
    );
    if (this.run) this.run.context.log.warn({ actor: "streams", err: fault }, fault.message);
    else process.emitWarning(fault.message, { code: fault.code });
  }

  private metrics(record: MetricRecord): void {
    assertMetrics(record.values);
    this.fact("metrics.recorded", record.step, { phase: record.phase, values: { ...record.values } });
    this.out.metrics.next({ ...record, values: Object.freeze({ ...record.values }) });
  }

  private alert(alert: Alert): void {
    this.fact("alert.raised", alert.step, { alert });
    this.out.alerts.next(Object.freeze({ ...alert }));
    this.run?.context.log.warn({ actor: "guard", step: alert.step, rule: alert.rule }, alert.text);
  }

  private changed(): void {
    if (!this.run) return;
    this.out.state.next(this.state);
  }
}

/** Whether two addresses are one server's; null is none. */
function sameAddress(a: string, b: string | null): boolean {
  return b !== null && new URL(a).href === new URL(b).href;
}
