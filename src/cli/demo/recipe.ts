import type { ConfigInput } from "../../config/schema.js";
import { applySettings } from "../../config/settings.js";
import type { DemonstrationForm, LengthDial, Range } from "../../data/synthetic/index.js";

/**
 * What a recipe of the demo is: a policy to start from, dials of the generated data, options of the run. A recipe and a seed
 * determine a demo run.
 */

export interface RecipePhase {
  /** Length of the phase's documents, in training and evaluation. */
  readonly length: LengthDial;
  /** Upper bound of the templated prompt in tokens. */
  readonly maxTokens: number;
  readonly steps: number;
}

/** Options of the run, apart from paths and seed; without `phases` these are the recipe's. */
export type RecipeOptions = Partial<Omit<ConfigInput, "model">> & {
  /** Adapters to train; all weights without it. */
  readonly lora?: ConfigInput["model"]["lora"];
  readonly warmup: { readonly epochs: number; readonly batchRows: number };
};

export interface DemoRecipe {
  readonly name: string;
  /** Description of the run, in one line. */
  readonly about: string;
  /** The folder of the policy to start from; may fetch it and report progress. */
  readonly model: (say: (text: string) => void) => Promise<string>;
  /** Facts that must be combined for an answer. */
  readonly hops: Range;
  /** Growing contexts, one held-out bucket each. */
  readonly phases: readonly RecipePhase[];
  /** Training tasks per phase: so many that no document is seen often. */
  readonly tasksPerPhase: number;
  /** Held-out tasks per bucket. */
  readonly heldoutPerBucket: number;
  readonly demonstrations: {
    readonly count: number;
    readonly length: LengthDial;
    /** Share of demonstrations that answer at once instead of quoting the evidence first. */
    readonly directShare: number;
    readonly form: DemonstrationForm;
  };
  readonly options: RecipeOptions;
  /** The run where only WebAssembly is available; null where it would take days. */
  readonly wasm: RecipeOptions | null;
}

/** Epochs of the comparison run: the warm-up's optimiser steps and as many more as RL takes. */
function sftOnlyEpochs(recipe: DemoRecipe): number {
  const { epochs, batchRows } = recipe.options.warmup;
  const steps = recipe.phases.reduce((sum, phase) => sum + phase.steps, 0);
  return epochs + (steps * batchRows) / recipe.demonstrations.count;
}

/** Options of a run besides its recipe. */
export interface DemoRun {
  readonly directory: string;
  readonly id: string;
  readonly seed: number;
  readonly model: string;
  readonly data: { readonly train: string; readonly heldout: string; readonly sft: string };
  /** The comparison run: no RL, more SFT. */
  readonly sftOnly: boolean;
  /** Overrides, `path=value` each. */
  readonly settings: readonly string[];
}

/** The configuration of a run, from the recipe's own options or those for wasm. Throws WEIR_E_USAGE on bad overrides. */
export function demoConfig(recipe: DemoRecipe, options: RecipeOptions, run: DemoRun): ConfigInput {
  const { directory, id, seed, model, data, sftOnly } = run;
  const phases = recipe.phases.map(({ maxTokens, steps }) => ({ maxTokens, steps: sftOnly ? 0 : steps }));
  const { lora, ...others } = options;
  const config = {
    ...others,
    phases: sftOnly ? phases : (options.phases ?? phases),
    run: { directory, id, seed },
    model: { path: model, ...(lora ? { lora } : {}) },
    data: { train: [data.train], heldout: [data.heldout] },
    warmup: { ...options.warmup, data: [data.sft], ...(sftOnly ? { epochs: sftOnlyEpochs(recipe) } : {}) },
  };
  return applySettings(config, run.settings) as ConfigInput;
}
