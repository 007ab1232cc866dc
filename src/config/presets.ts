import { WeirError } from "../errors.js";

/** Named bundles of options. A configuration names one by `preset`; its own options win over the bundle's. */

type Tree = Record<string, unknown>;

/** The release's training script where it differs from the paper (reward rules, symmetric clip, entropy bonus, overlong buffer). */
const released: Tree = {
  phases: [{ maxTokens: 60_000, steps: 100 }],
  curriculum: { retrospective: { mode: "none" } },
  dynamicSampling: { oversample: 3, onExhausted: "fail" },
  loss: { clipLow: 0.2, clipHigh: 0.2, entropyCoefficient: 0.001, monitorKl: true },
  reward: { mode: "released", overlong: { bufferTokens: 1_000, factor: 1 } },
};

/** Sizes that fit a laptop: small steps, short responses, a higher learning rate for small models. */
const quickstart: Tree = {
  rollout: { groupSize: 8, promptsPerStep: 8, maxTokens: 64, temperature: 1, topP: 1 },
  update: { miniBatchPrompts: null },
  loss: { monitorKl: true },
  optimiser: { learningRate: 3e-4 },
  warmup: { batchRows: 16, learningRate: 3e-4 },
};

const BUNDLES = { paper: {}, released, quickstart };

/** The names that `preset` takes. */
export type PresetName = keyof typeof BUNDLES;

export const PRESETS: Readonly<Record<string, Tree>> = BUNDLES;

function merge(base: Tree, over: Tree): Tree {
  const result: Tree = { ...base };
  for (const [key, value] of Object.entries(over)) {
    const below = result[key];
    const bothTrees = [below, value].every((part) => typeof part === "object" && part !== null && !Array.isArray(part));
    result[key] = bothTrees ? merge(below as Tree, value as Tree) : value;
  }
  return result;
}

/** Replaces `preset: NAME` by that bundle's options below the configuration's own. */
export function applyPreset(config: Tree): Tree {
  const { preset, ...own } = config;
  if (preset === undefined) return config;
  const bundle = typeof preset === "string" ? PRESETS[preset] : undefined;
  if (bundle === undefined) {
    throw new WeirError(
      "WEIR_E_CONFIG",
      `option "preset": expected one of ${Object.keys(PRESETS).join(", ")}, got ${JSON.stringify(preset)}`,
      { preset },
    );
  }
  return merge(bundle, own);
}
