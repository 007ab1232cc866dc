import { pino } from "pino";
import { createActor } from "xstate";
import { curriculumMachine } from "../actors/curriculum/machine.js";
import { createRegistry } from "../actors/parts/built-ins.js";
import { buildRunParts, type ChosenKind, NO_QUEUE, type Parts } from "../actors/parts/part-kinds.js";
import { partsRecord } from "../actors/parts/part-origins.js";
import type { PartRegistry } from "../actors/parts/registry.js";
import { SamplerPool } from "../actors/rollout/sampler-pool.js";
import { detectorOptions } from "../actors/run/detector-options.js";
import type { EngineView } from "../actors/run/engine-supervisor.js";
import { knobsOfRun, liveConfig } from "../actors/run/knobs.js";
import { anotherPhase, assertOrder, RunOrders } from "../actors/run/orders.js";
import { freshProgress } from "../actors/run/progress.js";
import { PartReplacements } from "../actors/run/replacement.js";
import type { RunContext, RunTaps } from "../actors/run/run-context.js";
import { RunDriver, type RunEnd } from "../actors/run/run-driver.js";
import { createPipeline } from "../actors/run/run-pipeline.js";
import { finishReport, restoreRun, setUpCurriculum } from "../actors/run/run-work.js";
import { warmupSteps } from "../actors/run/warmup.js";
import { PolicyPublisher } from "../actors/update/publisher.js";
import { phasesFrom } from "../algorithms/phases.js";
import type { Config } from "../config/schema.js";
import type { Fact } from "../contracts/fact.js";
import type { OrderWish } from "../contracts/knob.js";
import type { ArtifactKind } from "../contracts/published-policy.js";
import type { Sampler } from "../contracts/sampler.js";
import type { Json } from "../contracts/task.js";
import { withDeadline } from "../streams/deadline.js";
import { GaugeBoard } from "../streams/gauges.js";
import { InFlight } from "../streams/in-flight.js";
import { createDetector } from "../streams/telemetry/detector.js";
import { PublishedMetrics } from "../streams/telemetry/published-metrics.js";
import { ScriptedCalls } from "./calls.js";
import { checkCredits } from "./credits.js";
import { FaultPlan } from "./faults.js";
import type { GroundTruth } from "./ground-truth.js";
import { Draws } from "./latency.js";
import { type MemoryDisk, MemoryStore } from "./memory-store.js";
import { scriptedSftRows, scriptedTasks, scriptedTokenizer } from "./scripted-data.js";
import { type BusyTime, ScriptedEngine } from "./scripted-engine.js";
import { createScriptedGuard, createScriptedPolicyStore, createScriptedReward, Outage } from "./scripted-parts.js";
import { createScriptedSampler } from "./scripted-sampler.js";
import { createScriptedTrainer } from "./scripted-trainer.js";
import { turnedValue } from "./turned-value.js";
import type { Lifetime } from "./virtual-time.js";

/**
 * One process of a simulated run, from its start to its end or its death: the real control plane over scripted parts and a stored
 * run in memory. A run that is killed or stopped goes on in another life over the same disk.
 */

export interface LifeOptions {
  readonly config: Config;
  readonly seed: number;
  /** 0 for the first process of a run. */
  readonly number: number;
  /** Probability of a fault at each await. */
  readonly faults: number;
  /** Probability that the guard asks for a rollback, besides its doubts. */
  readonly rollbacks: number;
  readonly time: Lifetime;
  readonly disk: MemoryDisk;
  readonly truth: GroundTruth;
  readonly trace: (what: string) => void;
  readonly onCall: (name: string, ms: number) => void;
  readonly onPaused: () => void;
}

/** How many doubts of a scripted guard come for each fault. */
const DOUBT = 0.2;
/** Share of seeds whose engines have deadlines of their own, as weir's has; the others rely on those of the control plane. */
const EMBEDDED_SHARE = 0.5;
/** Share of seeds whose rewards tell when they take no work. */
const TELLING_SHARE = 0.5;

/** Virtual ms, and those in which samplers (summed) and trainer were at work. */
interface Stage {
  readonly ms: number;
  readonly sampler: number;
  readonly trainer: number;
}

export class Life {
  readonly calls: ScriptedCalls;
  readonly context: RunContext;
  readonly driver: RunDriver;
  readonly outage: Outage;
  readonly samplers: readonly ScriptedEngine[];
  readonly trainer: ScriptedEngine;
  /** False after a kill. */
  alive = true;
  /** How it ended by itself; null before. */
  ended: RunEnd | null = null;
  /** Of the RL stage so far, up to its last step: virtual ms, and those in which engines were at work. */
  stage: Stage = { ms: 0, sampler: 0, trainer: 0 };
  private stageBegan: Stage | null = null;
  private readonly draws: Draws;
  private readonly registry: PartRegistry;
  private readonly inFlight: InFlight;
  private readonly replacements: PartReplacements;
  /** Null where the trainer's engine samples. */
  private readonly pool: SamplerPool | null;

