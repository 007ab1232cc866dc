/**
 * Floating-point operations of one training step, counted from the model's shape alone (a multiply-add is two).
 *
 *   step = 6·N·tokens + 12·L·d_attn·(T/2)·tokens
 *
 * N: weights that take part in a matrix product, the output head included and counted once where it is tied to the
 * embedding; the embedding look-up, norms and biases are not products. 6 = 2 forward + 4 backward (gradients of input
 * and weight). d_attn = heads · headDim, and a token attends to T/2 others on average (causal): QKᵀ and the weighted
 * sum of V are 2·2·d_attn·T/2 forward, three times that with the backward pass. Not counted: softmax, norms,
 * activations, the optimiser, and anything that an implementation computes again to save memory, so that the share of
 * the peak is that of useful work.
 */
import type { ModelConfig } from "../../model/io/config.js";
import { expectedTensors } from "../../model/io/tensor-names.js";
import { elementCount } from "../../model/io/tensor-source.js";

/** N of the formula above. */
export function matmulWeights(config: ModelConfig): number {
  let count = 0;
  for (const [name, shape] of expectedTensors(config)) {
    const lookup = name === "model.embed_tokens.weight" && !config.tieWordEmbeddings;
    if (shape.length === 2 && !lookup) count += elementCount(shape);
  }
  return count;
}

/** Operations of forward and backward over `rows` sequences of `length` tokens, each a target. */
export function stepFlops(config: ModelConfig, rows: number, length: number): number {
  const tokens = rows * length;
  const attention = 12 * config.layers * config.heads * config.headDim * (length / 2);
  return (6 * matmulWeights(config) + attention) * tokens;
}
