/**
 * The untrained folder of the demo's policy: a small Qwen2-shaped model with random weights, and its tokenizer.
 * Deterministic: weights come from counter-based random numbers keyed by tensor name.
 */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { counterKey, normal } from "../algorithms/random.js";
import { DEMO_CHAT_TEMPLATE, demoTokenizer } from "../data/synthetic/index.js";
import { readModelConfig } from "../model/io/config.js";
import { writeModelFolder } from "../model/io/model-folder.js";
import { expectedTensors } from "../model/io/tensor-names.js";
import { elementCount, tensorsInMemory } from "../model/io/tensor-source.js";

const LAYERS = 4;
/** Four times that of GPT-2 and Qwen: measured: with it a model of this size learns to copy from about a third of the tokens. */
const DEVIATION = 0.08;

/** Writes config.json, generation_config.json, tokenizer files and random weights into `directory`. */
export async function writeUntrainedPolicy(directory: string, seed: number): Promise<void> {
  await mkdir(directory, { recursive: true });
  const tokenizer = demoTokenizer();
  const vocabulary = (tokenizer.model as { vocab: Record<string, number> }).vocab;
  const id = (token: string): number => vocabulary[token] as number;
  const end = id("<|im_end|>");
  const pad = id("<|endoftext|>");
  const config = {
    architectures: ["Qwen2ForCausalLM"],
    attention_dropout: 0,
    bos_token_id: null,
    dtype: "float32",
    eos_token_id: end,
    hidden_act: "silu",
    hidden_size: 128,
    initializer_range: DEVIATION,
    intermediate_size: 352,
    max_position_embeddings: 4096,
    model_type: "qwen2",
    num_attention_heads: 4,
    num_hidden_layers: LAYERS,
    num_key_value_heads: 2,
    pad_token_id: pad,
    rms_norm_eps: 1e-6,
    rope_theta: 10000,
    tie_word_embeddings: true,
    use_cache: true,
    use_sliding_window: false,
    vocab_size: Object.keys(vocabulary).length,
  };
  const files: Readonly<Record<string, unknown>> = {
    "config.json": config,
    "generation_config.json": { eos_token_id: end, pad_token_id: pad },
    "tokenizer.json": tokenizer,
    "tokenizer_config.json": {
      tokenizer_class: "PreTrainedTokenizerFast",
      eos_token: "<|im_end|>",
      pad_token: "<|endoftext|>",
      clean_up_tokenization_spaces: false,
      model_max_length: config.max_position_embeddings,
    },
  };
  for (const [name, content] of Object.entries(files)) {
    await writeFile(join(directory, name), `${JSON.stringify(content, null, name === "tokenizer.json" ? 0 : 2)}\n`);
  }
  await writeFile(join(directory, "chat_template.jinja"), DEMO_CHAT_TEMPLATE);
  const tensors = Object.fromEntries(
    [...expectedTensors(await readModelConfig(directory))].map(([name, shape]) => [
      name,
      { shape, data: initialValues(name, elementCount(shape), seed) },
    ]),
  );
  await writeModelFolder(directory, { sourceDir: directory, tensors: tensorsInMemory(tensors), dtype: "float32" });
}

/** Norms are 1, biases 0, matrices normal; those that write to the residual stream are scaled down by depth (GPT-2). */
function initialValues(name: string, count: number, seed: number): Float32Array {
  if (name.endsWith("norm.weight")) return new Float32Array(count).fill(1);
  if (name.endsWith(".bias")) return new Float32Array(count);
  const residual = name.endsWith("o_proj.weight") || name.endsWith("down_proj.weight");
  const deviation = residual ? DEVIATION / Math.sqrt(2 * LAYERS) : DEVIATION;
  const key = counterKey(seed, "initial-weights", name);
  return Float32Array.from({ length: count }, (_, at) => deviation * normal(key, at));
}