  constructor(readonly options: LifeOptions) {
    const { config, seed, number, faults, time, truth, trace, onCall } = options;
    this.draws = new Draws(seed, "simulation", number);
    this.outage = new Outage(time, new Draws(seed, "simulation", 0).next("readiness") < TELLING_SHARE);
    const plan = new FaultPlan(this.draws, faults);
    this.calls = new ScriptedCalls({ time, faults: plan, draws: this.draws, truth, onCall, trace });
    const embedded = new Draws(seed, "simulation", 0).next("embedded") < EMBEDDED_SHARE;
    const deadline = embedded ? config.engine.requestTimeoutMs : null;
    this.trainer = new ScriptedEngine("trainer", time, deadline, true);
    const beside = Array.from(
      { length: samplersOf(config) },
      (_, i) => new ScriptedEngine(`sampler-${i + 1}`, time, deadline, false),
    );
    this.samplers = beside.length === 0 ? [this.trainer] : beside;
    this.pool = beside.length === 0 ? null : this.poolOf(beside);
    this.inFlight = new InFlight(time);
    this.registry = this.parts();
    this.context = this.open();
    this.replacements = new PartReplacements(this.registry, () => this.names(), this.inFlight);
    this.driver = new RunDriver(this.context, {
      inFlight: this.inFlight,
      safePoint: (signal) => this.atSafePoint(signal),
      onState: (name) => {
        if (name === "paused") this.options.onPaused();
      },
    });
    void this.driver.ended.then((end) => this.conclude(end));
  }

  /** Restores the stored run, in a life after the first, and lets it go. */
  async begin(): Promise<void> {
    const { context } = this;
    await this.pool?.start();
    if (this.options.number > 0)
      await restoreRun(context, { reason: "resumed by hand", freshEngine: true }, new AbortController().signal);
    else
      context.taps.fact("run.started", 0, {
        seed: context.config.run.seed,
        model: context.config.model.path,
        engine: "simulated",
        plannedSteps: context.workload.trainingSteps,
        tasks: context.tasks.size,
        heldoutTasks: context.heldout.length,
        sftRows: context.sftRows.length,
        parts: context.origins(),
      });
    this.driver.start();
  }

  private async atSafePoint(signal: AbortSignal): Promise<void> {
    await this.context.orders.apply(signal);
    await this.replacements.apply(this.context, signal);
  }

  /** As `kill -9`: nothing of it happens any more. */
  kill(): void {
    this.alive = false;
    this.options.time.abandon();
  }

  /** Asks for another reward and another guard at the next safe point. */
  replaceParts(): void {
    const { config, seed, truth } = this.options;
    const world = { config, seed, calls: this.calls, truth };
    const wish = <K extends ChosenKind>(kind: K, part: Parts[K]) =>
      void this.replacements
        .request(kind, part, { kind: "operator", name: "simulated" })
        .catch((error: Error) => this.options.trace(`refused: ${error.message}`));
    wish("reward", createScriptedReward(world, this.outage));
    wish("guard", createScriptedGuard(world, this.doubts));
    if (this.driver.lifecycle === "paused")
      void this.inFlight.track(this.replacements.apply(this.context, new AbortController().signal));
  }

  /** Ends the present phase, where another one follows. */
  skipPhase(): void {
    const { context, driver, options } = this;
    if (driver.lifecycle === "training" && anotherPhase(context))
      void context.orders
        .request({ order: { type: "skipPhase" }, by: { kind: "operator", name: "simulated" }, reason: null })
        .catch((error: Error) => options.trace(`refused: ${error.message}`));
  }

  /** Turns a knob of the run to a value within its bounds; `draw` gives numbers in [0, 1). */
  turnKnob(draw: () => number): void {
    const { context, options } = this;
    const knobs = knobsOfRun(context);
    const knob = knobs[Math.floor(draw() * knobs.length)];
    if (knob === undefined) return;
    const { path } = knob;
    const value = turnedValue(knob, draw());
    options.trace(`control: ${path} to ${value}`);
    const refused = (error: Error) => options.trace(`refused: ${error.message}`);
    try {
      const wish: OrderWish = {
        order: { type: "set", path, value },
        by: { kind: "operator", name: "simulated" },
        reason: null,
      };
      assertOrder(context, wish.order);
      void context.orders.request(wish).catch(refused);
    } catch (error) {
      refused(error as Error);
    }
  }

