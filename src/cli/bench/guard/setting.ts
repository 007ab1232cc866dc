/**
 * The runs that faults are injected into: the demo's policy on its shortest documents, after a warm-up that each seed has once. Its
 * reward asks a judge that compares texts, so that rule and judge agree while nothing is wrong.
 */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { createTrainingSystem } from "../../../actors/run/training-system.js";
import type { ConfigInput } from "../../../config/schema.js";
import { countPromptTokens } from "../../../data/measure.js";
import { loadTokenizer } from "../../../model/io/tokenizer.js";
import { type DemoData, makeDemoData } from "../../demo/data.js";
import { demoConfig } from "../../demo/recipe.js";
import { SMALL_RECIPE } from "../../demo/small-recipe.js";

/** `plain`: one engine. `samplers`: a sampler process of its own. `lagged`: that, while training goes on, with a lag of up to 2. */
export const SETTING_NAMES = ["plain", "samplers", "lagged"] as const;
export type SettingName = (typeof SETTING_NAMES)[number];

/** What all runs of a seed share. */
export interface Seeded {
  readonly seed: number;
  /** Model folder after the warm-up. */
  readonly model: string;
  readonly data: DemoData;
  /** Folder for its runs. */
  readonly folder: string;
}

/** The shortest documents only: a phase that the policy learns within some thirty steps. */
const PHASE = SMALL_RECIPE.phases[0] as (typeof SMALL_RECIPE.phases)[number];
/** The standard error of an accuracy of 0.85 is 1.6 points. */
const HELDOUT_TASKS = 512;
const RECIPE = { ...SMALL_RECIPE, phases: [PHASE], heldoutPerBucket: HELDOUT_TASKS };

const LAGGED_REWARDS = 512;

/** The guard that only refuses what is not finite: that of runs without a guard. */
export const UNGUARDED = "finite";

type Over = Partial<ConfigInput>;

function baseConfig({ seed, model, data, folder }: Seeded, id: string): ConfigInput {
  const run = { directory: folder, id, seed, sftOnly: false, settings: [], model, data };
  const config = demoConfig(RECIPE, RECIPE.options, run);
  return {
    ...config,
    evaluation: { initial: false, tasksPerBucket: HELDOUT_TASKS },
    checkpoint: { everySteps: 5, warmupEverySteps: 0, keep: 2 },
    monitor: { enabled: false },
    log: { level: "silent", file: false },
  };
}

/** Makes the data of a seed and trains its warm-up. */
export async function prepareSeed(seed: number, directory: string): Promise<Seeded> {
  const folder = join(directory, `seed-${seed}`);
  const start = await RECIPE.model(() => undefined);
  const tokenizer = await loadTokenizer(start);
  const data = await makeDemoData(join(folder, "data"), seed, RECIPE, (messages) =>
    countPromptTokens(messages, tokenizer),
  );
  const base = baseConfig({ seed, model: start, data, folder }, "warmup");
  const system = createTrainingSystem(
    { ...base, data: { train: [data.train] }, phases: [{ maxTokens: PHASE.maxTokens, steps: 0 }] },
    { onRemark: () => undefined },
  );
  await system.start();
  const { runDirectory } = await system.done;
  await rm(join(runDirectory, "checkpoints"), { recursive: true, force: true });
  return { seed, model: join(runDirectory, "model"), data, folder };
}

const OVER: Readonly<Record<SettingName, (base: ConfigInput) => Over>> = {
  plain: () => ({}),
  samplers: ({ rollout }) => ({ rollout: { ...rollout, engines: 1 } }),
  lagged: ({ rollout, update }) => ({
    rollout: { ...rollout, engines: 1, promptsPerCall: 8 },
    // As many as are in flight, so that late rewards hold up no others.
    reward: { concurrency: LAGGED_REWARDS },
    async: { maxLag: 2 },
    update: { ...update, oldLogprobs: "recompute", correction: { importance: "token" } },
  }),
};

export interface RunChoice {
  readonly id: string;
  readonly setting: SettingName;
  /** RL steps. */
  readonly steps: number;
  /** `guard.actor`; `finite` runs without a trial of each step. */
  readonly guard: string;
  /** Seed of sampling; that of the data is the `Seeded`'s. */
  readonly runSeed: number;
  /** Measure the accuracy on held-out tasks at the end. */
  readonly evaluate: boolean;
}

/** The configuration of one run. */
export function runConfig(seeded: Seeded, choice: RunChoice): ConfigInput {
  const { id, setting, steps, guard, runSeed, evaluate } = choice;
  const base = baseConfig(seeded, id);
  return {
    ...base,
    ...OVER[setting](base),
    run: { ...base.run, seed: runSeed },
    data: { train: [seeded.data.train], ...(evaluate ? { heldout: [seeded.data.heldout] } : {}) },
    warmup: { data: [] },
    phases: [{ maxTokens: PHASE.maxTokens, steps }],
    guard: { actor: guard, trial: guard !== UNGUARDED },
  };
}
