/** One decode step on weir's fused operations: eight operations a layer, weights streamed once. Traced only. */

import type { ModelConfig } from "../io/config.js";
import { after, concat, gatherRows, mul, reshape, slice, widen } from "../tensor/kernels.js";
import { type Tensor, tf } from "../tensor/tf.js";
import { ACTIVATIONS } from "../transformer/activation.js";
import { DECODED_PARTS, type DecodedRows } from "../transformer/decoded-rows.js";
import {
  addRmsNorm,
  decodeAttention,
  packedGatedProduct,
  packedProduct,
  rmsNormFloat,
  selectToken,
  storeActivations,
} from "../transformer/fused-kernels.js";
import { embeddingScaled } from "../transformer/model.js";
import type { KeyValue } from "../transformer/segment.js";
import { BLOCK, type DecodeStep } from "./decode-graph.js";
import type { DecodeLayer } from "./decode-weights.js";

/** Head norms of queries and keys, where there are any: qkv [R, (heads + 2·kv)·dh]. */
function normHeads(qkv: Tensor, { qNorm, kNorm }: DecodeLayer, config: ModelConfig): Tensor {
  if (qNorm === null || kNorm === null) return qkv;
  const { heads, kvHeads, headDim, rmsNormEps } = config;
  const rows = qkv.shape[0] as number;
  const part = (from: number, count: number) => slice(qkv, [0, from * headDim], [rows, count * headDim]);
  const normed = (from: number, count: number, weight: Tensor) =>
    reshape(rmsNormFloat(reshape(part(from, count), [-1, headDim]), weight, rmsNormEps), [rows, count * headDim]);
  return concat([normed(0, heads, qNorm), normed(heads, kvHeads, kNorm), part(heads + kvHeads, kvHeads)], 1);
}

/** up = n·Wᵀ + bias, null unless `wantUp`, and act = a(gate)·up; one operation for SiLU. */
function gatedUp(config: ModelConfig, n: Tensor, layer: DecodeLayer, gate: Tensor, wantUp: boolean) {
  if (config.activation === "silu") return packedGatedProduct(n, layer.up, layer.upBias, gate, wantUp);
  const up = packedProduct(n, layer.up, layer.upBias, config.intermediateSize);
  return { act: mul(ACTIVATIONS[config.activation].apply(gate).y, up), up: wantUp ? up : null };
}

export const fusedDecodeStep: DecodeStep = (inputs, shape, { step, ids, blocks, activations }) => {
  const { config, prompts, group } = shape;
  const { heads, kvHeads, headDim, hiddenSize, intermediateSize, rmsNormEps, vocabSize } = config;
  const { weights } = inputs;
  const positions = tf.add(inputs.positions, step); // [P]
  const table = { cos: gatherRows(inputs.cos, positions), sin: gatherRows(inputs.sin, positions) }; // [P, dh]
  let x = embeddingScaled(widen(gatherRows(weights.embedding, ids)), config); // [R, d]
  let n = rmsNormFloat(x, (weights.layers[0] as DecodeLayer).norm1, rmsNormEps);
  const cachedBlocks: Tensor[] = [];
  /** Caches parts, and returns `next` as ready only after that: run at the same time, the two would compete for the cores. */
  const storeBefore = (next: Tensor, parts: readonly Tensor[]): Tensor => {
    const block = storeActivations(activations[cachedBlocks.length] as Tensor, BLOCK, step, parts);
    cachedBlocks.push(block);
    return after(next, block);
  };
  const next = weights.layers.map((layer, index): KeyValue => {
    const qkv = packedProduct(n, layer.qkv, layer.qkvBias, (heads + 2 * kvHeads) * headDim);
    const attended = decodeAttention(
      normHeads(qkv, layer, config),
      {
        ...table,
        lengths: inputs.prefixLengths,
        prefix: inputs.prefix?.[index] ?? null,
        own: inputs.own[index] as KeyValue,
        first: inputs.first,
        used: inputs.used,
        block: blocks[index] as KeyValue,
        step,
      },
      { prompts, group, kvHeads, headsPerKv: heads / kvHeads },
    );
    const mixed = packedProduct(attended.o, layer.o, layer.oBias, hiddenSize);
    const mid = addRmsNorm(x, mixed, null, layer.norm2, rmsNormEps);
    const gate = packedProduct(mid.n, layer.gate, layer.gateBias, intermediateSize);
    let { act, up } = gatedUp(config, mid.n, layer, gate, shape.cacheActivations);
    if (up !== null) {
      const rows: DecodedRows = { x, qkv, o: attended.o, lse: attended.lse, mid: mid.sum, gate, up };
      const parts = DECODED_PARTS.map((part) => rows[part]);
      act = storeBefore(act, parts);
    }
    const down = packedProduct(act, layer.down, layer.downBias, hiddenSize);
    const following = weights.layers[index + 1]?.norm1 ?? weights.norm;
    const end = addRmsNorm(mid.sum, down, null, following, rmsNormEps);
    x = end.sum;
    n = end.n;
    return attended.block;
  });
  if (shape.cacheActivations) n = storeBefore(n, [x]);
  const logits = packedProduct(mul(n, inputs.inverseTemperature), weights.head, null, vocabSize); // [R, V]
  const uniforms = reshape(gatherRows(inputs.uniforms, reshape(step, [1])), [-1]);
  const drawn = selectToken(logits, uniforms, inputs.topP, shape.select);
  const report = tf.stack([tf.cast(drawn.ids, "float32"), drawn.logprobs, drawn.entropies]);
  return { ids: drawn.ids, report, blocks: next, activations: cachedBlocks };
};
