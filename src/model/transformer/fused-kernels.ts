/** weir's own fused operations as functions on traced tensors; see engine/graph/fused-operations.ts. */

import { openTrace } from "../tensor/graph/tracer.js";
import { type Attributes, floatOf, intOf, typeOf } from "../tensor/graph/values.js";
import { widen } from "../tensor/kernels.js";
import { type Tensor, tf } from "../tensor/tf.js";
import type { AttentionShape } from "./attention.js";
import type { RopeSlice } from "./rope.js";

function emit(name: string, inputs: readonly Tensor[], attributes: Attributes): Tensor[] {
  const trace = openTrace();
  return trace
    .addRaw(
      name,
      inputs.map((input) => trace.valueOf(input)),
      attributes,
    )
    .map((value) => trace.tensor(value));
}

/** Element type of the products of this trace. */
const products = () => typeOf(openTrace().products);

/** Stands for an input that is not there. */
const none = (): Tensor => openTrace().constant([], [0], "float32");
const noOffsets = (): Tensor => tf.zeros([0], "int32");
const noneNarrow = (): Tensor => openTrace().cast(none(), openTrace().products);

export interface NormedRows {
  readonly n: Tensor; // [N, d], narrow
  readonly r: Tensor; // [N, 1]
}

export function rmsNormRows(x: Tensor, weight: Tensor, epsilon: number): NormedRows {
  const [n, r] = emit("WeirRmsNorm", [x, weight], { epsilon: floatOf(epsilon), T: products() }) as [Tensor, Tensor];
  return { n, r };
}

/** sum = x + y + bias and its norm. */
export function addRmsNorm(x: Tensor, y: Tensor, bias: Tensor | null, weight: Tensor, epsilon: number) {
  const inputs = [x, y, bias ?? none(), weight];
  const [sum, n, r] = emit("WeirAddRmsNorm", inputs, { epsilon: floatOf(epsilon) }) as [Tensor, Tensor, Tensor];
  return { sum, n, r };
}

/** dx = residual + gradient of the norm for Σ dns. */
export function rmsNormRowsBackward(
  x: Tensor,
  r: Tensor,
  weight: Tensor,
  residual: Tensor | null,
  dns: readonly Tensor[],
): { readonly dx: Tensor; readonly dw: Tensor } {
  const inputs = [x, r, weight, residual ?? none(), ...dns];
  const [dx, dw] = emit("WeirRmsNormGrad", inputs, { K: intOf(dns.length) }) as [Tensor, Tensor];
  return { dx, dw };
}

export function swiGlu(gate: Tensor, up: Tensor): Tensor {
  return emit("WeirSwiGlu", [gate, up], {})[0] as Tensor;
}

export function swiGluBackward(dAct: Tensor, gate: Tensor, up: Tensor) {
  const [dGate, dUp, act] = emit("WeirSwiGluGrad", [dAct, gate, up], {}) as [Tensor, Tensor, Tensor];
  return { dGate, dUp, act };
}

function headAttributes({ prompts, group, kvHeads, length }: AttentionShape, share: number): Attributes {
  return {
    prompts: intOf(prompts),
    group: intOf(group),
    kv: intOf(kvHeads),
    share: intOf(share),
    length: intOf(length),
  };
}

/** Attributes and the last input of what goes between tokens and heads. */
function tokenAttributes(shape: AttentionShape, share: number): Attributes {
  return { ...headAttributes(shape, share), tokens: intOf(shape.tokens) };
}
const offsetsOf = (shape: AttentionShape): Tensor => shape.offsets ?? noOffsets();

/** Which of the rotary tables a projection is turned by. */
type Turn = { readonly cos: Tensor; readonly sin: Tensor } | null;

export const queryTurn = (rope: RopeSlice): Turn => ({ cos: rope.cosQ, sin: rope.sinQ });
export const keyTurn = (rope: RopeSlice): Turn => ({ cos: rope.cosK, sin: rope.sinK });

/** [N, heads·dh] by token → [P·kv·G·share, T, dh] by head, with bias and rotation; zeros where a row has no token. */
export function toHeads(x: Tensor, bias: Tensor | null, turn: Turn, shape: AttentionShape, share: number): Tensor {
  const inputs = [x, bias ?? none(), turn?.cos ?? none(), turn?.sin ?? none(), offsetsOf(shape)];
  return emit("WeirRopeHeads", inputs, tokenAttributes(shape, share))[0] as Tensor;
}

/** The transpose of `toHeads` without bias. */
export function toTokens(x: Tensor, turn: Turn, shape: AttentionShape, share: number): Tensor {
  const inputs = [x, turn?.cos ?? none(), turn?.sin ?? none(), offsetsOf(shape)];
  return emit("WeirRopeHeadsGrad", inputs, { ...tokenAttributes(shape, share), T: products() })[0] as Tensor;
}

