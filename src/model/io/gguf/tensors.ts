/**
 * Offers the tensors of a GGUF file under their Hugging Face names, dequantised one at a time.
 * Some families store the rows of q and k for rotary pairs (2j, 2j+1); they are put back to (j, j + d/2).
 */
import { WeirError } from "../../../errors.js";
import type { ModelConfig } from "../config.js";
import { familyNamed } from "../families/index.js";
import { readRange } from "../safetensors.js";
import { expectedTensors } from "../tensor-names.js";
import { elementCount, type TensorSource } from "../tensor-source.js";
import { dequantise } from "./dequantise.js";
import type { GgufHead, GgufTensor } from "./reader.js";

const TOP_LEVEL: Readonly<Record<string, string>> = {
  "model.embed_tokens": "token_embd",
  "model.norm": "output_norm",
  lm_head: "output",
};

const IN_LAYER: Readonly<Record<string, string>> = {
  input_layernorm: "attn_norm",
  "self_attn.q_proj": "attn_q",
  "self_attn.k_proj": "attn_k",
  "self_attn.v_proj": "attn_v",
  "self_attn.o_proj": "attn_output",
  "self_attn.q_norm": "attn_q_norm",
  "self_attn.k_norm": "attn_k_norm",
  post_attention_layernorm: "ffn_norm",
  "mlp.gate_proj": "ffn_gate",
  "mlp.up_proj": "ffn_up",
  "mlp.down_proj": "ffn_down",
};

/** Tables that follow from the configuration. */
const DERIVED = new Set(["rope_freqs.weight"]);

/** GGUF's name for a Hugging Face tensor name. */
export function ggufName(name: string): string {
  const layer = /^model\.layers\.(\d+)\.(.+)\.(weight|bias)$/.exec(name);
  if (layer !== null) return `blk.${layer[1]}.${IN_LAYER[layer[2]!] ?? layer[2]}.${layer[3]}`;
  const top = /^(.+)\.(weight|bias)$/.exec(name);
  return top === null ? name : `${TOP_LEVEL[top[1]!] ?? top[1]}.${top[2]}`;
}

/**
 * Rows of each head from interleaved pairs to halves: out row c·d/2 + j is in row 2j + c (c = 0, 1).
 * `values` is [heads · headDim, columns] row-major.
 */
export function halveRotaryRows(values: Float32Array, heads: number, headDim: number): Float32Array {
  const columns = values.length / (heads * headDim);
  const out = new Float32Array(values.length);
  for (let head = 0; head < heads; head += 1)
    for (let row = 0; row < headDim; row += 1) {
      const from = head * headDim + (row % (headDim / 2)) * 2 + Math.floor(row / (headDim / 2));
      out.set(values.subarray(from * columns, (from + 1) * columns), (head * headDim + row) * columns);
    }
  return out;
}

/**
 * Throws WEIR_E_GGUF when a tensor is missing, extra or of another shape than the configuration asks for (the message
 * names it).
 */
export function tensorsFromGguf(head: GgufHead, config: ModelConfig): TensorSource {
  const expected = expectedTensors(config);
  const pairedRows = familyNamed(config.family)?.gguf?.pairedRows ?? false;
  const found = new Map<string, GgufTensor>();
  const used = new Set<string>();
  const fault = (tensor: string, what: string) =>
    new WeirError("WEIR_E_GGUF", `${head.path}: tensor ${tensor} ${what}.`, { path: head.path, tensor });
  for (const [name, shape] of expected) {
    const stored = ggufName(name);
    const tensor = head.tensors.get(stored);
    if (tensor === undefined) throw fault(stored, `(${name}) is missing. Fetch the file again`);
    if (tensor.shape.length !== shape.length || tensor.shape.some((size, axis) => size !== shape[axis]))
      throw fault(stored, `has the shape [${tensor.shape.join(", ")}], the metadata asks for [${shape.join(", ")}]`);
    found.set(name, tensor);
    used.add(stored);
  }
  for (const name of head.tensors.keys())
    if (!used.has(name) && !DERIVED.has(name))
      throw fault(name, `has no place in a ${config.family} model. Use a file of a plain ${config.family} model`);
  return {
    names: () => [...expected.keys()].sort(),
    shape: (name) => expected.get(name) ?? [],
    read: (name) => {
      const tensor = found.get(name);
      if (tensor === undefined) throw fault(name, "is not part of the model");
      const values = dequantise(readRange(tensor.path, tensor.start, tensor.end), tensor.type);
      if (values.length !== elementCount(tensor.shape)) throw fault(name, "has another size than its shape says");
      if (pairedRows && /\.self_attn\.q_proj\./.test(name))
        return halveRotaryRows(values, config.heads, config.headDim);
      if (pairedRows && /\.self_attn\.k_proj\./.test(name))
        return halveRotaryRows(values, config.kvHeads, config.headDim);
      return values;
    },
  };
}
