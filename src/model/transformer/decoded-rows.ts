/**
 * A layer's activations of completion tokens as decoding computes them, in float32: what its backward pass needs and cannot
 * recompute from the others by norms and rotations alone. The activation cache stores them in the order of DECODED_PARTS.
 */

import type { ModelConfig } from "../io/config.js";
import type { Tensor } from "../tensor/tf.js";

export interface DecodedRows {
  /** The layer's input. */
  readonly x: Tensor; // [N, d]
  /** With biases, before head norms and rotation; without head norms the queries are scaled. */
  readonly qkv: Tensor; // [N, (heads + 2·kv)·dh]
  readonly o: Tensor; // [N, heads·dh]
  readonly lse: Tensor; // [N, heads]
  readonly mid: Tensor; // [N, d]
  readonly gate: Tensor; // [N, ff]
  readonly up: Tensor; // [N, ff]
}

export type DecodedPart = keyof DecodedRows;

export const DECODED_PARTS: readonly DecodedPart[] = ["x", "qkv", "o", "lse", "mid", "gate", "up"];

/** Columns of each part. */
export function decodedWidths(config: ModelConfig): Readonly<Record<DecodedPart, number>> {
  const { hiddenSize, intermediateSize, heads, kvHeads, headDim } = config;
  return {
    x: hiddenSize,
    qkv: (heads + 2 * kvHeads) * headDim,
    o: heads * headDim,
    lse: heads,
    mid: hiddenSize,
    gate: intermediateSize,
    up: intermediateSize,
  };
}

/** Floats per token in the activation cache: the parts of every layer, and the hidden row before the final norm. */
export function tokenColumns(config: ModelConfig): number {
  const layer = Object.values(decodedWidths(config)).reduce((sum, width) => sum + width, 0);
  return config.layers * layer + config.hiddenSize;
}
