/**
 * `weir bench guard-cost`: what the guard adds to an RL step. One run per arm, all at once, which alternate step by step, so that the
 * arms are compared over the same seconds of the same machine. Every arm trains on the same responses at a learning rate that changes
 * nothing of note.
 */
import { copyFile, mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createTrainingSystem, type TrainingSystem } from "../../../actors/run/training-system.js";
import { type MeanInterval, meanInterval } from "../../../algorithms/intervals.js";
import { median, sum } from "../../../algorithms/statistics.js";
import type { ConfigInput } from "../../../config/schema.js";
import { countPromptTokens } from "../../../data/measure.js";
import { WeirError } from "../../../errors.js";
import { loadTokenizer } from "../../../model/io/tokenizer.js";
import { realTime } from "../../../system/time.js";
import { numberAtLeast, wholeNumber } from "../../arguments.js";
import { type DemoData, makeDemoData } from "../../demo/data.js";
import { SMALL_RECIPE } from "../../demo/small-recipe.js";
import { progress } from "../../output.js";
import { busyShare } from "../machine.js";
import { BENCH_MODEL, writeRandomModel } from "../model.js";
import { PARITY } from "../parity-reward.js";
import { rounded } from "../statistics.js";
import { wrappedEngine } from "../wrapped-engine.js";
import { Turns } from "./turns.js";

export interface GuardCostOptions {
  readonly model?: string;
  readonly pairs: string;
  readonly steps: string;
  readonly warmup: string;
  readonly width: string;
}

export interface GuardCostRow {
  readonly arm: string;
  readonly about: string;
  /** Median over the measured steps, s. */
  readonly step_s: number;
  /** More than a step of the first arm, per cent: mean over the pairs and its 95 % interval. */
  readonly cost: number | null;
  readonly low: number | null;
  readonly high: number | null;
}

export interface GuardCostResult {
  readonly pairs: number;
  readonly steps_per_pair: number;
  /** Every interval is at most this wide, in per cent above and below; false where the largest number of pairs came first. */
  readonly narrow: boolean;
  /** Share of the processors' time that was in use before the runs. */
  readonly busy_share: number;
  readonly rows: readonly GuardCostRow[];
}

interface Arm {
  readonly name: string;
  readonly about: string;
  readonly over: Pick<ConfigInput, "guard" | "update">;
}

/** So many steps that only the first one has a snapshot. */
const RARELY = 1_000_000;
const RARE = { everySteps: RARELY };

/** The first arm is what the others are compared with. */
const ARMS: readonly Arm[] = [
  {
    name: "off",
    about: "guard finite, nothing measured of the step",
    over: { guard: { actor: "finite", trial: false, snapshots: RARE }, update: { klShare: 0 } },
  },
  {
    name: "statistics",
    about: "guard standard, judging before the step",
    over: { guard: { actor: "standard", trial: false, snapshots: RARE }, update: { klShare: 0 } },
  },
  {
    name: "trial",
    about: "guard standard, judging each step on trial by its KL on update.klShare of the groups",
    over: { guard: { actor: "standard", snapshots: RARE } },
  },
  { name: "snapshots", about: "that, with snapshots as by default", over: { guard: { actor: "standard" } } },
];

const SEED = 1;
/** More than any measurement takes; the runs are ended when it is over. */
const STEPS = 100_000;
const SMALLEST_PAIRS = 3;
/** The longest documents of the demo: prompts of some 300 tokens. */
const PHASE = SMALL_RECIPE.phases.at(-1) as (typeof SMALL_RECIPE.phases)[number];
const PROMPTS = 8;

