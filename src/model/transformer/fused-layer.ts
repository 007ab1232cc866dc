/**
 * A decoder layer on weir's own fused operations, forward and backward: the formulas of layer.ts with every chain of
 * element-wise steps in one pass over memory, and attention that never materialises a score matrix. Traced only.
 */

import { add, addProduct, concat, matmul, narrow, reshape, slice, widen } from "../tensor/kernels.js";
import { type Tensor, tf } from "../tensor/tf.js";
import { gated, gatedBackward } from "./activation.js";
import type { AttentionShape } from "./attention.js";
import type { DecodedRows } from "./decoded-rows.js";
import {
  addRmsNorm,
  columnSums,
  fusedAttention,
  fusedAttentionBackward,
  keyRotation,
  type PrefixKeys,
  qkvToHeads,
  qkvToTokens,
  queryRotation,
  rmsNormRows,
  rmsNormRowsBackward,
  swiGlu,
  swiGluBackward,
  toHeads,
  toTokens,
} from "./fused-kernels.js";
import type { GradientSink } from "./gradients.js";
import { attentionShape, FIRST_NORM, type LayerContext, nameOf, SECOND_NORM } from "./layer.js";
import { normScale } from "./norm.js";
import type { KeyValue, Segment } from "./segment.js";

/** What the backward pass reads. */
export interface FusedSaved {
  readonly x: Tensor; // [N, d]
  readonly n1: Tensor; // [N, d]
  readonly r1: Tensor; // [N, 1]
  /** Before the head norms; null without them. */
  readonly heads: {
    readonly q: Tensor | null; // [N, heads·dh]
    readonly qr: Tensor | null; // [N·heads, 1]
    readonly k: Tensor; // [N, kv·dh]
    readonly kr: Tensor; // [N·kv, 1]
  } | null;
  readonly k: Tensor; // [P·kv·G, T, dh]
  readonly v: Tensor; // [P·kv·G, T, dh]
  readonly rest: {
    readonly q: Tensor; // [P·kv·G·headsPerKv, T, dh]
    readonly o: Tensor; // like q
    readonly lse: Tensor; // [P·kv·G·headsPerKv, T]
    readonly mid: Tensor; // [N, d]
    readonly n2: Tensor; // [N, d]
    readonly r2: Tensor; // [N, 1]
    readonly gate: Tensor; // [N, ff]
    readonly up: Tensor; // [N, ff]
  } | null;
}

const weightOf = (context: LayerContext, part: string) => context.parameters.get(nameOf(context, `${part}.weight`));
const normOf = (context: LayerContext, part: string) => normScale(weightOf(context, part), context.config);
const biasOf = (context: LayerContext, part: string) => context.parameters.find(nameOf(context, `${part}.bias`));

/** x·Wᵀ without its bias. */
const product = (context: LayerContext, part: string, x: Tensor): Tensor =>
  matmul(x, weightOf(context, part), false, true);

/** x·Wᵀ + b; elsewhere a later operation adds the bias. */
function biased(context: LayerContext, part: string, x: Tensor): Tensor {
  const y = product(context, part, x);
  const bias = biasOf(context, part);
  return bias === null ? y : narrow(add(y, bias));
}

/** plus + x·Wᵀ + b in float32. */
function added(context: LayerContext, part: string, plus: Tensor, x: Tensor): Tensor {
  const y = addProduct(plus, x, weightOf(context, part));
  const bias = biasOf(context, part);
  return bias === null ? y : add(y, bias);
}

/** Adds dW = dyᵀ·x and db = Σ dy; returns dy·W. */
function productBackward(context: LayerContext, part: string, dy: Tensor, x: Tensor, gradients: GradientSink): Tensor {
  parameterGradients(context, part, dy, x, gradients);
  return matmul(dy, weightOf(context, part));
}

function parameterGradients(context: LayerContext, part: string, dy: Tensor, x: Tensor, gradients: GradientSink): void {
  gradients.products([{ name: nameOf(context, `${part}.weight`), size: dy.shape[1] as number }], dy, x);
  const bias = nameOf(context, `${part}.bias`);
  if (biasOf(context, part) !== null && gradients.wants(bias)) gradients.add(bias, columnSums(dy));
}

/** The RoPE rotation of queries or keys, and their heads per KV head. */
function rotationAndHeads(kind: "q" | "k", { rope }: Segment, { headsPerKv }: AttentionShape) {
  return kind === "q" ? ([queryRotation(rope), headsPerKv] as const) : ([keyRotation(rope), 1] as const);
}

