/** The names and shapes of the tensors that a model of a given configuration has, in Hugging Face terms. */
import type { ModelConfig } from "./config.js";

/** Buffers that some checkpoints store and every reader recomputes: rotary tables, positions, masks. */
const RECOMPUTED =
  /(?:^|\.)(?:rotary_emb\.(?:inv_freq|original_inv_freq|cos_cached|sin_cached)|position_ids|masked_bias)$/;
/** Types that no parameter has. */
const BUFFER_TYPES = new Set(["BOOL", "I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64"]);

/** Expected tensors: name → shape, matrices as [out, in]. The head is absent when it is tied to the embedding. */
export function expectedTensors(config: ModelConfig): ReadonlyMap<string, readonly number[]> {
  const { hiddenSize, intermediateSize, headDim, attentionBias } = config;
  const queries = config.heads * headDim;
  const keys = config.kvHeads * headDim;
  const shapes = new Map<string, readonly number[]>();
  shapes.set("model.embed_tokens.weight", [config.vocabSize, hiddenSize]);
  for (let layer = 0; layer < config.layers; layer += 1) {
    const add = (name: string, shape: readonly number[]) => shapes.set(`model.layers.${layer}.${name}`, shape);
    const projection = (name: string, out: number, input: number, bias: boolean) => {
      add(`${name}.weight`, [out, input]);
      if (bias) add(`${name}.bias`, [out]);
    };
    add("input_layernorm.weight", [hiddenSize]);
    projection("self_attn.q_proj", queries, hiddenSize, attentionBias.q);
    projection("self_attn.k_proj", keys, hiddenSize, attentionBias.k);
    projection("self_attn.v_proj", keys, hiddenSize, attentionBias.v);
    projection("self_attn.o_proj", hiddenSize, queries, attentionBias.o);
    if (config.qkNorm) {
      add("self_attn.q_norm.weight", [headDim]);
      add("self_attn.k_norm.weight", [headDim]);
    }
    add("post_attention_layernorm.weight", [hiddenSize]);
    projection("mlp.gate_proj", intermediateSize, hiddenSize, config.mlpBias);
    projection("mlp.up_proj", intermediateSize, hiddenSize, config.mlpBias);
    projection("mlp.down_proj", hiddenSize, intermediateSize, config.mlpBias);
  }
  shapes.set("model.norm.weight", [hiddenSize]);
  if (!config.tieWordEmbeddings) shapes.set("lm_head.weight", [config.vocabSize, hiddenSize]);
  return shapes;
}

/** True for stored tensors beyond the expected ones that carry no information: known buffers, and whole numbers. */
export function isBuffer(name: string, dtype: string): boolean {
  return RECOMPUTED.test(name) || BUFFER_TYPES.has(dtype);
}