  /** Asks for the run to go back; `share` of its steps are to stay, null leaves all but the last. */
  rollBack(share: number | null): void {
    const { context, driver, options } = this;
    const to = share === null ? null : Math.floor(share * context.progress.step);
    const refused = (error: unknown) => options.trace(`refused: ${error instanceof Error ? error.message : error}`);
    try {
      driver.rollBack({ to, by: { kind: "operator", name: "simulated" }, reason: "simulated" }).catch(refused);
    } catch (error) {
      refused(error);
    }
  }

  private async conclude(end: RunEnd): Promise<void> {
    this.replacements.end();
    this.context.orders.end();
    if (end.status !== "failed" && this.alive) await finishReport(this.context);
    await this.pool?.dispose();
    this.ended = end;
  }

  /** How often the guard objects. */
  private get doubts() {
    const { faults, rollbacks } = this.options;
    return { skips: faults * DOUBT, rollbacks: faults * DOUBT + rollbacks };
  }

  private samplerOn(engine: ScriptedEngine): Sampler {
    const { config, truth } = this.options;
    const continues = config.async.inFlight === "continue";
    return createScriptedSampler({ config, calls: this.calls, truth, engine, adopts: this.form, continues });
  }

  private poolOf(engines: readonly ScriptedEngine[]): SamplerPool {
    const { config, time } = this.options;
    const { maxRestarts, restartDelayMs, startTimeoutMs, requestTimeoutMs } = config.engine;
    const pool = new SamplerPool({
      ...{ members: engines.length, time, maxRestarts, restartDelayMs, startTimeoutMs },
      ...{ adoptTimeoutMs: requestTimeoutMs, callTimeoutMs: requestTimeoutMs },
      start: async (slot, signal) => {
        const engine = engines[slot] as ScriptedEngine;
        const seconds = this.draws.of("restart", config.simulation.latencies.restart);
        await this.calls.run("sampler.start", { signal, seconds }, () => engine.start());
        const exited = new Promise<{ expected: boolean; reason: string }>((resolve) => {
          engine.whenLost((reason) => resolve({ expected: false, reason }));
        });
        return { sampler: this.samplerOn(engine), exited, pid: null, close: async () => engine.close() };
      },
    });
    pool.onChange((change) => {
      if (this.alive && this.ended === null)
        this.context.taps.fact("actor.changed", this.context.progress.step, change);
    });
    return pool;
  }

  private present(): Stage {
    const { samplers, trainer, options } = this;
    return { ms: options.time.now(), sampler: busyMs(samplers), trainer: busyMs([trainer]) };
  }

  private follow(fact: Fact): void {
    if (fact.type === "lifecycle.changed" && isTraining(fact.data.value)) this.stageBegan ??= this.present();
    if (fact.type !== "step.committed") return;
    checkCredits(this.context, this.options.disk, this.options.truth);
    if (this.stageBegan === null) return;
    const [from, to] = [this.stageBegan, this.present()];
    this.stage = { ms: to.ms - from.ms, sampler: to.sampler - from.sampler, trainer: to.trainer - from.trainer };
  }

  /** An engine that samples from the weights that it trains hands over none. */
  private get form(): ArtifactKind {
    return this.pool === null ? "handle" : "checkpoint";
  }

  private parts(): PartRegistry {
    const { config, seed, truth, disk, time } = this.options;
    const { calls, trainer: engine } = this;
    const world = { config, seed, calls, truth };
    const registry = createRegistry(config, {
      publish: () => undefined,
      report: () => undefined,
      callTimeoutMs: config.engine.requestTimeoutMs,
      timers: time,
    });
    const maxLag = () => this.context.config.async.maxLag;
    registry
      .use("sampler", this.pool ?? this.samplerOn(this.trainer))
      .use("trainer", createScriptedTrainer({ config, calls, truth, engine, files: disk.files, maxLag }))
      .use("policyStore", createScriptedPolicyStore(world, this.form))
      .use("reward", createScriptedReward(world, this.outage))
      .use("guard", createScriptedGuard(world, this.doubts));
    registry.seal();
    return registry;
  }

  /** Parts that the configuration names and that weir brings; in the place of others its defaults, which the simulation cannot tell apart. */
  private names(): Readonly<Record<ChosenKind, string>> {
    const { config } = this.options;
    const known = (kind: ChosenKind, name: string, otherwise: string) =>
      this.registry.names(kind).includes(name) ? name : otherwise;
    return {
      advantage: known("advantage", config.advantage.actor, "grpo"),
      reward: "scripted",
      curriculum: known("curriculum", config.curriculum.actor, "phased"),
      judge: config.reward.judge.actor,
      loss: known("loss", config.loss.algorithm, "dapo"),
      sampler: "engine",
      trainer: "engine",
      policyStore: "scripted",
      workQueue: NO_QUEUE,
      filter: config.dynamicSampling.enabled ? known("filter", config.dynamicSampling.filter, "variance") : "none",
      guard: "scripted",
      ...this.replacements?.named,
    };
  }

