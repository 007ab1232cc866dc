import { type Logger, pino } from "pino";
import { auditTime } from "rxjs";
import { createActor } from "xstate";
import { phasesFrom } from "../algorithms/phases.js";
import type { Config } from "../config/schema.js";
import type { AdvantageActor } from "../contracts/advantage.js";
import type { CurriculumActor } from "../contracts/curriculum.js";
import type { Fact, FactType } from "../contracts/fact.js";
import type { RewardActor } from "../contracts/reward.js";
import type { Json } from "../contracts/task.js";
import { fingerprintTasks } from "../data/fingerprint.js";
import { readTasks } from "../data/read-tasks.js";
import { readRecords } from "../data/records.js";
import { WeirError } from "../errors.js";
import { startEngine } from "../model/engine/host.js";
import { loadTokenizer } from "../model/io/tokenizer.js";
import type { QueueGauge } from "../streams/bounded-queue.js";
import { GaugeBoard } from "../streams/gauges.js";
import type { PublishedMetrics } from "../streams/published-metrics.js";
import { createSpikeDetector } from "../streams/spike-detector.js";
import { curriculumMachine } from "./curriculum-machine.js";
import { type EngineFactory, EngineSupervisor } from "./engine-supervisor.js";
import { openFileStore } from "./file-store.js";
import { assertPhasesFilled, prepareSft, prepareTasks } from "./prepare.js";
import { freshProgress } from "./progress.js";
import type { RunContext, RunTaps, RunTokenizer } from "./run-context.js";
import { restoreRun, setUpCurriculum } from "./run-work.js";
import { warmupSteps } from "./warmup.js";

/**
 * Opens a run: tokenizer, data, engine, run folder, machines. Everything that can be wrong with the input is found here,
 * before anything is trained, and nothing stays open when it fails.
 */

export interface OpenRunOptions {
  readonly parts: {
    readonly advantage: AdvantageActor;
    readonly reward: RewardActor;
    readonly curriculum: CurriculumActor;
  };
  /** Which parts these are, for the journal. */
  readonly origins: Json;
  readonly published: PublishedMetrics;
  readonly engine?: EngineFactory;
  /** Run folder to continue. */
  readonly resume?: string;
  readonly logger?: Logger;
  readonly taps: RunTaps;
  readonly onGauges: (gauges: readonly QueueGauge[]) => void;
}

export interface OpenedRun {
  readonly context: RunContext;
  /** Facts of the run before it was resumed; empty for a new one. */
  readonly pastFacts: readonly Fact[];
  append(type: FactType, step: number, data: Readonly<Record<string, Json>>): Fact;
  /** Journals the start, or restores the latest checkpoint of a resumed run. */
  begin(): Promise<void>;
  close(): Promise<void>;
}

/** Display rate of the gauges, ms: fast enough for the eye, slow enough to cost nothing. */
const GAUGE_INTERVAL_MS = 100;

/**
 * Errors: WEIR_E_FILE_MISSING, WEIR_E_DATA, WEIR_E_MODEL_*, WEIR_E_PROMPT_TOO_LONG, WEIR_E_EMPTY_PHASE, WEIR_E_ENGINE_*,
 * WEIR_E_RUN_LOCKED, WEIR_E_CHECKPOINT_DAMAGED.
 */