const tablesOf = (rope: RopeSlice) => [rope.cosQ, rope.sinQ, rope.cosK, rope.sinK];

/** One joined projection [N, (heads + 2·kv)·dh] → queries, keys and values by head, with bias and rotation. */
export function qkvToHeads(qkv: Tensor, bias: Tensor | null, rope: RopeSlice, shape: AttentionShape) {
  const inputs = [qkv, bias ?? none(), ...tablesOf(rope), offsetsOf(shape)];
  const [q, k, v] = emit("WeirQkvHeads", inputs, tokenAttributes(shape, shape.share)) as [Tensor, Tensor, Tensor];
  return { q, k, v };
}

/** The transpose of `qkvToHeads` without bias. */
export function qkvToTokens(dq: Tensor, dk: Tensor, dv: Tensor, rope: RopeSlice, shape: AttentionShape): Tensor {
  const inputs = [dq, widen(dk), widen(dv), ...tablesOf(rope), offsetsOf(shape)];
  return emit("WeirQkvHeadsGrad", inputs, tokenAttributes(shape, shape.share))[0] as Tensor;
}

/** Σ over rows: [N, c] → [c]. */
export function columnSums(x: Tensor): Tensor {
  return emit("WeirColumnSums", [x], {})[0] as Tensor;
}

/** Keys, values and true lengths of a shared prefix, or null. */
export type PrefixKeys = { readonly k: Tensor; readonly v: Tensor; readonly lengths: Tensor } | null;

function prefixInputs(prefix: PrefixKeys): Tensor[] {
  if (prefix !== null) return [prefix.k, prefix.v, prefix.lengths];
  return [noneNarrow(), noneNarrow(), tf.zeros([1], "int32")];
}

/** Attention over a prefix and the rows themselves; `lse` [P·kv·G·share, T] is the logarithm of each row's sum. */
export function fusedAttention(q: Tensor, k: Tensor, v: Tensor, prefix: PrefixKeys, shape: AttentionShape) {
  const inputs = [q, k, v, ...prefixInputs(prefix)];
  const [o, lse] = emit("WeirAttention", inputs, headAttributes(shape, shape.share)) as [Tensor, Tensor];
  return { o, lse };
}

export function fusedAttentionBackward(
  saved: { readonly q: Tensor; readonly k: Tensor; readonly v: Tensor; readonly o: Tensor; readonly lse: Tensor },
  dO: Tensor,
  prefix: PrefixKeys,
  shape: AttentionShape,
) {
  const { q, k, v, o, lse } = saved;
  const [kp, vp, lengths] = prefixInputs(prefix) as [Tensor, Tensor, Tensor];
  const inputs = [q, k, v, kp, vp, lengths, o, lse, dO];
  const [dq, dk, dv, dkp, dvp] = emit("WeirAttentionGrad", inputs, headAttributes(shape, shape.share)) as Tensor[];
  return {
    dq: dq as Tensor,
    dk: dk as Tensor,
    dv: dv as Tensor,
    dPrefix: prefix === null ? null : { k: dkp as Tensor, v: dvp as Tensor },
  };
}

/** Log-prob of each row's target, entropy and log Z. */
export function logitStats(logits: Tensor, targets: Tensor) {
  const [logprobs, entropies, logZ] = emit("WeirLogitStats", [logits, targets], {}) as [Tensor, Tensor, Tensor];
  return { logprobs, entropies, logZ };
}

export function logitGradient(
  logits: Tensor,
  targets: Tensor,
  stats: { readonly logZ: Tensor; readonly entropies: Tensor },
  dLogprobs: Tensor,
  dEntropies: Tensor | null,
): Tensor {
  const inputs = [logits, targets, stats.logZ, stats.entropies, dLogprobs, dEntropies ?? none()];
  return emit("WeirLogitGrad", inputs, {})[0] as Tensor;
}

/** A matrix [out, in] in the form that `packedProduct` takes. */
export function packMatrix(w: Tensor): Tensor {
  return emit("WeirPackMatrix", [w], { T: products() })[0] as Tensor;
}

/** x·wᵀ + bias for few rows: x [M, in] → float32 [M, out]. */
export function packedProduct(x: Tensor, packed: Tensor, bias: Tensor | null, out: number): Tensor {
  const attributes = { out: intOf(out), keep_plain: intOf(0) };
  return emit("WeirPackedProduct", [x, packed, bias ?? none(), none()], attributes)[0] as Tensor;
}