/** Queries or keys [N, heads·dh] to heads: head norm and rotation. */
function normedHeads(context: LayerContext, kind: "q" | "k", x: Tensor, segment: Segment, shape: AttentionShape) {
  const { headDim, rmsNormEps } = context.config;
  const rows = widen(reshape(x, [-1, headDim]));
  const { n, r } = rmsNormRows(rows, normOf(context, `self_attn.${kind}_norm`), rmsNormEps);
  const [rotation, headsPerKv] = rotationAndHeads(kind, segment, shape);
  return { y: toHeads(reshape(n, x.shape), null, rotation, shape, headsPerKv), r };
}

/** Queries or keys by head: projection, bias, head norm and rotation. */
function project(context: LayerContext, kind: "q" | "k", n1: Tensor, segment: Segment, shape: AttentionShape) {
  const part = `self_attn.${kind}_proj`;
  const raw = product(context, part, n1);
  if (!context.config.qkNorm) {
    const [rotation, headsPerKv] = rotationAndHeads(kind, segment, shape);
    return { y: toHeads(raw, biasOf(context, part), rotation, shape, headsPerKv), raw: null, r: null };
  }
  const bias = biasOf(context, part);
  const full = bias === null ? raw : narrow(add(raw, bias));
  return { ...normedHeads(context, kind, full, segment, shape), raw: full };
}

function projectBackward(
  context: LayerContext,
  kind: "q" | "k",
  dHeads: Tensor,
  saved: FusedSaved,
  segment: Segment,
  shape: AttentionShape,
  gradients: GradientSink,
): Tensor {
  const [rotation, headsPerKv] = rotationAndHeads(kind, segment, shape);
  let dRaw = toTokens(dHeads, rotation, shape, headsPerKv);
  const raw = kind === "q" ? saved.heads?.q : saved.heads?.k;
  const r = kind === "q" ? saved.heads?.qr : saved.heads?.kr;
  if (raw && r) {
    const norm = `self_attn.${kind}_norm`;
    const rows = (x: Tensor) => reshape(x, [-1, context.config.headDim]);
    const { dx, dw } = rmsNormRowsBackward(widen(rows(raw)), r, normOf(context, norm), null, [rows(dRaw)]);
    gradients.add(nameOf(context, `${norm}.weight`), dw);
    dRaw = narrow(reshape(dx, dRaw.shape));
  }
  return productBackward(context, `self_attn.${kind}_proj`, dRaw, saved.n1, gradients);
}

/** a(gate)·up: one operation for SiLU, TensorFlow's own for others. */
function activatedProduct({ config }: LayerContext, gate: Tensor, up: Tensor): Tensor {
  return config.activation === "silu" ? swiGlu(gate, up) : gated(config.activation, gate, up);
}

/** Its gradients, and its value again. */
function activatedProductBackward({ config }: LayerContext, dAct: Tensor, gate: Tensor, up: Tensor) {
  return config.activation === "silu"
    ? swiGluBackward(dAct, gate, up)
    : gatedBackward(config.activation, dAct, gate, up);
}

function headsOf(q: { raw: Tensor | null; r: Tensor | null } | null, k: { raw: Tensor | null; r: Tensor | null }) {
  if (k.raw === null || k.r === null) return null;
  return { q: q?.raw ?? null, qr: q?.r ?? null, k: k.raw, kr: k.r };
}

/** A weight of `joinedWeights`; null where the layer has none. */
function joined(context: LayerContext, part: (typeof JOINED)[number]): Tensor | null {
  return context.parameters.find(nameOf(context, part));
}

/** Names of joined weights: [heads + 2·kv, d] and its bias. */
export const JOINED = ["joined.qkv", "joined.qkv_bias"] as const;

/** Projections that the joined one replaces. */
export const QKV = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"] as const;

/** The joined weights of a layer, from its own by part; traced. */
export function joinedWeights(parts: Readonly<Record<string, Tensor>>): Record<string, Tensor> {
  const all = concat(
    QKV.map((part) => parts[`${part}.weight`] as Tensor),
    0,
  );
  const biases = QKV.map((part) => parts[`${part}.bias`]);
  const result: Record<string, Tensor> = { "joined.qkv": narrow(all) };
  if (biases.some((bias) => bias !== undefined)) {
    const zeros = (part: string) => tf.zeros([(parts[`${part}.weight`] as Tensor).shape[0] as number]);
    result["joined.qkv_bias"] = concat(
      biases.map((bias, index) => bias ?? zeros(QKV[index] as string)),
      0,
    );
  }
  return result;
}