export async function openRun(config: Config, options: OpenRunOptions): Promise<OpenedRun> {
  const tokenizer: RunTokenizer = await loadTokenizer(config.model.path);
  const phases = phasesFrom(config.phases);
  const supervisor = new EngineSupervisor(
    options.engine ?? ((modelDir, engine) => startEngine({ modelDir, options: engine })),
    config.model.path,
    { ...config.engine, lora: config.model.lora && { ...config.model.lora, seed: config.run.seed } },
  );
  const closers: (() => Promise<void> | void)[] = [];
  const closeAll = async () => {
    for (const close of closers.reverse()) await close();
  };
  try {
    const engine = await supervisor.start();
    closers.push(
      () => supervisor.close(),
      () => options.parts.reward.dispose?.(),
    );
    const data = await loadData(config, tokenizer, phases, engine.model);
    const store = await openFileStore({
      config,
      fingerprint: data.fingerprint,
      ...(options.resume === undefined ? {} : { resume: options.resume }),
    });
    closers.push(() => store.close());
    const log = options.logger ?? runLogger(config, store.directory);
    for (const remark of [...data.remarks, ...store.remarks]) log.warn({ actor: "preflight" }, remark);
    const gauges = new GaugeBoard();
    const watching = gauges.observable.pipe(auditTime(GAUGE_INTERVAL_MS)).subscribe(options.onGauges);
    closers.push(() => watching.unsubscribe());
    const machine = createActor(curriculumMachine, { input: { phases: phases.length } });
    machine.start();
    const rows = data.sftRows.length;
    const context: RunContext = {
      config,
      phases,
      tasks: new Map(data.train.map((item) => [item.task.id, item])),
      heldout: data.heldout,
      sftRows: data.sftRows,
      workload: {
        warmupSteps: warmupSteps({
          rows,
          batchRows: config.warmup.batchRows,
          epochs: config.warmup.epochs,
          seed: config.run.seed,
        }),
        trainingSteps: config.phases.reduce((sum, phase) => sum + phase.steps, 0),
        heldoutTasks: data.heldout.length,
        evaluation: config.evaluation,
      },
      tokenizer,
      supervisor,
      store,
      ...options.parts,
      curriculumMachine: machine,
      detector: createSpikeDetector(config.spikes),
      gauges,
      published: options.published,
      taps: options.taps,
      log,
      clock: () => Date.now(),
      progress: freshProgress,
      skipPhase: false,
    };
    setUpCurriculum(context);
    const begin = async () => {
      if (options.resume !== undefined) {
        await restoreRun(context, "resumed by hand", new AbortController().signal);
        return;
      }
      options.taps.fact("run.started", 0, {
        seed: config.run.seed,
        model: config.model.path,
        engine: `${engine.info.backend} ${engine.info.backendVersion}, ${engine.info.executor}`,
        plannedSteps: config.phases.reduce((sum, phase) => sum + phase.steps, 0),
        tasks: data.train.length,
        heldoutTasks: data.heldout.length,
        sftRows: rows,
        parts: options.origins,
      });
    };
    return {
      context,
      pastFacts: store.pastFacts,
      append: (type, step, facts) => store.append(type, step, facts),
      begin,
      close: closeAll,
    };
  } catch (error) {
    await closeAll();
    if (closers.length === 0) await supervisor.close();
    throw error;
  }
}

async function loadData(
  config: Config,
  tokenizer: RunTokenizer,
  phases: RunContext["phases"],
  model: { readonly maxPositions: number; readonly stopIds: readonly number[] },
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
  const read = async (files: readonly string[]) =>
    (await Promise.all(files.map((file) => readTasks(file, { format: data.format })))).flat();
  const [train, heldout] = [await read(data.train), await read(data.heldout)];
  const fingerprint = fingerprintTasks([...train, ...heldout]);
  const prepared = prepareTasks(uniqueIds(train), tokenizer, phases, limit, data.overlong);
  const held = prepareTasks(uniqueIds(heldout), tokenizer, phases, limit, data.overlong);
  assertPhasesFilled(prepared.tasks, phases);
  const sftRows = [];
  for (const file of warmup.data)
    sftRows.push(...prepareSft(await readRecords(file), file, tokenizer, model.stopIds, model.maxPositions));
  const remarks: string[] = [];
  const say = (count: number, what: string) => {
    if (count > 0) remarks.push(`${count} training tasks ${what}`);
  };
  say(prepared.dropped, `were dropped: their prompts have more than ${limit} tokens`);
  say(prepared.truncated, `were cut in the middle to ${limit} tokens`);
  say(prepared.beyondPhases, "lie outside every phase and are never issued");
  return { train: prepared.tasks, heldout: held.tasks, sftRows, fingerprint, remarks };
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

function runLogger(config: Config, directory: string): Logger {
  const destination = config.log.file
    ? pino.destination({ dest: `${directory}/log.ndjson`, sync: false, mkdir: true })
    : pino.destination(2);
  return pino({ level: config.log.level, base: { run: directory } }, destination);
}
