/** weir's own operations as the layers use them; see native/operations.json. */

import { openTrace } from "../tensor/graph/tracer.js";
import { widen } from "../tensor/kernels.js";
import {
  weirAdamW,
  weirAddRmsNorm,
  weirAttention,
  weirAttentionGrad,
  weirColumnSums,
  weirDecodeAttention,
  weirDigest,
  weirLoadActivations,
  weirLogitGrad,
  weirLogitStats,
  weirPackedProduct,
  weirPackMatrix,
  weirQkvHeads,
  weirQkvHeadsGrad,
  weirRmsNorm,
  weirRmsNormGrad,
  weirRopeHeads,
  weirRopeHeadsGrad,
  weirSelectToken,
  weirSquaredSums,
  weirStoreActivations,
  weirSwiGlu,
  weirSwiGluGrad,
} from "../tensor/own/operations.generated.js";
import { type Tensor, tf } from "../tensor/tf.js";
import type { AttentionShape } from "./attention.js";
import type { RopeSlice } from "./rope.js";

/** Element type of the products of this trace. */
const products = () => openTrace().products;

export interface NormedRows {
  readonly n: Tensor; // [N, d], narrow
  readonly r: Tensor; // [N, 1]
}

export function rmsNormRows(x: Tensor, weight: Tensor, epsilon: number): NormedRows {
  return weirRmsNorm({ x, w: weight }, { epsilon, T: products() });
}

/** sum = x + y + bias and its norm. */
export function addRmsNorm(x: Tensor, y: Tensor, bias: Tensor | null, weight: Tensor, epsilon: number) {
  return weirAddRmsNorm({ x, y, bias, w: weight }, { epsilon });
}

/** dx = residual + gradient of the norm for Σ dns. */
export function rmsNormRowsBackward(
  x: Tensor,
  r: Tensor,
  weight: Tensor,
  residual: Tensor | null,
  dns: readonly Tensor[],
): { readonly dx: Tensor; readonly dw: Tensor } {
  return weirRmsNormGrad({ x, r, w: weight, residual, dns });
}

export function swiGlu(gate: Tensor, up: Tensor): Tensor {
  return weirSwiGlu({ gate, up }).act;
}

export function swiGluBackward(dAct: Tensor, gate: Tensor, up: Tensor) {
  return weirSwiGluGrad({ dAct, gate, up });
}

function headAttributes({ prompts, group, kvHeads, length }: AttentionShape, headsPerKv: number) {
  return { prompts, group, kv: kvHeads, headsPerKv, length };
}

/** Attributes of the operations between tokens and heads. */
function tokenAttributes(shape: AttentionShape, headsPerKv: number) {
  return { ...headAttributes(shape, headsPerKv), tokens: shape.tokens };
}

/** The RoPE tables that a projection is rotated by; null: none. */
type Rotation = { readonly cos: Tensor; readonly sin: Tensor } | null;

export const queryRotation = (rope: RopeSlice): Rotation => ({ cos: rope.cosQ, sin: rope.sinQ });
export const keyRotation = (rope: RopeSlice): Rotation => ({ cos: rope.cosK, sin: rope.sinK });

/** [N, heads·dh] by token → [P·kv·G·headsPerKv, T, dh] by head, with bias and rotation; zeros where a row has no token. */
export function toHeads(
  x: Tensor,
  bias: Tensor | null,
  rotation: Rotation,
  shape: AttentionShape,
  headsPerKv: number,
): Tensor {
  const { cos, sin } = rotation ?? { cos: null, sin: null };
  return weirRopeHeads({ x, bias, cos, sin, offsets: shape.offsets }, tokenAttributes(shape, headsPerKv)).y;
}

/** The transpose of `toHeads` without bias. */
export function toTokens(x: Tensor, rotation: Rotation, shape: AttentionShape, headsPerKv: number): Tensor {
  const { cos, sin } = rotation ?? { cos: null, sin: null };
  const attributes = { ...tokenAttributes(shape, headsPerKv), T: products() };
  return weirRopeHeadsGrad({ dy: x, cos, sin, offsets: shape.offsets }, attributes).dx;
}

const tablesOf = ({ cosQ, sinQ, cosK, sinK }: RopeSlice) => ({ cosQ, sinQ, cosK, sinK });

