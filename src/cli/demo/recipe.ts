import type { ConfigInput } from "../../config/schema.js";

/**
 * The recipe of the demo: sizes and learning rates that were measured to work for the shipped warm-start policy
 * (docs/results.md has the figures and the command). Everything the demo trains on follows from it and a seed.
 */

/** Facts that must be combined for an answer. */
export const DEMO_HOPS = [2, 2] as const;

export interface DemoPhase {
  /** Facts per document, both ends included. */
  readonly facts: readonly [number, number];
  /** Upper bound of the templated prompt in tokens. */
  readonly maxTokens: number;
  readonly steps: number;
}

/** Growing contexts. Token bounds lie above the longest prompt of each range of facts, so buckets do not overlap. */
export const DEMO_PHASES: readonly DemoPhase[] = [
  { facts: [4, 8], maxTokens: 120, steps: 30 },
  { facts: [10, 16], maxTokens: 181, steps: 30 },
  { facts: [18, 24], maxTokens: 240, steps: 30 },
  { facts: [26, 32], maxTokens: 302, steps: 30 },
];

/** Training tasks per phase: more than are ever drawn, so that no document is seen often. */
export const TASKS_PER_PHASE = 700;
/** Held-out tasks per bucket. */
export const HELDOUT_PER_BUCKET = 128;
/** Demonstrations of the warm-up, all from the shortest bucket. */
export const DEMONSTRATIONS = 960;
/** Share of demonstrations that answer at once instead of quoting the evidence first. */
export const DIRECT_SHARE = 0.7;

/** Options of the demo's run, apart from paths and seed. */
export const DEMO_OPTIONS = {
  phases: DEMO_PHASES.map(({ maxTokens, steps }) => ({ maxTokens, steps })),
  warmup: { epochs: 4, batchRows: 32, learningRate: 3e-4, schedule: "constant", aggregation: "token-mean" },
  rollout: { groupSize: 8, promptsPerStep: 16, promptsPerCall: 16, maxTokens: 44, temperature: 1, topP: 1 },
  dynamicSampling: { enabled: true, maxRounds: 1 },
  loss: { monitorKl: true },
  optimiser: { learningRate: 3e-4 },
  update: { miniBatchPrompts: null, microBatchTokens: 16_384, oldLogprobs: "sampler" },
  curriculum: { retrospective: { mode: "paper" } },
  evaluation: { tasksPerBucket: HELDOUT_PER_BUCKET },
  checkpoint: { everySteps: 20, keep: 2 },
} as const satisfies Partial<ConfigInput>;

const RL_STEPS = DEMO_PHASES.reduce((sum, phase) => sum + phase.steps, 0);
/** Epochs of the comparison run: the warm-up's optimiser steps and as many more as RL takes. */
export const SFT_ONLY_EPOCHS = DEMO_OPTIONS.warmup.epochs + (RL_STEPS * DEMO_OPTIONS.warmup.batchRows) / DEMONSTRATIONS;

/** Where only WebAssembly is to be had, some thirty times slower: the same run with few steps, to see it work. */
export const WASM_OPTIONS = {
  phases: DEMO_PHASES.map(({ maxTokens }) => ({ maxTokens, steps: 3 })),
  warmup: { ...DEMO_OPTIONS.warmup, epochs: 1 },
  rollout: { ...DEMO_OPTIONS.rollout, promptsPerStep: 8 },
  evaluation: { tasksPerBucket: 16 },
  checkpoint: { everySteps: 0, keep: 2 },
} as const satisfies Partial<ConfigInput>;
