import type { Logger } from "pino";
import { interval } from "rxjs";
import { createActor } from "xstate";
import { phasesFrom } from "../../algorithms/phases.js";
import type { Config } from "../../config/schema.js";
import type { Fact, FactData, FactType } from "../../contracts/fact.js";
import type { Judge } from "../../contracts/judge.js";
import type { ModelInfo } from "../../contracts/model-info.js";
import type { PartsRecord } from "../../contracts/part-origin.js";
import type { RewardActor } from "../../contracts/reward.js";
import { fingerprintRecords, fingerprintTasks } from "../../data/fingerprint.js";
import { readTasks } from "../../data/read-tasks.js";
import { type DataRecord, readRecords } from "../../data/records.js";
import { WeirError } from "../../errors.js";
import { loadTokenizer } from "../../model/io/tokenizer.js";
import { GaugeBoard, type PipelineReading } from "../../streams/gauges.js";
import { createDetector } from "../../streams/telemetry/detector.js";
import type { PublishedMetrics } from "../../streams/telemetry/published-metrics.js";
import { usableMemory } from "../../system/memory.js";
import { realTime } from "../../system/time.js";
import { curriculumMachine } from "../curriculum/machine.js";
import type { RunBenchmarks } from "../evaluation/run-benchmark-list.js";
import type { RunParts } from "../parts/part-kinds.js";
import { compareOrigins } from "../parts/part-origins.js";
import { PolicyPublisher } from "../update/publisher.js";
import { assertCapabilities } from "./capabilities.js";
import { connectParts } from "./connecting.js";
import { detectorOptions } from "./detector-options.js";
import type { EngineSupervisor } from "./engine-supervisor.js";
import { createFileStore, holdFileStore } from "./file-store.js";
import { foreignPrecisions } from "./foreign-engines.js";
import { scorableTasks, type TaskFile, tasksOf } from "./gold-check.js";
import { liveConfig } from "./knobs.js";
import { assertOffPolicy } from "./off-policy.js";
import { RunOrders } from "./orders.js";
import { assertPhasesFilled, prepareSft, prepareTasks, vocabularyCheck } from "./prepare.js";
import { freshProgress } from "./progress.js";
import type { RunSources } from "./resume-check.js";
import type { RunContext, RunTaps, RunTokenizer } from "./run-context.js";
import { openRunLog } from "./run-log.js";
import { createPipeline } from "./run-pipeline.js";
import { runSources } from "./run-sources.js";
import { restoreRun, setUpCurriculum } from "./run-work.js";
import { assertWorkers, RunWorkers } from "./run-workers.js";
import { statesForgotten } from "./saved-states.js";
import { assertStartable } from "./start-check.js";
import { warmupSteps } from "./warmup.js";

/**
 * Opens a run: tokenizer, data, engine, run folder, machines. Everything that can be wrong with the input is found here,
 * before anything is trained; settings and paths before the model is loaded, the rest before a run folder is made. Nothing
 * stays open, and no folder of a run that did not begin stays behind, when it fails.
 */

export interface OpenRunOptions {
  readonly parts: RunParts;
  /** Which parts these are now, for the journal. */
  readonly origins: () => PartsRecord;
  /** The judge that the reward asks now; null where it asks none. */
  readonly judge: () => Judge | null;
  /** What is evaluated besides held-out tasks. */
  readonly benchmarks: RunBenchmarks;
  readonly published: PublishedMetrics;
  readonly supervisor: EngineSupervisor;
  /** Starts samplers of their own, where the run has any. */
  readonly startSamplers: () => Promise<void>;
  /** Run folder to continue. */
  readonly resume?: string;
  readonly logger?: Logger;
  readonly taps: RunTaps;
  /** Hears of queues, actors and lag at a rate for display, and once more when everything is closed. */
  readonly onGauges: (reading: PipelineReading) => void;
}

export interface OpenedRun {
  readonly context: RunContext;
  /** Facts of the run before it was resumed; empty for a new one. */
  pastFacts(): Iterable<Fact>;
  append<T extends FactType>(type: T, step: number, data: FactData[T]): Fact;
  /** What is worth a remark of the parts of a resumed run. */
  readonly partRemarks: readonly WeirError[];
  /** Journals the start, or restores the latest checkpoint of a resumed run. */
  begin(): Promise<void>;
  /** Releases everything; removes the folder of a new run that has not begun. Errors: the first of what could not be closed. */
  close(): Promise<void>;
}