/** Errors: WEIR_E_USAGE; WEIR_E_BENCHMARK where a run ends by itself. */
export async function benchGuardCost(options: GuardCostOptions): Promise<GuardCostResult> {
  const pairs = wholeNumber("pairs", options.pairs, SMALLEST_PAIRS);
  const steps = wholeNumber("steps", options.steps, 1);
  const warmup = wholeNumber("warmup", options.warmup, 1);
  const width = numberAtLeast("width", options.width, 0);
  const busy_share = await busyShare();
  const folder = await mkdtemp(join(tmpdir(), "weir-bench-guard-cost-"));
  try {
    const model = options.model ?? (await randomModel(join(folder, "model")));
    const spent = await measured(folder, model, { pairs, steps, warmup, width });
    const kept = spent.map((arm) => arm.slice(warmup));
    const ratios = pairRatios(kept, steps);
    return {
      pairs: ratios[0]?.length ?? 0,
      steps_per_pair: steps,
      narrow: narrowEnough(ratios, width),
      busy_share,
      rows: ARMS.map((arm, at) => rowOf(arm, kept[at] ?? [], ratios[at] ?? [])),
    };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Per arm and pair: the time of its steps over that of the first arm's. Incomplete pairs are left out. */
export function pairRatios(spent: readonly (readonly number[])[], steps: number): number[][] {
  const pairs = Math.floor(Math.min(...spent.map(({ length }) => length)) / steps);
  const block = (arm: readonly number[], pair: number) => sum(arm.slice(pair * steps, (pair + 1) * steps));
  const first = spent[0] ?? [];
  return spent.map((arm) => Array.from({ length: pairs }, (_, pair) => block(arm, pair) / block(first, pair)));
}

const halfWidth = ({ low, high }: MeanInterval) => (high - low) / 2;

/** Whether the interval of every arm's cost reaches at most `width` per cent above and below its mean. */
export function narrowEnough(ratios: readonly (readonly number[])[], width: number): boolean {
  return ratios.slice(1).every((arm) => arm.length >= SMALLEST_PAIRS && 100 * halfWidth(meanInterval(arm)) <= width);
}

function rowOf({ name, about }: Arm, spent: readonly number[], ratios: readonly number[]): GuardCostRow {
  const step_s = rounded(median(spent) / 1000);
  if (name === ARMS[0]?.name) return { arm: name, about, step_s, cost: null, low: null, high: null };
  const { mean, low, high } = meanInterval(ratios);
  const [cost, from, to] = [mean, low, high].map((ratio) => Number((100 * (ratio - 1)).toFixed(2)));
  return { arm: name, about, step_s, cost: cost as number, low: from as number, high: to as number };
}

/** The benchmarks' model with the vocabulary of the demo's tokenizer. */
async function randomModel(directory: string): Promise<string> {
  const demo = await SMALL_RECIPE.model(() => undefined);
  const { vocab_size, eos_token_id, pad_token_id } = JSON.parse(await readFile(join(demo, "config.json"), "utf8"));
  await mkdir(directory, { recursive: true });
  await writeRandomModel(directory, { ...BENCH_MODEL, vocab_size, eos_token_id, pad_token_id });
  for (const name of ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"])
    await copyFile(join(demo, name), join(directory, name));
  return directory;
}

interface Extent {
  readonly pairs: number;
  readonly steps: number;
  readonly warmup: number;
  readonly width: number;
}

/** Ms of the steps of each arm. */
async function measured(folder: string, model: string, extent: Extent): Promise<readonly (readonly number[])[]> {
  const tokenizer = await loadTokenizer(model);
  const dials = { ...SMALL_RECIPE, phases: [PHASE], heldoutPerBucket: 1 };
  const data = await makeDemoData(join(folder, "data"), SEED, dials, (messages) =>
    countPromptTokens(messages, tokenizer),
  );
  const line = progress();
  return new Promise((resolve, reject) => {
    const systems: TrainingSystem[] = [];
    const end = (settle: () => void) => {
      const stopped = systems.map((system) => system.stop({ abort: true }).catch(() => undefined));
      void Promise.all(stopped).then(settle);
    };
    const turns = new Turns(ARMS.length, realTime.now, (rounds) => {
      line.update(`${rounds} steps of each arm`);
      if (rounds < extent.warmup + SMALLEST_PAIRS * extent.steps || (rounds - extent.warmup) % extent.steps > 0) return;
      const kept = turns.spent.map((arm) => arm.slice(extent.warmup));
      const ratios = pairRatios(kept, extent.steps);
      if ((ratios[0]?.length ?? 0) < extent.pairs && !narrowEnough(ratios, extent.width)) return;
      line.done();
      end(() => resolve(turns.spent));
    });
    for (const [at, arm] of ARMS.entries()) {
      const system = armSystem({ folder, model, data }, arm, (signal) => turns.take(at, signal));
      systems.push(system);
      const failed = (cause: unknown) =>
        end(() => reject(new WeirError("WEIR_E_BENCHMARK", `the run "${arm.name}" ended early`, {}, { cause })));
      system.start().then(() => system.done.then(() => undefined, failed), failed);
    }
  });
}

/** The run of an arm, whose every sampler call waits for its turn. */
function armSystem(
  { folder, model, data }: { readonly folder: string; readonly model: string; readonly data: DemoData },
  { name, over }: Arm,
  turn: (signal: AbortSignal) => Promise<void>,
): TrainingSystem {
  const { groupSize, maxTokens } = SMALL_RECIPE.options.rollout ?? {};
  const config: ConfigInput = {
    run: { directory: join(folder, "runs"), id: name, seed: SEED },
    model: { path: model },
    data: { train: [data.train] },
    phases: [{ maxTokens: PHASE.maxTokens, steps: STEPS }],
    rollout: { groupSize, maxTokens, promptsPerStep: PROMPTS, promptsPerCall: PROMPTS, temperature: 1, topP: 1 },
    dynamicSampling: { enabled: false },
    loss: { monitorKl: true },
    optimiser: { learningRate: 1e-9 },
    guard: over.guard,
    update: { miniBatchPrompts: null, microBatchTokens: 16_384, ...over.update },
    evaluation: { initial: false },
    checkpoint: { everySteps: 0 },
    monitor: { enabled: false },
    log: { level: "silent", file: false },
  };
  return createTrainingSystem(config, {
    onRemark: () => undefined,
    actors: {
      reward: PARITY,
      engine: wrappedEngine(({ sampler }) => ({
        sampler: {
          ...sampler,
          sample: async (request, call) => {
            await turn(call.signal);
            return sampler.sample(request, call);
          },
        },
      })),
    },
  });
}