/** up = x·wᵀ + bias as `packedProduct` gives it, null where it is not wanted, and act = up·silu(gate), gate [M, out]. */
export function packedGatedProduct(
  x: Tensor,
  packed: Tensor,
  bias: Tensor | null,
  gate: Tensor,
  wantUp: boolean,
): { readonly act: Tensor; readonly up: Tensor | null } {
  const attributes = { out: intOf(gate.shape[1] as number), keep_plain: intOf(wantUp ? 1 : 0) };
  const [act, up] = emit("WeirPackedProduct", [x, packed, bias ?? none(), gate], attributes) as [Tensor, Tensor];
  return { act, up: wantUp ? up : null };
}

/**
 * A block [rounds, R, W] with parts [R, width], which fill its rows beside each other, in the place of a round. What it has for
 * later rounds may be anything; the first round takes any empty tensor for a block.
 */
export function keepRows(block: Tensor, rounds: number, round: Tensor, parts: readonly Tensor[]): Tensor {
  const attributes = { K: intOf(parts.length), rounds: intOf(rounds) };
  return emit("WeirKeepRows", [block, round, ...parts], attributes)[0] as Tensor;
}

/** Rows of a norm in float32, whatever the products take. */
export function rmsNormFloat(x: Tensor, weight: Tensor, epsilon: number): Tensor {
  return emit("WeirRmsNorm", [x, weight], { epsilon: floatOf(epsilon), T: typeOf("float32") })[0] as Tensor;
}

/** Everything that one decoding step's attention reads besides queries, keys and values of the new tokens. */
export interface DecodeAttentionInputs {
  readonly cos: Tensor; // [P, dh]
  readonly sin: Tensor; // [P, dh]
  readonly lengths: Tensor; // [P] int32
  readonly prefix: { readonly k: Tensor; readonly v: Tensor } | null; // [P·kv, Tp, dh]
  readonly own: { readonly k: Tensor; readonly v: Tensor }; // [P·kv·G, Tc, dh]
  readonly first: Tensor; // [P] int32
  readonly used: Tensor; // [] int32
  readonly block: { readonly k: Tensor; readonly v: Tensor }; // [P·kv·G, BLOCK, dh]
  readonly round: Tensor; // [] int32
}

/**
 * Rotates, appends and attends: qkv [R, (heads + 2·kv)·dh] → o [R, heads·dh], the block with the new column and `lse` [R, heads],
 * the logarithm of each sum.
 */
export function decodeAttention(
  qkv: Tensor,
  inputs: DecodeAttentionInputs,
  heads: { readonly prompts: number; readonly group: number; readonly kvHeads: number; readonly share: number },
) {
  const { prefix, own, block } = inputs;
  const [o, k, v, lse] = emit(
    "WeirDecodeAttention",
    [
      qkv,
      inputs.cos,
      inputs.sin,
      inputs.lengths,
      prefix?.k ?? noneNarrow(),
      prefix?.v ?? noneNarrow(),
      own.k,
      own.v,
      inputs.first,
      inputs.used,
      block.k,
      block.v,
      inputs.round,
    ],
    {
      prompts: intOf(heads.prompts),
      group: intOf(heads.group),
      kv: intOf(heads.kvHeads),
      share: intOf(heads.share),
    },
  ) as [Tensor, Tensor, Tensor, Tensor];
  return { o, lse, block: { k, v } };
}

/** Draws a token per row; see select_token.h. */
export function selectToken(
  logits: Tensor, // [R, V]
  uniforms: Tensor, // [R]
  topP: Tensor, // []
  options: { readonly greedy: boolean; readonly topK: number; readonly nucleus: boolean },
) {
  const [ids, logprobs, entropies] = emit("WeirSelectToken", [logits, uniforms, topP], {
    greedy: intOf(options.greedy ? 1 : 0),
    top_k: intOf(options.topK),
    nucleus: intOf(options.nucleus ? 1 : 0),
  }) as [Tensor, Tensor, Tensor];
  return { ids, logprobs, entropies };
}

/** Σx² of each tensor: [K]. */
export function squaredSums(xs: readonly Tensor[]): Tensor {
  return emit("WeirSquaredSums", xs, { K: intOf(xs.length) })[0] as Tensor;
}

/** SHA-256 digest of each tensor's bytes: [K, 8] int32. */
export function digestsOf(xs: readonly Tensor[]): Tensor {
  return emit("WeirDigest", xs, { K: intOf(xs.length) })[0] as Tensor;
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
  const count = weights.length;
  const all = emit("WeirAdamW", [...weights, ...ms, ...vs, ...gradients, numbers, decays], { K: intOf(count) });
  return { weights: all.slice(0, count), ms: all.slice(count, 2 * count), vs: all.slice(2 * count) };
}