/** Display rate of the gauges, ms: fast enough for the eye, slow enough to cost nothing. */
const GAUGE_INTERVAL_MS = 100;
/** The same while nothing passes through the queues, ms. */
const IDLE_GAUGE_INTERVAL_MS = 1_000;
const BYTES_PER_GIB = 1024 ** 3;

/**
 * Errors: WEIR_E_FILE_MISSING, WEIR_E_DATA, WEIR_E_MODEL_*, WEIR_E_PROMPT_TOO_LONG, WEIR_E_EMPTY_PHASE, WEIR_E_ENGINE_*,
 * WEIR_E_RUN_LOCKED, WEIR_E_CHECKPOINT_DAMAGED, WEIR_E_CONFIG, WEIR_E_MONITOR_*, WEIR_E_DISK.
 */
export async function openRun(config: Config, options: OpenRunOptions): Promise<OpenedRun> {
  await assertStartable(config, options.resume);
  assertOffPolicy(config, options.parts.loss);
  const tokenizer: RunTokenizer = await loadTokenizer(config.model.path);
  const phases = phasesFrom(config.phases);
  const { supervisor } = options;
  const closers = new Closers();
  const gauges = new GaugeBoard();
  gauges.watchActor(() => supervisor.statuses());
  closers.add(() => options.onGauges(gauges.reading()));
  let begun = options.resume !== undefined;
  let opened: RunContext | null = null;
  const mayRemove = statesForgotten(() => opened);
  try {
    const held = options.resume === undefined ? null : await holdFileStore(config, options.resume, mayRemove);
    if (held) closers.add(() => held.close());
    // Before anything of the folder is changed: a run that may not go on is left as it was.
    const partRemarks = held ? compareOrigins(held.pastFacts(), options.origins()) : [];
    closers.add(() => supervisor.close());
    closers.add(() => disposeParts((opened ?? options).parts));
    closers.add(() => options.benchmarks.dispose());
    await supervisor.start();
    await options.startSamplers();
    await connectParts(options.parts, new AbortController().signal);
    assertCapabilities(config, options.parts);
    assertWorkers(config, options.parts);
    const data = await loadData(config, tokenizer, phases, options.parts.trainer.model, options.parts.reward);
    const rows = data.sftRows.length;
    const { batchRows, epochs } = config.warmup;
    const stepsOfWarmup = warmupSteps({ rows, batchRows, epochs, seed: config.run.seed });
    const sources = await runSources(config, data.digests, supervisor.startSha256 ?? "");
    const store = held ? await held.accept(sources, stepsOfWarmup) : await createFileStore(config, sources, mayRemove);
    if (!held) closers.add(() => (begun ? store.close() : store.abandon()));
    const { log, close: closeLog } = options.logger
      ? { log: options.logger, close: () => undefined }
      : openRunLog(config.log, store.directory);
    closers.add(closeLog);
    for (const remark of [...data.remarks, ...memoryRemarks(config.engine.memoryGiB)])
      log.warn({ actor: "preflight" }, remark);
    const context = contextOf(config, options, {
      ...{ tokenizer, phases, data, stepsOfWarmup, store, log, gauges, model: sources.model },
    });
    opened = context;
    await store.removeLeftovers();
    closers.add(() => context.workers?.close());
    gauges.watchActor(() => context.workers?.statuses() ?? []);
    gauges.watchActor(() => context.pipeline.actors());
    const watching = gauges.readings(GAUGE_INTERVAL_MS).subscribe(options.onGauges);
    // A stage that waits publishes nothing, and is to be seen waiting.
    const ticking = interval(IDLE_GAUGE_INTERVAL_MS).subscribe(() => gauges.publish());
    closers.add(() => {
      watching.unsubscribe();
      ticking.unsubscribe();
    });
    setUpCurriculum(context);
    closers.add(journalCalls(context));
    const begin = async () => {
      if (options.resume !== undefined) {
        const { signal } = new AbortController();
        await restoreRun(context, { reason: "resumed by hand", freshEngine: true }, signal);
        await context.workers?.prepare(signal);
        return;
      }
      await context.workers?.prepare(new AbortController().signal);
      tellStarted(context, options.origins());
      begun = true;
    };
    return {
      context,
      pastFacts: () => store.pastFacts(),
      partRemarks,
      append: (type, step, facts) => store.append(type, step, facts),
      begin,
      close: () => closers.run(),
    };
  } catch (error) {
    // What went wrong first is what to tell.
    await closers.run().catch(() => undefined);
    throw error;
  }
}

