/** The output head on weir's fused operations: two passes over the logits, forward and backward together. Traced only. */

import { gradientProduct, matmul, mul, narrow } from "../tensor/kernels.js";
import type { Tensor } from "../tensor/tf.js";
import { logitGradient, logitStats, rmsNormRows, rmsNormRowsBackward } from "./fused-kernels.js";
import type { ChunkResult, HeadChunk, HeadOptions } from "./head.js";

/** See `headChunk` in head.ts. */
export function fusedHeadChunk(chunk: HeadChunk, options: HeadOptions): ChunkResult {
  const { targets, head, loss, inverseTemperature } = chunk;
  const scaled = (x: Tensor) => (inverseTemperature === null ? x : narrow(mul(x, inverseTemperature)));
  const { n, r } = rmsNormRows(chunk.hidden, chunk.norm, options.epsilon);
  const rows = scaled(n); // [m, d]
  const logits = matmul(rows, head, false, true); // [m, V]
  const { logprobs, entropies, logZ } = logitStats(logits, targets);
  const wanted = options.entropies ? entropies : null;
  if (options.gradient === null || loss === null) return { logprobs, entropies: wanted, learned: null };
  const { dLogprobs, dEntropies } = options.gradient(loss.scalars, loss.perToken, logprobs);
  const dLogits = logitGradient(logits, targets, { logZ, entropies }, dLogprobs, dEntropies); // [m, V]
  const dHead = options.headTrained ? gradientProduct(dLogits, rows) : null; // [V, d]
  const dRows = scaled(matmul(dLogits, head)); // [m, d]
  const { dx, dw } = rmsNormRowsBackward(chunk.hidden, r, chunk.norm, null, [dRows]);
  return { logprobs, entropies: wanted, learned: { dHidden: dx, dHead, dNorm: dw } };
}
