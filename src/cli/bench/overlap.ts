/**
 * `weir bench overlap`: RL steps per second of one configuration with sampler and trainer in processes of their own, one after the
 * other (lag 0) and at once (lag 1 and more). Each run is a new process, and the runs alternate, so that none of them profits from a
 * quiet period of the machine.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { createTrainingSystem } from "../../actors/run/training-system.js";
import { meanInterval } from "../../algorithms/intervals.js";
import { mean } from "../../algorithms/statistics.js";
import type { ConfigInput } from "../../config/schema.js";
import { countPromptTokens } from "../../data/measure.js";
import { WeirError } from "../../errors.js";
import { loadTokenizer } from "../../model/io/tokenizer.js";
import { realTime } from "../../system/time.js";
import { wholeNumber } from "../arguments.js";
import { makeDemoData } from "../demo/data.js";
import { demoConfig } from "../demo/recipe.js";
import { SMALL_RECIPE } from "../demo/small-recipe.js";
import { progress } from "../output.js";
import { bothBusyMs, busyMs, type Span, timedCalls } from "./busy-time.js";
import { runForJson, weirCommand } from "./child-process.js";
import { busyShare } from "./machine.js";
import { PARITY } from "./parity-reward.js";
import { rounded } from "./statistics.js";
import { wrappedEngine } from "./wrapped-engine.js";

export interface OverlapOptions {
  readonly pairs: string;
  readonly steps: string;
  readonly warmup: string;
  /** With `threads`: the one run that this process makes. */
  readonly lag?: string;
  /** Threads of each of the two processes. */
  readonly threads?: string;
}

/** One run. Shares are of the time from the first measured step to the last. */
export interface OverlapRun {
  readonly steps_per_second: number;
  readonly sampler_busy: number;
  readonly trainer_busy: number;
  readonly both_busy: number;
}

export interface OverlapRow extends OverlapRun {
  readonly lag: number;
  /** Of each of the two processes. */
  readonly threads: number;
  /** Steps per second against lag 0 with all cores for whichever process works, mean over pairs [95 % interval]. */
  readonly ratio: string;
}

export interface OverlapResult {
  readonly cores: number;
  readonly pairs: number;
  readonly steps: number;
  /** Largest share of the processors that others used before a run. */
  readonly load: number;
  readonly rows: readonly OverlapRow[];
}

interface Turn {
  readonly lag: number;
  readonly threads: number;
}

const SEED = 1;

/** Lag 0 with all cores for each process, then with the cores divided as the other lags have them. */
function turnsOn(cores: number): readonly Turn[] {
  const half = Math.max(1, Math.floor(cores / 2));
  return [{ lag: 0, threads: cores }, ...[0, 1, 2].map((lag) => ({ lag, threads: half }))];
}

export async function benchOverlap(options: OverlapOptions): Promise<OverlapResult | OverlapRun> {
  const steps = wholeNumber("steps", options.steps, 1);
  const warmup = wholeNumber("warmup", options.warmup, 1);
  if (options.lag !== undefined) {
    const threads = wholeNumber("threads", options.threads ?? "1", 1);
    return measuredRun({ lag: wholeNumber("lag", options.lag), threads }, { steps, warmup });
  }
  const pairs = wholeNumber("pairs", options.pairs, 2);
  const cores = availableParallelism();
  const turns = turnsOn(cores);
  const runs = turns.map((): OverlapRun[] => []);
  const line = progress();
  let load = 0;
  for (let pair = 1; pair <= pairs; pair++) {
    for (const [at, { lag, threads }] of turns.entries()) {
      load = Math.max(load, await busyShare());
      line.update(`pair ${pair}/${pairs}: lag ${lag}, ${threads} threads each`);
      const numbers = { lag, threads, steps, warmup };
      const args = Object.entries(numbers).flatMap(([name, value]) => [`--${name}`, String(value)]);
      const said = await runForJson(weirCommand(["bench", "overlap", "--json", ...args]));
      runs[at]?.push(said.at(-1) as unknown as OverlapRun);
    }
  }
  line.done();
  return {
    cores,
    pairs,
    steps,
    load: rounded(load),
    rows: turns.map((turn, at) => rowOf(turn, runs[at] ?? [], runs[0] ?? [])),
  };
}