/** One joined projection [N, (heads + 2·kv)·dh] → queries, keys and values by head, with bias and rotation. */
export function qkvToHeads(qkv: Tensor, bias: Tensor | null, rope: RopeSlice, shape: AttentionShape) {
  return weirQkvHeads(
    { qkv, bias, ...tablesOf(rope), offsets: shape.offsets },
    tokenAttributes(shape, shape.headsPerKv),
  );
}

/** The transpose of `qkvToHeads` without bias. */
export function qkvToTokens(dq: Tensor, dk: Tensor, dv: Tensor, rope: RopeSlice, shape: AttentionShape): Tensor {
  const inputs = { dq, dk: widen(dk), dv: widen(dv), ...tablesOf(rope), offsets: shape.offsets };
  return weirQkvHeadsGrad(inputs, tokenAttributes(shape, shape.headsPerKv)).dqkv;
}

/** Σ over rows: [N, c] → [c]. */
export function columnSums(x: Tensor): Tensor {
  return weirColumnSums({ x }).sums;
}

/** Keys, values and true lengths of a shared prefix, or null. */
export type PrefixKeys = { readonly k: Tensor; readonly v: Tensor; readonly lengths: Tensor } | null;

function prefixInputs(prefix: PrefixKeys) {
  return { kp: prefix?.k ?? null, vp: prefix?.v ?? null, lengths: prefix?.lengths ?? tf.zeros([1], "int32") };
}

/** Attention over a prefix and the rows themselves; `lse` [P·kv·G·headsPerKv, T] is the logarithm of each row's sum. */
export function fusedAttention(q: Tensor, k: Tensor, v: Tensor, prefix: PrefixKeys, shape: AttentionShape) {
  return weirAttention({ q, k, v, ...prefixInputs(prefix) }, headAttributes(shape, shape.headsPerKv));
}

export function fusedAttentionBackward(
  saved: { readonly q: Tensor; readonly k: Tensor; readonly v: Tensor; readonly o: Tensor; readonly lse: Tensor },
  dO: Tensor,
  prefix: PrefixKeys,
  shape: AttentionShape,
) {
  const inputs = { ...saved, ...prefixInputs(prefix), dO };
  const { dq, dk, dv, dkp, dvp } = weirAttentionGrad(inputs, headAttributes(shape, shape.headsPerKv));
  return { dq, dk, dv, dPrefix: prefix === null ? null : { k: dkp, v: dvp } };
}

/** Log-prob of each row's target, entropy and log Z. */
export function logitStats(logits: Tensor, targets: Tensor) {
  const { logprob, entropy, logz } = weirLogitStats({ logits, targets });
  return { logprobs: logprob, entropies: entropy, logZ: logz };
}

export function logitGradient(
  logits: Tensor,
  targets: Tensor,
  stats: { readonly logZ: Tensor; readonly entropies: Tensor },
  dLogprobs: Tensor,
  dEntropies: Tensor | null,
): Tensor {
  const { logZ: logz, entropies: entropy } = stats;
  return weirLogitGrad({ logits, targets, logz, entropy, dlogprob: dLogprobs, dentropy: dEntropies }).dlogits;
}

/** A matrix [out, in] in the form that `packedProduct` takes. */
export function packMatrix(w: Tensor): Tensor {
  return weirPackMatrix({ w }, { T: products() }).packed;
}

/** x·wᵀ + bias for few rows: x [M, in] → float32 [M, out]. */
export function packedProduct(x: Tensor, packed: Tensor, bias: Tensor | null, out: number): Tensor {
  return weirPackedProduct({ x, packed, bias, gate: null }, { out, keepPlain: 0 }).y;
}

/** up = x·wᵀ + bias as `packedProduct` gives it, null unless `wantUp`, and act = up·silu(gate), gate [M, out]. */
export function packedGatedProduct(
  x: Tensor,
  packed: Tensor,
  bias: Tensor | null,
  gate: Tensor,
  wantUp: boolean,
): { readonly act: Tensor; readonly up: Tensor | null } {
  const attributes = { out: gate.shape[1] as number, keepPlain: wantUp ? 1 : 0 };
  const { y, plain } = weirPackedProduct({ x, packed, bias, gate }, attributes);
  return { act: y, up: wantUp ? plain : null };
}