/** What has to be released at the end, the newest first. */
class Closers {
  private readonly all: (() => Promise<unknown> | unknown)[] = [];

  add(close: () => Promise<unknown> | unknown): void {
    this.all.push(close);
  }

  /** Errors: the first of what could not be closed; the others are closed all the same. */
  async run(): Promise<void> {
    const failures: unknown[] = [];
    for (const close of this.all.splice(0).reverse())
      await Promise.resolve()
        .then(close)
        .catch((error) => failures.push(error));
    if (failures.length > 0) throw failures[0];
  }
}

/** One that cannot be released keeps none of the others. Errors: the first. */
async function disposeParts(parts: RunParts): Promise<void> {
  const closers = new Closers();
  for (const part of Object.values(parts).reverse())
    closers.add(() => (part as { dispose?: () => Promise<void> | void }).dispose?.());
  await closers.run();
}

/** What opening a run has brought together. */
interface Opened extends Pick<RunContext, "tokenizer" | "phases" | "store" | "log" | "gauges"> {
  readonly data: Awaited<ReturnType<typeof loadData>>;
  readonly stepsOfWarmup: number;
  readonly model: RunSources["model"];
}

function contextOf(configured: Config, options: OpenRunOptions, opened: Opened): RunContext {
  const { tokenizer, phases, data, stepsOfWarmup, store, log, gauges, model } = opened;
  const { workQueue } = options.parts;
  const curriculumActor = createActor(curriculumMachine, { input: { phases: phases.length } });
  curriculumActor.start();
  const detector = createDetector(detectorOptions(configured, () => foreignPrecisions(context)));
  const inFlight = configured.async.inFlight === "continue" ? "keep" : "wait";
  let made: RunContext | null = null;
  const config = liveConfig(configured, () => (made ?? { progress: freshProgress }).progress.knobs);
  const shared = {
    time: realTime,
    tasks: new Map(data.train.map((item) => [item.task.id, item])),
    policies: new PolicyPublisher(() => context.parts, inFlight),
    ...{ gauges, store, log },
    workers:
      workQueue === undefined
        ? null
        : new RunWorkers({ context: () => context, queue: workQueue, model, configured, time: realTime }),
  };
  const context: RunContext = {
    ...shared,
    configured,
    get config() {
      return config();
    },
    residentBytes: () => process.memoryUsage.rss(),
    phases,
    heldout: data.heldout,
    benchmarks: options.benchmarks,
    sftRows: data.sftRows,
    leftOut: data.leftOut,
    workload: {
      warmupSteps: stepsOfWarmup,
      trainingSteps: configured.phases.reduce((sum, phase) => sum + phase.steps, 0),
      heldoutTasks: data.heldout.length,
      benchmarks: options.benchmarks.all.length,
      tasks: data.counts,
      evaluation: configured.evaluation,
    },
    tokenizer,
    engine: options.supervisor,
    parts: options.parts,
    pipeline: createPipeline(shared, config, () => context),
    curriculumMachine: curriculumActor,
    origins: options.origins,
    judge: options.judge,
    fresh: { detector: detector.snapshot(), guard: options.parts.guard.snapshot?.() ?? null },
    guardState: options.parts.guard.state?.() ?? null,
    detector,
    published: options.published,
    taps: options.taps,
    progress: freshProgress,
    orders: new RunOrders(() => context),
    pinnedSnapshots: [],
  };
  made = context;
  return context;
}

/** Has calls that change a trainer's state elsewhere journalled, until the returned function is called. */
function journalCalls(context: RunContext): () => void {
  let open = true;
  context.parts.trainer.journalTo?.((call) => {
    if (open) context.taps.fact("trainer.called", context.progress.step, call);
  });
  return () => {
    open = false;
  };
}

