/**
 * The models that benchmarks run: random weights of a fixed seed in a temporary Hugging Face folder, or a folder of the
 * user's. Random weights cost what trained ones cost; only the shape matters for speed and memory.
 */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { counterKey, normal } from "../../algorithms/random.js";
import { type ModelConfig, readModelConfig } from "../../model/io/config.js";
import { writeSafetensors } from "../../model/io/safetensors.js";
import { expectedTensors } from "../../model/io/tensor-names.js";
import { elementCount, tensorsInMemory } from "../../model/io/tensor-source.js";

const QWEN2 = {
  architectures: ["Qwen2ForCausalLM"],
  model_type: "qwen2",
  dtype: "float32",
  hidden_act: "silu",
  rms_norm_eps: 1e-6,
  rope_theta: 10000,
  tie_word_embeddings: true,
  initializer_range: 0.02,
} as const;

/** 20.8 M weights: small enough for a CPU, large enough that matrix products dominate. */
export const BENCH_MODEL = {
  ...QWEN2,
  hidden_size: 512,
  intermediate_size: 1376,
  num_hidden_layers: 6,
  num_attention_heads: 8,
  num_key_value_heads: 2,
  vocab_size: 8192,
  max_position_embeddings: 40960,
} as const;

/** A model whose steps take milliseconds, so that a thousand of them show a leak within minutes. */
export const SOAK_MODEL = {
  ...QWEN2,
  hidden_size: 64,
  intermediate_size: 176,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  vocab_size: 512,
  max_position_embeddings: 1024,
} as const;

const DEVIATION = 0.02;
/** Normal numbers are drawn once and repeated with a prime period, which no matrix width divides, so rows differ. */
const PERIOD = 65_521;

/** Writes config.json and random weights: norms 1, all else normal with deviation 0.02. */
export async function writeRandomModel(directory: string, config: Readonly<Record<string, unknown>>): Promise<void> {
  await writeFile(join(directory, "config.json"), `${JSON.stringify(config, null, 2)}\n`);
  const key = counterKey(1, "bench-weights");
  const pool = Float32Array.from({ length: PERIOD }, (_, i) => DEVIATION * normal(key, i));
  let offset = 0;
  const tensors: Record<string, { shape: readonly number[]; data: Float32Array }> = {};
  for (const [name, shape] of expectedTensors(await readModelConfig(directory))) {
    const data = new Float32Array(elementCount(shape));
    if (name.endsWith("norm.weight")) data.fill(1);
    else for (let i = 0; i < data.length; i += 1) data[i] = pool[(offset + i) % PERIOD] as number;
    offset = (offset + data.length) % PERIOD;
    tensors[name] = { shape, data };
  }
  await writeSafetensors(join(directory, "model.safetensors"), tensorsInMemory(tensors), { format: "pt" });
}

export interface BenchModel {
  readonly directory: string;
  readonly config: ModelConfig;
}

/** Runs `work` on the folder given, or on a random model that is removed afterwards. */
export async function withBenchModel<T>(
  given: string | undefined,
  work: (model: BenchModel) => Promise<T>,
  config: Readonly<Record<string, unknown>> = BENCH_MODEL,
): Promise<T> {
  if (given !== undefined) return work({ directory: given, config: await readModelConfig(given) });
  const directory = await mkdtemp(join(tmpdir(), "weir-bench-"));
  try {
    await writeRandomModel(directory, config);
    return await work({ directory, config: await readModelConfig(directory) });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
