import { join } from "node:path";
import { packageRoot } from "../../model/tensor/native/index.js";
import type { DemoRecipe } from "./recipe.js";

/**
 * The demo that is shown by default: sizes and learning rates that were measured to work for the shipped warm-start policy
 * (docs/results.md has the figures and the command).
 */

/** The shipped policy that the demo starts from. */
const WARMSTART = join("assets", "warmstart");

/** Growing contexts. Token bounds lie above the longest prompt of each range of facts, so buckets do not overlap. */
const PHASES = [
  { length: { facts: [4, 8] }, maxTokens: 120, steps: 30 },
  { length: { facts: [10, 16] }, maxTokens: 181, steps: 30 },
  { length: { facts: [18, 24] }, maxTokens: 240, steps: 30 },
  { length: { facts: [26, 32] }, maxTokens: 302, steps: 30 },
] as const;

const HELDOUT_PER_BUCKET = 128;

const OPTIONS = {
  warmup: { epochs: 4, batchRows: 32, learningRate: 3e-4, schedule: "constant", aggregation: "token-mean" },
  rollout: { groupSize: 8, promptsPerStep: 16, promptsPerCall: 16, maxTokens: 44, temperature: 1, topP: 1 },
  dynamicSampling: { enabled: true, maxRounds: 1 },
  loss: { monitorKl: true },
  // The first step of AdamW at the full rate moves the policy by 0.2 nats. With samples of older policies it then overshoots to responses
  // that are cut off before it comes back: with `async.maxLag: 2` up to 96 % of them in a step, and up to 86 % with this rise of the rate.
  optimiser: { learningRate: 3e-4, warmupSteps: 20 },
  update: { miniBatchPrompts: null, microBatchTokens: 16_384, oldLogprobs: "sampler" },
  curriculum: { retrospective: { mode: "paper" } },
  evaluation: { tasksPerBucket: HELDOUT_PER_BUCKET },
  checkpoint: { everySteps: 20, keep: 2 },
} as const;

export const SMALL_RECIPE: DemoRecipe = {
  name: "small",
  about: "a policy of 0.8 M parameters, prompts of up to 302 tokens, a few minutes",
  model: async () => join(packageRoot(), WARMSTART),
  hops: [2, 2],
  phases: PHASES,
  tasksPerPhase: 700,
  heldoutPerBucket: HELDOUT_PER_BUCKET,
  demonstrations: { count: 960, length: PHASES[0].length, directShare: 0.7, form: "think" },
  options: OPTIONS,
  // WebAssembly is some thirty times slower: the same run with few steps, to see it work. Half the rows per step of the warm-up
  // give twice the updates at the same cost: after one epoch in steps of 32 rows no answer may be right yet, and RL learns nothing.
  wasm: {
    ...OPTIONS,
    phases: PHASES.map(({ maxTokens }) => ({ maxTokens, steps: 3 })),
    warmup: { ...OPTIONS.warmup, epochs: 1, batchRows: 16 },
    optimiser: { learningRate: 3e-4 },
    rollout: { ...OPTIONS.rollout, promptsPerStep: 8 },
    evaluation: { tasksPerBucket: 16 },
    checkpoint: { everySteps: 0, keep: 2 },
  },
};