function tellStarted({ config, engine, parts, tasks, heldout, sftRows, taps }: RunContext, origins: PartsRecord): void {
  const { info } = engine;
  taps.fact("run.started", 0, {
    seed: config.run.seed,
    model: config.model.path,
    engine: info === null ? parts.trainer.kind : `${info.backend} ${info.backendVersion}, ${info.executor}`,
    plannedSteps: config.phases.reduce((sum, phase) => sum + phase.steps, 0),
    tasks: tasks.size,
    heldoutTasks: heldout.length,
    sftRows: sftRows.length,
    parts: origins,
  });
}

/** A built-in reward refuses training rows that it cannot score, and leaves such held-out rows out; a custom one may score anything. */
async function loadData(
  config: Config,
  tokenizer: RunTokenizer,
  phases: RunContext["phases"],
  model: Pick<ModelInfo, "maxPositions" | "stopIds" | "vocabSize">,
  reward: RewardActor,
) {
  const { data, rollout, warmup } = config;
  const limit = model.maxPositions - rollout.maxTokens;
  if (limit < 1) {
    throw new WeirError(
      "WEIR_E_PROMPT_TOO_LONG",
      `rollout.maxTokens is ${rollout.maxTokens}, but the model has only ${model.maxPositions} positions; lower it`,
      { limit },
    );
  }
  const read = async (files: readonly string[]): Promise<TaskFile[]> =>
    Promise.all(files.map(async (file) => ({ file, tasks: await readTasks(file, { format: data.format }) })));
  const [trainFiles, heldoutFiles] = [await read(data.train), await read(data.heldout)];
  const [train, heldout] = [tasksOf(trainFiles), tasksOf(heldoutFiles)];
  const scorable = scorableTasks(trainFiles, heldoutFiles, config.reward.mode, reward);
  const check = vocabularyCheck([...trainFiles, ...heldoutFiles], tokenizer, model.vocabSize);
  const prepared = prepareTasks(uniqueIds(scorable.train), tokenizer, phases, limit, data.overlong, check);
  const held = prepareTasks(uniqueIds(scorable.heldout), tokenizer, phases, limit, data.overlong, check);
  assertPhasesFilled(prepared.tasks, phases);
  const sftRecords: (readonly DataRecord[])[] = [];
  for (const file of warmup.data) sftRecords.push(await readRecords(file));
  const sftRows = sftRecords.flatMap((records, index) =>
    prepareSft(records, warmup.data[index] as string, tokenizer, model.stopIds, model.maxPositions, model.vocabSize),
  );
  const digests = {
    fingerprint: fingerprintTasks([...train, ...heldout]),
    train: fingerprintTasks(train),
    heldout: fingerprintTasks(heldout),
    warmup: fingerprintRecords(sftRecords.flat()),
  };
  const remarks: string[] = [];
  const say = (count: number, what: string) => {
    if (count > 0) remarks.push(`${count} training tasks ${what}`);
  };
  say(prepared.dropped, `were dropped: their prompts have more than ${limit} tokens`);
  say(prepared.truncated, `were cut in the middle to ${limit} tokens`);
  say(prepared.beyondPhases, "lie outside every phase and are never issued");
  const { dropped, truncated, beyondPhases: outsidePhases } = prepared;
  const counts = { read: train.length, dropped, outsidePhases, truncated };
  const { leftOut } = scorable;
  return { train: prepared.tasks, heldout: held.tasks, sftRows, digests, remarks, counts, leftOut };
}

/** Errors: WEIR_E_DATA when two tasks share an id: the ledger could not tell them apart. */
function uniqueIds<T extends { readonly id: string }>(tasks: readonly T[]): readonly T[] {
  const seen = new Set<string>();
  for (const task of tasks) {
    if (seen.has(task.id))
      throw new WeirError(
        "WEIR_E_DATA",
        `two tasks have the id "${task.id}"; ids must be unique over all files of a split`,
        { id: task.id },
      );
    seen.add(task.id);
  }
  return tasks;
}

/** A budget that the machine or its container cannot keep ends in a kill for lack of memory. */
function memoryRemarks(memoryGiB: number | null): string[] {
  const { totalBytes, limit } = usableMemory();
  if (memoryGiB === null || memoryGiB * BYTES_PER_GIB <= totalBytes) return [];
  const room = `${(totalBytes / BYTES_PER_GIB).toFixed(2)} GiB`;
  const bound = limit === null ? `the machine has ${room}` : `${limit.file} allows ${room}`;
  return [`engine.memoryGiB is ${memoryGiB}, but ${bound}: the system may kill the engine; lower it`];
}