/**
 * Writes parts [R, width], concatenated, at a decode step of a block [steps, R, W] of the activation cache. Later steps of the
 * block are uninitialised; the first step takes any empty tensor for a block.
 */
export function storeActivations(block: Tensor, steps: number, step: Tensor, parts: readonly Tensor[]): Tensor {
  return weirStoreActivations({ block, step, parts }, { steps }).next;
}

/** Columns [from, from + width) of rows of the activation cache. */
export function loadActivations(index: Tensor, blocks: readonly Tensor[], from: number, width: number): Tensor {
  return weirLoadActivations({ index, blocks }, { from, width }).rows;
}

/** The norm in float32, whatever type the products take. */
export function rmsNormFloat(x: Tensor, weight: Tensor, epsilon: number): Tensor {
  return weirRmsNorm({ x, w: weight }, { epsilon, T: "float32" }).n;
}

/** What the attention of one decode step reads besides queries, keys and values of the new tokens. */
export interface DecodeAttentionInputs {
  readonly cos: Tensor; // [P, dh]
  readonly sin: Tensor; // [P, dh]
  readonly lengths: Tensor; // [P] int32
  readonly prefix: { readonly k: Tensor; readonly v: Tensor } | null; // [P·kv, Tp, dh]
  readonly own: { readonly k: Tensor; readonly v: Tensor }; // [P·kv·G, Tc, dh]
  readonly first: Tensor; // [P] int32
  readonly used: Tensor; // [] int32
  readonly block: { readonly k: Tensor; readonly v: Tensor }; // [P·kv·G, BLOCK, dh]
  readonly step: Tensor; // [] int32
}

/**
 * Rotates, appends and attends: qkv [R, (heads + 2·kv)·dh] → o [R, heads·dh], the block with the new column and `lse` [R, heads],
 * the logarithm of each sum.
 */
export function decodeAttention(
  qkv: Tensor,
  inputs: DecodeAttentionInputs,
  heads: { readonly prompts: number; readonly group: number; readonly kvHeads: number; readonly headsPerKv: number },
) {
  const { cos, sin, lengths, prefix, own, first, used, block, step } = inputs;
  const { o, nextK, nextV, lse } = weirDecodeAttention(
    {
      qkv,
      cos,
      sin,
      lengths,
      prefixK: prefix?.k ?? null,
      prefixV: prefix?.v ?? null,
      ownK: own.k,
      ownV: own.v,
      first,
      used,
      blockK: block.k,
      blockV: block.v,
      step,
    },
    { prompts: heads.prompts, group: heads.group, kv: heads.kvHeads, headsPerKv: heads.headsPerKv },
  );
  return { o, lse, block: { k: nextK, v: nextV } };
}

/** Draws a token per row; see select_token.h. */
export function selectToken(
  logits: Tensor, // [R, V]
  uniforms: Tensor, // [R]
  topP: Tensor, // []
  options: { readonly greedy: boolean; readonly topK: number; readonly nucleus: boolean },
) {
  return weirSelectToken(
    { logits, uniforms, topP },
    { greedy: options.greedy ? 1 : 0, topK: options.topK, nucleus: options.nucleus ? 1 : 0 },
  );
}

/** Σx² of each tensor: [K]. */
export function squaredSums(xs: readonly Tensor[]): Tensor {
  return weirSquaredSums({ xs }).sums;
}

/** SHA-256 digest of each tensor's bytes: [K, 8] int32. */
export function digestsOf(xs: readonly Tensor[]): Tensor {
  return weirDigest({ xs }).digests;
}

/** One AdamW step of several tensors; `numbers` [8] in the order of optimiser.cc, `decays` [K] int32. */
export function adamWStep(
  weights: readonly Tensor[],
  ms: readonly Tensor[],
  vs: readonly Tensor[],
  gradients: readonly Tensor[],
  numbers: Tensor,
  decays: Tensor,
) {
  const { nw, nm, nv } = weirAdamW({ ws: weights, ms, vs, gs: gradients, scalars: numbers, decays });
  return { weights: nw, ms: nm, vs: nv };
}
