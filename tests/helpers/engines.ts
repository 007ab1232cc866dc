/** Engines and models for tests: an in-process engine, a tiny random model of any supported kind. */

import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { normal } from "../../src/algorithms/random.js";
import type { BackendName, EngineOptions } from "../../src/contracts/engine.js";
import type { OptimiserConfig, PolicyLossConfig } from "../../src/contracts/trainer.js";
import { lossSettings } from "../../src/losses/settings.js";
import { readModelConfig } from "../../src/model/io/config.js";
import { writeSafetensors } from "../../src/model/io/safetensors.js";
import { expectedTensors } from "../../src/model/io/tensor-names.js";
import { elementCount, tensorsInMemory } from "../../src/model/io/tensor-source.js";
import { locateNative } from "../../src/model/tensor/native/index.js";

/** The fastest backend there is here. */
export const FAST_BACKEND: BackendName = locateNative().found ? "tensorflow" : "wasm";

export const ENGINE_OPTIONS: EngineOptions = {
  backend: FAST_BACKEND,
  executor: "auto",
  precision: "float32",
  memoryGiB: null,
  lora: null,
  threads: 0,
  requestTimeoutMs: 60_000,
  startTimeoutMs: 60_000,
  heartbeatMs: 5_000,
};

/** A tiny Qwen2 configuration; `changes` turn it into other kinds. */
export const TINY_CONFIG = {
  architectures: ["Qwen2ForCausalLM"],
  model_type: "qwen2",
  hidden_act: "silu",
  hidden_size: 24,
  intermediate_size: 40,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  vocab_size: 61,
  max_position_embeddings: 1024,
  rms_norm_eps: 1e-6,
  tie_word_embeddings: true,
  rope_theta: 10000,
  eos_token_id: 2,
  pad_token_id: 0,
};

/** What turns the tiny configuration into each kind of layer: plain, with head norms, with biases and a head of its own. */
export const MODEL_KINDS: readonly (readonly [string, Readonly<Record<string, unknown>>])[] = [
  ["a Qwen2", { hidden_size: 64, num_attention_heads: 4, intermediate_size: 96 }],
  ["a Qwen3 with head norms", { architectures: ["Qwen3ForCausalLM"], model_type: "qwen3", head_dim: 16 }],
  [
    "a Llama with biases and a head of its own",
    {
      architectures: ["LlamaForCausalLM"],
      model_type: "llama",
      attention_bias: true,
      mlp_bias: true,
      tie_word_embeddings: false,
    },
  ],
  [
    "a Gemma with other norms and another activation",
    { architectures: ["GemmaForCausalLM"], model_type: "gemma", hidden_act: "gelu_pytorch_tanh", head_dim: 8 },
  ],
];

/** Writes a model folder with normal weights of a fixed seed. */
export async function writeRandomModel(
  directory: string,
  changes: Readonly<Record<string, unknown>> = {},
  scale = 0.3,
): Promise<string> {
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, "config.json"), JSON.stringify({ ...TINY_CONFIG, ...changes }));
  const tensors: Record<string, { shape: readonly number[]; data: Float32Array }> = {};
  let key = 1;
  for (const [name, shape] of expectedTensors(await readModelConfig(directory))) {
    key += 1;
    const center = name.includes("norm") ? 1 : 0;
    const data = Float32Array.from({ length: elementCount(shape) }, (_, i) => center + scale * normal(key, i));
    tensors[name] = { shape, data };
  }
  await writeSafetensors(join(directory, "model.safetensors"), tensorsInMemory(tensors), { format: "pt" });
  return directory;
}

/** Eq. 6 with the defaults of the tests. */
export const TEST_LOSS: PolicyLossConfig = {
  name: "dapo",
  settings: lossSettings("dapo"),
  aggregation: "token-mean",
  lossScale: 1,
  klCoefficient: 0,
  klEstimator: "k3",
  entropyCoefficient: 0,
  temperature: 1,
};

export const TEST_OPTIMISER: OptimiserConfig = {
  learningRate: 1e-3,
  betas: [0.9, 0.999],
  epsilon: 1e-8,
  weightDecay: 0.01,
  decayScope: "all",
  maxGradNorm: 1,
};