/** Adds the gradients of the three projections that are joined; returns dqkv·W. */
function joinedBackward(
  context: LayerContext,
  dqkv: Tensor,
  n1: Tensor,
  weight: Tensor,
  gradients: GradientSink,
): Tensor {
  const { heads, kvHeads, headDim } = context.config;
  const sizes = [heads * headDim, kvHeads * headDim, kvHeads * headDim];
  const parts = QKV.map((part, index) => ({ name: nameOf(context, `${part}.weight`), size: sizes[index] as number }));
  gradients.products(parts, dqkv, n1);
  const trained = QKV.map((part) => biasOf(context, part) !== null && gradients.wants(nameOf(context, `${part}.bias`)));
  const biases = trained.includes(true) ? columnSums(dqkv) : null;
  let at = 0;
  QKV.forEach((part, index) => {
    const size = sizes[index] as number;
    if (biases !== null && trained[index]) gradients.add(nameOf(context, `${part}.bias`), slice(biases, [at], [size]));
    at += size;
  });
  return matmul(dqkv, weight);
}

/** Keys and values only. */
export function fusedKeys(context: LayerContext, x: Tensor, segment: Segment): { kv: KeyValue; saved: FusedSaved } {
  const shape = attentionShape(context.config, segment);
  const { n: n1, r: r1 } = rmsNormRows(x, normOf(context, FIRST_NORM), context.config.rmsNormEps);
  const key = project(context, "k", n1, segment, shape);
  const value = "self_attn.v_proj";
  const v = toHeads(product(context, value, n1), biasOf(context, value), null, shape, 1);
  return { kv: { k: key.y, v }, saved: { x, n1, r1, heads: headsOf(null, key), k: key.y, v, rest: null } };
}

/** Queries, keys and values, by the joined projection where there is one, else by three. */
function queriesAndKeys(context: LayerContext, x: Tensor, segment: Segment, shape: AttentionShape) {
  const weight = joined(context, "joined.qkv");
  if (weight === null) {
    const { kv, saved } = fusedKeys(context, x, segment);
    return { kv, saved, query: project(context, "q", saved.n1, segment, shape) };
  }
  const { n: n1, r: r1 } = rmsNormRows(x, normOf(context, FIRST_NORM), context.config.rmsNormEps);
  const { q, k, v } = qkvToHeads(
    matmul(n1, weight, false, true),
    joined(context, "joined.qkv_bias"),
    segment.rope,
    shape,
  );
  const saved: FusedSaved = { x, n1, r1, heads: null, k, v, rest: null };
  return { kv: { k, v }, saved, query: { y: q, raw: null, r: null } };
}

/** The whole layer. */
export function fusedForward(
  context: LayerContext,
  x: Tensor, // [N, d]
  segment: Segment,
  prefix: PrefixKeys,
): { readonly out: Tensor; readonly kv: KeyValue; readonly saved: FusedSaved } {
  const { config } = context;
  const shape = attentionShape(config, segment);
  const { kv, saved, query } = queriesAndKeys(context, x, segment, shape);
  const { o, lse } = fusedAttention(query.y, kv.k, kv.v, prefix, shape);
  const tokens = toTokens(o, null, shape, shape.headsPerKv);
  const attended = product(context, "self_attn.o_proj", tokens);
  const second = normOf(context, SECOND_NORM);
  const bias = biasOf(context, "self_attn.o_proj");
  const { sum: mid, n: n2, r: r2 } = addRmsNorm(x, attended, bias, second, config.rmsNormEps);
  const gate = biased(context, "mlp.gate_proj", n2);
  const up = biased(context, "mlp.up_proj", n2);
  const out = added(context, "mlp.down_proj", mid, activatedProduct(context, gate, up));
  const heads = saved.heads && { ...saved.heads, q: query.raw, qr: query.r };
  return { out, kv, saved: { ...saved, heads, rest: { q: query.y, o, lse, mid, n2, r2, gate, up } } };
}

/** What `fusedForward` saves, from the activation cache. */
export function savedOfDecoded(context: LayerContext, rows: DecodedRows, segment: Segment): FusedSaved {
  const { config } = context;
  const { x, mid } = rows;
  const shape = attentionShape(config, segment);
  const { n: n1, r: r1 } = rmsNormRows(x, normOf(context, FIRST_NORM), config.rmsNormEps);
  const { n: n2, r: r2 } = rmsNormRows(mid, normOf(context, SECOND_NORM), config.rmsNormEps);
  const { q, k, v, heads } = decodedHeads(context, rows.qkv, segment, shape);
  const rest = {
    q,
    o: narrow(toHeads(rows.o, null, null, shape, shape.headsPerKv)),
    lse: reshape(toHeads(rows.lse, null, null, shape, shape.headsPerKv), [q.shape[0] as number, shape.length]),
    mid,
    n2,
    r2,
    gate: narrow(rows.gate),
    up: narrow(rows.up),
  };
  return { x, n1, r1, heads, k, v, rest };
}

