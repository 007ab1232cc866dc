/** The smallest GGUF model that can be imported: Qwen3, one layer, 16 wide, twelve tokens, float32. */
import { join } from "node:path";
import { temporaryFolder } from "./fixtures.js";
import { floatBytes, type GgufEntry, type GgufTensorSpec, writeGguf } from "./gguf-writer.js";

const TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "a", "b", "c", "Ġ", "ab", "Ġab", "1", "2", "Ċ"];

const METADATA: Readonly<Record<string, GgufEntry>> = {
  "general.architecture": { text: "qwen3" },
  "qwen3.block_count": { u32: 1 },
  "qwen3.context_length": { u32: 128 },
  "qwen3.embedding_length": { u32: 16 },
  "qwen3.feed_forward_length": { u32: 24 },
  "qwen3.attention.head_count": { u32: 2 },
  "qwen3.attention.head_count_kv": { u32: 1 },
  "qwen3.attention.key_length": { u32: 8 },
  "qwen3.attention.layer_norm_rms_epsilon": { f32: 1e-6 },
  "tokenizer.ggml.model": { text: "gpt2" },
  "tokenizer.ggml.pre": { text: "qwen2" },
  "tokenizer.ggml.tokens": { texts: TOKENS },
  "tokenizer.ggml.token_type": { i32s: TOKENS.map((_, id) => (id < 3 ? 3 : 1)) },
  "tokenizer.ggml.merges": { texts: ["a b", "Ġ ab"] },
  "tokenizer.ggml.eos_token_id": { u32: 2 },
};

const SHAPES: Readonly<Record<string, readonly number[]>> = {
  "token_embd.weight": [12, 16],
  "output_norm.weight": [16],
  "blk.0.attn_norm.weight": [16],
  "blk.0.attn_q.weight": [16, 16],
  "blk.0.attn_k.weight": [8, 16],
  "blk.0.attn_v.weight": [8, 16],
  "blk.0.attn_output.weight": [16, 16],
  "blk.0.attn_q_norm.weight": [8],
  "blk.0.attn_k_norm.weight": [8],
  "blk.0.ffn_norm.weight": [16],
  "blk.0.ffn_gate.weight": [24, 16],
  "blk.0.ffn_up.weight": [24, 16],
  "blk.0.ffn_down.weight": [16, 24],
};

/** Writes the model and returns its path; values count up in steps of 1/64, so that every storage type holds them. */
export async function smallGguf(): Promise<string> {
  const path = join(await temporaryFolder(), "small.gguf");
  const tensors: Record<string, GgufTensorSpec> = {};
  for (const [name, shape] of Object.entries(SHAPES)) {
    const count = shape.reduce((product, size) => product * size, 1);
    tensors[name] = {
      shape,
      type: 0,
      bytes: floatBytes(Float32Array.from({ length: count }, (_, i) => (i % 64) / 64)),
    };
  }
  await writeGguf(path, METADATA, tensors);
  return path;
}