/** Means over the runs of one turn, against those of the first. */
export function rowOf({ lag, threads }: Turn, runs: readonly OverlapRun[], first: readonly OverlapRun[]): OverlapRow {
  const of = (key: keyof OverlapRun) => rounded(mean(runs.map((run) => run[key])));
  const ratios = runs.map((run, pair) => run.steps_per_second / (first[pair] as OverlapRun).steps_per_second);
  const { mean: centre, low, high } = meanInterval(ratios);
  const [shown, from, to] = [centre, low, high].map((value) => value.toFixed(2));
  return {
    ...{ lag, threads, steps_per_second: of("steps_per_second"), ratio: `${shown} [${from}, ${to}]` },
    ...{ sampler_busy: of("sampler_busy"), trainer_busy: of("trainer_busy"), both_busy: of("both_busy") },
  };
}

/** The demo's policy and first tasks, every group trained on, so that each step is the same work. */
async function configOf(folder: string, { lag, threads }: Turn, steps: number): Promise<ConfigInput> {
  const model = await SMALL_RECIPE.model(() => undefined);
  const tokenizer = await loadTokenizer(model);
  const data = await makeDemoData(join(folder, "data"), SEED, SMALL_RECIPE, (messages) =>
    countPromptTokens(messages, tokenizer),
  );
  const { maxTokens } = SMALL_RECIPE.phases[0] as { readonly maxTokens: number };
  const run = { directory: join(folder, "runs"), id: "overlap", seed: SEED, sftOnly: false, settings: [] };
  const base = demoConfig(SMALL_RECIPE, SMALL_RECIPE.options, { ...run, model, data });
  return {
    ...base,
    phases: [{ maxTokens, steps }],
    warmup: { data: [] },
    data: { train: [data.train] },
    engine: { threads },
    rollout: { ...base.rollout, promptsPerCall: 4, engines: 1 },
    async: { maxLag: lag },
    dynamicSampling: { enabled: false },
    // A policy that stays nearly as it is gives responses of the same lengths in every step.
    optimiser: { learningRate: 1e-7 },
    update: { ...base.update, oldLogprobs: "recompute", correction: { importance: "token" } },
    evaluation: { initial: false },
    checkpoint: { everySteps: 0 },
    monitor: { enabled: false },
    log: { level: "silent", file: false },
  };
}

async function measuredRun(
  turn: Turn,
  { steps, warmup }: { readonly steps: number; readonly warmup: number },
): Promise<OverlapRun> {
  const folder = await mkdtemp(join(tmpdir(), "weir-bench-"));
  try {
    const [sampling, training]: [Span[], Span[]] = [[], []];
    const commits: number[] = [];
    const { now } = realTime;
    const system = createTrainingSystem(await configOf(folder, turn, warmup + steps), {
      actors: {
        reward: PARITY,
        engine: wrappedEngine(({ sampler, trainer }) => ({
          sampler: timedCalls(sampler, { spans: sampling, now, watched: (name) => name === "sample" }),
          trainer: timedCalls(trainer, { spans: training, now, watched: (name) => name !== "dispose" }),
        })),
      },
    });
    system.facts$.subscribe(({ type }) => {
      if (type === "step.committed") commits.push(now());
    });
    await system.start();
    await system.done;
    return sharesOf(commits.slice(warmup - 1), sampling, training);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Errors: WEIR_E_BENCHMARK where there are fewer than two commits. */
export function sharesOf(commits: readonly number[], sampling: readonly Span[], training: readonly Span[]): OverlapRun {
  const [from, to] = [commits[0], commits.at(-1)];
  if (from === undefined || to === undefined || to <= from)
    throw new WeirError("WEIR_E_BENCHMARK", "expected at least two steps that were committed, got fewer", {});
  const window = { from, to };
  const share = (ms: number) => rounded(ms / (to - from));
  return {
    steps_per_second: rounded((1000 * (commits.length - 1)) / (to - from)),
    sampler_busy: share(busyMs(sampling, window)),
    trainer_busy: share(busyMs(training, window)),
    both_busy: share(bothBusyMs(sampling, training, window)),
  };
}