  private open(): RunContext {
    const { config: configured, disk, time, truth, trace } = this.options;
    let made: RunContext | null = null;
    const config = liveConfig(configured, () => (made ?? { progress: freshProgress }).progress.knobs);
    const phases = phasesFrom(configured.phases);
    const names = this.names();
    const build = <K extends ChosenKind>(kind: K) => this.registry.build(kind, names);
    const detector = createDetector(detectorOptions(configured, () => null));
    const sftRows = scriptedSftRows(configured);
    const train = scriptedTasks(configured, phases, "train");
    const heldout = configured.data.heldout.length > 0 ? scriptedTasks(configured, phases, "heldout") : [];
    const { batchRows, epochs } = configured.warmup;
    const store = new MemoryStore(disk, {
      keep: configured.checkpoint.keep,
      now: () => time.now(),
      alive: () => this.alive,
      onEntry: (entry) => {
        trace(`ledger ${entry.rolloutId} ${entry.state}${entry.reason === undefined ? "" : ` (${entry.reason})`}`);
        truth.entered(entry);
      },
    });
    const shared = {
      time,
      tasks: new Map(train.map((item) => [item.task.id, item])),
      policies: new PolicyPublisher(() => context.parts, configured.async.inFlight === "continue" ? "keep" : "wait"),
      gauges: new GaugeBoard(),
      store,
      log: SILENT,
    };
    const context: RunContext = {
      ...shared,
      configured,
      get config() {
        return config();
      },
      residentBytes: () => 0,
      phases,
      heldout,
      sftRows,
      leftOut: [],
      workload: {
        warmupSteps: warmupSteps({ rows: sftRows.length, batchRows, epochs, seed: configured.run.seed }),
        trainingSteps: configured.phases.reduce((sum, phase) => sum + phase.steps, 0),
        heldoutTasks: heldout.length,
        tasks: { read: train.length, dropped: 0, outsidePhases: 0, truncated: 0 },
        evaluation: configured.evaluation,
      },
      tokenizer: scriptedTokenizer,
      engine: this.engineView(),
      parts: buildRunParts(build, build("reward"), false),
      pipeline: createPipeline(shared, config, () => context),
      curriculumMachine: createActor(curriculumMachine, { input: { phases: phases.length } }).start(),
      origins: () => partsRecord(this.registry, names, [], false),
      fresh: { detector: detector.snapshot(), guard: null },
      guardState: null,
      detector,
      published: new PublishedMetrics(() => undefined),
      taps: this.taps(store),
      progress: freshProgress,
      orders: new RunOrders(() => context),
      pinnedSnapshots: [],
    };
    made = context;
    setUpCurriculum(context);
    return context;
  }

  private taps(store: MemoryStore): RunTaps {
    const { trace } = this.options;
    const fact: RunTaps["fact"] = (type, step, data) => {
      trace(`fact ${type}, step ${step}`);
      const written = store.append(type, step, data);
      this.follow(written);
      return written;
    };
    return {
      fact,
      metrics: ({ step, phase, values }) => void fact("metrics.recorded", step, { phase, values: { ...values } }),
      alert: (alert) => void fact("alert.raised", alert.step, { alert }),
      trace: () => undefined,
      changed: () => undefined,
    };
  }

  private engineView(): EngineView {
    const { config } = this.options;
    return {
      info: null,
      startSha256: null,
      statuses: () => [],
      stats: async () => null,
      planMemory: async () => null,
      restart: async (delayMs, _reason, signal) => {
        const seconds = delayMs / 1000 + this.draws.of("restart", config.simulation.latencies.restart);
        const start = ({ signal: own }: { readonly signal: AbortSignal }) =>
          this.calls.run("engine.restart", { signal: own, seconds }, () => {
            this.trainer.start();
          });
        const ended = await withDeadline(start, delayMs + config.engine.startTimeoutMs, signal, this.options.time);
        if (ended.kind === "error") throw ended.error;
        if (ended.kind === "timedOut") throw this.trainer.lost();
      },
    };
  }
}

/** Sampler engines beside the trainer. */
export const samplersOf = ({ simulation, rollout }: Config): number => simulation.samplers ?? rollout.engines;

const SILENT = pino({ enabled: false });

const isTraining = (value: Json): boolean =>
  value === "training" || (typeof value === "object" && value !== null && Object.values(value).includes("training"));

/** Time of all engines of one kind in work, ms. */
const busyMs = (engines: readonly { readonly busy: BusyTime }[]): number =>
  engines.reduce((sum, { busy }) => sum + busy.ms, 0);