/** Queries, keys and values by head, and queries and keys before the head norms. */
function decodedHeads(context: LayerContext, qkv: Tensor, segment: Segment, shape: AttentionShape) {
  const { qkNorm, heads, kvHeads, headDim } = context.config;
  const { rope } = segment;
  if (!qkNorm) {
    // Decoding's queries are scaled already, so they take the keys' tables.
    const { q, k, v } = qkvToHeads(qkv, null, { ...rope, cosQ: rope.cosK, sinQ: rope.sinK }, shape);
    return { q: narrow(q), k: narrow(k), v: narrow(v), heads: null };
  }
  const part = (from: number, count: number) =>
    slice(qkv, [0, from * headDim], [qkv.shape[0] as number, count * headDim]);
  const normed = (kind: "q" | "k", raw: Tensor) => ({
    ...normedHeads(context, kind, raw, segment, shape),
    raw: narrow(raw),
  });
  const q = normed("q", part(0, heads));
  const k = normed("k", part(heads, kvHeads));
  const v = narrow(toHeads(part(heads + kvHeads, kvHeads), null, null, shape, 1));
  return { q: q.y, k: k.y, v, heads: headsOf(q, k) };
}

/** Gradients of a layer; see `layerBackward` in layer.ts. */
export function fusedBackward(
  context: LayerContext,
  saved: FusedSaved,
  segment: Segment,
  prefix: PrefixKeys,
  dOut: Tensor | null, // [N, d]
  dKv: KeyValue | null,
  gradients: GradientSink,
): { readonly dx: Tensor; readonly dPrefix: KeyValue | null } {
  const shape = attentionShape(context.config, segment);
  const { rest } = saved;
  const dns: Tensor[] = [];
  let dMid: Tensor | null = null;
  let dk = dKv?.k ?? null;
  let dv = dKv?.v ?? null;
  let dPrefix: KeyValue | null = null;
  if (dOut !== null && rest !== null) {
    const dDown = narrow(dOut);
    // One operation gives the activation and its gradients, so dW of the down projection comes after it.
    const dAct = matmul(dDown, weightOf(context, "mlp.down_proj"));
    const { dGate, dUp, act } = activatedProductBackward(context, dAct, rest.gate, rest.up);
    parameterGradients(context, "mlp.down_proj", dDown, act, gradients);
    const dn2 = [
      productBackward(context, "mlp.gate_proj", dGate, rest.n2, gradients),
      productBackward(context, "mlp.up_proj", dUp, rest.n2, gradients),
    ];
    const mid = rmsNormRowsBackward(rest.mid, rest.r2, normOf(context, SECOND_NORM), dOut, dn2);
    gradients.add(nameOf(context, `${SECOND_NORM}.weight`), mid.dw);
    dMid = mid.dx;
    const flat = toTokens(rest.o, null, shape, shape.headsPerKv);
    const dFlat = productBackward(context, "self_attn.o_proj", narrow(dMid), flat, gradients);
    const dO = toHeads(dFlat, null, null, shape, shape.headsPerKv);
    const own = { q: rest.q, k: saved.k, v: saved.v, o: rest.o, lse: rest.lse };
    const back = fusedAttentionBackward(own, dO, prefix, shape);
    dk = dk === null ? back.dk : add(dk, back.dk);
    dv = dv === null ? back.dv : add(dv, back.dv);
    dPrefix = back.dPrefix;
    const weight = joined(context, "joined.qkv");
    if (weight !== null) {
      const dqkv = qkvToTokens(back.dq, dk, dv, segment.rope, shape);
      const dn1 = joinedBackward(context, dqkv, saved.n1, weight, gradients);
      return { dx: firstNormBackward(context, saved, dMid, [dn1], gradients), dPrefix };
    }
    dns.push(projectBackward(context, "q", back.dq, saved, segment, shape, gradients));
  }
  dns.push(projectBackward(context, "k", dk as Tensor, saved, segment, shape, gradients));
  const dvTokens = toTokens(dv as Tensor, null, shape, 1);
  dns.push(productBackward(context, "self_attn.v_proj", dvTokens, saved.n1, gradients));
  return { dx: firstNormBackward(context, saved, dMid, dns, gradients), dPrefix };
}

function firstNormBackward(
  context: LayerContext,
  saved: FusedSaved,
  dMid: Tensor | null,
  dns: readonly Tensor[],
  gradients: GradientSink,
): Tensor {
  const { dx, dw } = rmsNormRowsBackward(saved.x, saved.r1, normOf(context, FIRST_NORM), dMid, dns);
  gradients.add(nameOf(context, `${FIRST_NORM}.weight`), dw);
  return dx;
}
