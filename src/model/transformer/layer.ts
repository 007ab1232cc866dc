/**
 * One decoder layer, forward and backward by hand: x → x + attention(norm(x)) → + mlp(norm(·)).
 * Token rows are flat [N, d] with N = P·G·T, so that every linear map is one two-dimensional matmul.
 * The backward pass is written by hand, without a tape: activations are freed as soon as they have been used, and no constant
 * is made in JavaScript.
 */

import type { ModelConfig } from "../io/config.js";
import { add, matmul, mul, narrow, reshape, sumRows, transpose } from "../tensor/kernels.js";
import { scope, type Tensor } from "../tensor/tf.js";
import { ACTIVATIONS, type Activated } from "./activation.js";
import { type AttentionSaved, type AttentionShape, attend, attendBackward, type PrefixLayer } from "./attention.js";
import type { GradientSink } from "./gradients.js";
import { normScale, rmsNorm, rmsNormBackward } from "./norm.js";
import type { ParameterStore } from "./parameters.js";
import { rotate, rotateBackward } from "./rope.js";
import type { KeyValue, Segment } from "./segment.js";

export interface LayerContext {
  readonly config: ModelConfig;
  readonly parameters: Pick<ParameterStore, "get" | "find">;
  readonly rotation: Tensor; // [dh, dh]
  readonly index: number;
}

/** How rows attend; decoding attends over its KV cache. */
export type Attend = (q: Tensor, k: Tensor, v: Tensor) => Tensor;

/** Everything the backward pass of a layer reads. */
export interface LayerSaved {
  readonly x: Tensor; // [N, d]
  readonly r1: Tensor; // [N, 1]
  readonly n1: Tensor; // [N, d]
  /** Before the head norms; null without them. */
  readonly headNorm: {
    readonly q: Tensor | null; // [N, heads*dh]
    readonly qr: Tensor | null; // [N*heads, 1]
    readonly k: Tensor; // [N, kv*dh]
    readonly kr: Tensor; // [N*kv, 1]
  } | null;
  readonly k: Tensor;
  readonly v: Tensor;
  /** Null where only keys and values were wanted. */
  readonly rest: {
    readonly attention: AttentionSaved;
    readonly flat: Tensor; // [N, heads*dh], attention output by token
    readonly mid: Tensor; // [N, d]
    readonly r2: Tensor; // [N, 1]
    readonly n2: Tensor; // [N, d]
    readonly gate: Tensor; // [N, ff]
    readonly up: Tensor; // [N, ff]
    readonly activated: Activated; // [N, ff] each, of gate
    readonly act: Tensor; // [N, ff], activated gate · up
  } | null;
}

/** The two norms of a layer: before attention, and before the MLP. */
export const FIRST_NORM = "input_layernorm";
export const SECOND_NORM = "post_attention_layernorm";

export function nameOf(context: LayerContext, part: string): string {
  return `model.layers.${context.index}.${part}`;
}

/** x·Wᵀ + b. */
function linear(context: LayerContext, part: string, x: Tensor): Tensor {
  const y = matmul(x, context.parameters.get(nameOf(context, `${part}.weight`)), false, true);
  const bias = context.parameters.find(nameOf(context, `${part}.bias`));
  return bias === null ? y : add(y, bias);
}

/** What a norm multiplies by. */
const normOf = (context: LayerContext, part: string): Tensor =>
  normScale(context.parameters.get(nameOf(context, `${part}.weight`)), context.config);

/** Adds dW = dyᵀ·x and db = Σ dy; returns dy·W. */
function linearBackward(context: LayerContext, part: string, dy: Tensor, x: Tensor, gradients: GradientSink): Tensor {
  const weight = nameOf(context, `${part}.weight`);
  const bias = nameOf(context, `${part}.bias`);
  gradients.products([{ name: weight, size: dy.shape[1] as number }], dy, x);
  if (context.parameters.find(bias) !== null && gradients.wants(bias)) gradients.add(bias, sumRows(dy));
  return matmul(dy, context.parameters.get(weight));
}

export function attentionShape(config: ModelConfig, segment: Segment): AttentionShape {
  return {
    prompts: segment.prompts,
    kvHeads: config.kvHeads,
    group: segment.group,
    headsPerKv: config.heads / config.kvHeads,
    length: segment.length,
    tokens: segment.tokens,
    offsets: segment.offsets,
    headDim: config.headDim,
    layers: config.layers,
  };
}

/** [N, heads*dh] by token → [P*kv*G*headsPerKv, T, dh] by head (headsPerKv = 1 for keys and values). */
function byHead(x: Tensor, shape: AttentionShape, headsPerKv: number): Tensor {
  const { prompts, kvHeads, group, length, headDim } = shape;
  const rows = prompts * kvHeads * group * headsPerKv;
  if (group === 1) {
    const heads = kvHeads * headsPerKv;
    if (length === 1) return reshape(x, [rows, 1, headDim]);
    return reshape(transpose(reshape(x, [prompts, length, heads, headDim]), [0, 2, 1, 3]), [rows, length, headDim]);
  }
  if (length === 1) {
    const split = reshape(x, [prompts, group, kvHeads, headsPerKv * headDim]);
    return reshape(transpose(split, [0, 2, 1, 3]), [rows, 1, headDim]);
  }
  const split = reshape(x, [prompts, group, length, kvHeads, headsPerKv, headDim]);
  return reshape(transpose(split, [0, 3, 1, 4, 2, 5]), [rows, length, headDim]);
}

/** The inverse of `byHead`. */
function byToken(x: Tensor, shape: AttentionShape, headsPerKv: number): Tensor {
  const { prompts, kvHeads, group, length, headDim } = shape;
  const tokens = prompts * group * length;
  const width = kvHeads * headsPerKv * headDim;
  if (group === 1) {
    if (length === 1) return reshape(x, [tokens, width]);
    const split = reshape(x, [prompts, kvHeads * headsPerKv, length, headDim]);
    return reshape(transpose(split, [0, 2, 1, 3]), [tokens, width]);
  }
  if (length === 1) {
    const split = reshape(x, [prompts, kvHeads, group, headsPerKv * headDim]);
    return reshape(transpose(split, [0, 2, 1, 3]), [tokens, width]);
  }
  const split = reshape(x, [prompts, kvHeads, group, headsPerKv, length, headDim]);
  return reshape(transpose(split, [0, 2, 4, 1, 3, 5]), [tokens, width]);
}

/** Applies a rotation to heads [rows, T, dh] viewed as [P, rows/P, T*dh], so that the RoPE slices broadcast. */
function perPrompt(x: Tensor, shape: AttentionShape, rotation: (rows: Tensor) => Tensor): Tensor {
  return reshape(rotation(reshape(x, [shape.prompts, -1, shape.length * shape.headDim])), x.shape);
}

/** Normalises each head: [N, heads*dh] as rows [N*heads, dh]. */
function normHeads(context: LayerContext, part: string, x: Tensor): { y: Tensor; r: Tensor } {
  const { headDim, rmsNormEps } = context.config;
  const rows = reshape(x, [-1, headDim]);
  const { y, r } = rmsNorm(rows, normOf(context, part), rmsNormEps);
  return { y: reshape(y, x.shape), r };
}

function normHeadsBackward(
  context: LayerContext,
  part: string,
  dy: Tensor,
  x: Tensor,
  r: Tensor,
  gradients: GradientSink,
): Tensor {
  const { headDim } = context.config;
  const rows = (tensor: Tensor) => reshape(tensor, [-1, headDim]);
  const { dx, dw } = rmsNormBackward(rows(dy), rows(x), r, normOf(context, part));
  gradients.add(nameOf(context, `${part}.weight`), dw);
  return reshape(dx, x.shape);
}

/** Rotated keys and plain values of a layer, and queries when wanted. */
function project(context: LayerContext, n1: Tensor, segment: Segment, shape: AttentionShape, wantQueries: boolean) {
  const { qkNorm } = context.config;
  const { rope } = segment;
  const kRaw = linear(context, "self_attn.k_proj", n1);
  const kNormed = qkNorm ? normHeads(context, "self_attn.k_norm", kRaw) : null;
  const k = narrow(
    perPrompt(byHead(kNormed?.y ?? kRaw, shape, 1), shape, (x) => rotate(x, rope.cosK, rope.sinK, context.rotation)),
  );
  const v = byHead(linear(context, "self_attn.v_proj", n1), shape, 1);
  if (!wantQueries) return { k, v, q: null, kRaw, kr: kNormed?.r ?? null, qRaw: null, qr: null };
  const qRaw = linear(context, "self_attn.q_proj", n1);
  const qNormed = qkNorm ? normHeads(context, "self_attn.q_norm", qRaw) : null;
  const q = narrow(
    perPrompt(byHead(qNormed?.y ?? qRaw, shape, shape.headsPerKv), shape, (x) =>
      rotate(x, rope.cosQ, rope.sinQ, context.rotation),
    ),
  );
  return { k, v, q, kRaw, kr: kNormed?.r ?? null, qRaw, qr: qNormed?.r ?? null };
}

/** Keys and values only: all that a prefix needs of its last layer. */
export function layerKeys(
  context: LayerContext,
  x: Tensor,
  segment: Segment,
  save: boolean,
): { readonly kv: KeyValue; readonly saved: LayerSaved | null } {
  return scope(() => {
    const { y: n1, r: r1 } = normFirst(context, x);
    const { k, v, kRaw, kr } = project(context, n1, segment, attentionShape(context.config, segment), false);
    const headNorm = kr === null ? null : { q: null, qr: null, k: kRaw, kr };
    return { kv: { k, v }, saved: save ? { x, r1, n1, headNorm, k, v, rest: null } : null };
  });
}

function normFirst(context: LayerContext, x: Tensor) {
  return rmsNorm(x, normOf(context, FIRST_NORM), context.config.rmsNormEps);
}

/** The whole layer. `decode` replaces attention over the segment itself (no backward then). */
export function layerForward(
  context: LayerContext,
  x: Tensor, // [N, d]
  segment: Segment,
  prefix: PrefixLayer,
  options: { readonly save: boolean; readonly decode?: Attend },
): { readonly out: Tensor; readonly kv: KeyValue; readonly saved: LayerSaved | null } {
  const { config } = context;
  const shape = attentionShape(config, segment);
  return scope(() => {
    const { y: n1, r: r1 } = normFirst(context, x);
    const { q, k, v, qRaw, qr, kRaw, kr } = project(context, n1, segment, shape, true);
    const queries = q as Tensor;
    const attended = options.decode
      ? { o: options.decode(queries, k, v), weights: null }
      : attend(queries, k, v, shape, prefix, options.save);
    const flat = byToken(attended.o, shape, shape.headsPerKv);
    const mid = add(x, linear(context, "self_attn.o_proj", flat));
    const { y: n2, r: r2 } = rmsNorm(mid, normOf(context, SECOND_NORM), config.rmsNormEps);
    const gate = linear(context, "mlp.gate_proj", n2);
    const up = linear(context, "mlp.up_proj", n2);
    const activated = ACTIVATIONS[config.activation].apply(gate);
    const act = mul(activated.y, up);
    const out = add(mid, linear(context, "mlp.down_proj", act));
    if (!options.save) return { out, kv: { k, v }, saved: null };
    const attention = { q: queries, k, v, o: attended.o, weights: attended.weights };
    const headNorm = kr !== null ? { q: qRaw, qr, k: kRaw, kr } : null;
    const rest = { attention, flat, mid, r2, n2, gate, up, activated, act };
    return { out, kv: { k, v }, saved: { x, r1, n1, headNorm, k, v, rest } };
  });
}

/**
 * Gradients of a layer: parameters' into `gradients`; returns dx and the prefix's.
 * `dOut` is null where only keys and values were computed; `dKv` comes from the rows that attended to this prefix.
 */
export function layerBackward(
  context: LayerContext,
  saved: LayerSaved,
  segment: Segment,
  prefix: PrefixLayer,
  dOut: Tensor | null, // [N, d]
  dKv: KeyValue | null,
  gradients: GradientSink,
): { readonly dx: Tensor; readonly dPrefix: KeyValue | null } {
  const shape = attentionShape(context.config, segment);
  const { rope } = segment;
  return scope(() => {
    let dMid: Tensor | null = null;
    let dN1: Tensor | null = null;
    let dk = dKv?.k ?? null;
    let dv = dKv?.v ?? null;
    let dPrefix: KeyValue | null = null;
    if (dOut !== null && saved.rest !== null) {
      const { rest } = saved;
      dMid = mlpBackward(context, rest, dOut, gradients);
      const attended = scope(() => {
        const dFlat = linearBackward(context, "self_attn.o_proj", dMid as Tensor, rest.flat, gradients);
        return attendBackward(byHead(dFlat, shape, shape.headsPerKv), rest.attention, shape, prefix);
      });
      dPrefix = attended.dPrefix;
      dk = dk === null ? attended.dk : add(dk, attended.dk);
      dv = dv === null ? attended.dv : add(dv, attended.dv);
      dN1 = scope(() => {
        const dq = perPrompt(attended.dq, shape, (x) => rotateBackward(x, rope.cosQ, rope.sinQ, context.rotation));
        let dqRaw = byToken(dq, shape, shape.headsPerKv);
        if (saved.headNorm?.q && saved.headNorm.qr) {
          const { q, qr } = saved.headNorm;
          dqRaw = normHeadsBackward(context, "self_attn.q_norm", dqRaw, q, qr, gradients);
        }
        return linearBackward(context, "self_attn.q_proj", dqRaw, saved.n1, gradients);
      });
    }
    return scope(() => {
      const dkHeads = perPrompt(dk as Tensor, shape, (x) => rotateBackward(x, rope.cosK, rope.sinK, context.rotation));
      let dkRaw = byToken(dkHeads, shape, 1);
      if (saved.headNorm !== null) {
        const { k, kr } = saved.headNorm;
        dkRaw = normHeadsBackward(context, "self_attn.k_norm", dkRaw, k, kr, gradients);
      }
      let dn = linearBackward(context, "self_attn.k_proj", dkRaw, saved.n1, gradients);
      dn = add(dn, linearBackward(context, "self_attn.v_proj", byToken(dv as Tensor, shape, 1), saved.n1, gradients));
      if (dN1 !== null) dn = add(dn, dN1);
      const { dx, dw } = rmsNormBackward(dn, saved.x, saved.r1, normOf(context, FIRST_NORM));
      gradients.add(nameOf(context, `${FIRST_NORM}.weight`), dw);
      return { dx: dMid === null ? dx : add(dx, dMid), dPrefix };
    });
  });
}

/** Backward through down(a(gate)·up), the second norm and the residual: returns the gradient at `mid`. */
function mlpBackward(
  context: LayerContext,
  rest: NonNullable<LayerSaved["rest"]>,
  dOut: Tensor,
  gradients: GradientSink,
): Tensor {
  return scope(() => {
    const dN2 = scope(() => {
      const dAct = linearBackward(context, "mlp.down_proj", dOut, rest.act, gradients);
      const dUp = mul(dAct, rest.activated.y);
      const slope = ACTIVATIONS[context.config.activation].slope(rest.gate, rest.activated);
      const dGate = mul(mul(dAct, rest.up), slope);
      return add(
        linearBackward(context, "mlp.gate_proj", dGate, rest.n2, gradients),
        linearBackward(context, "mlp.up_proj", dUp, rest.n2, gradients),
      );
    });
    const { dx, dw } = rmsNormBackward(dN2, rest.mid, rest.r2, normOf(context, SECOND_NORM));
    gradients.add(nameOf(context, `${SECOND_NORM}.weight`), dw);
    return add(dOut, dx);
  });
}

/** What a compiled layer saves for its backward pass, which recomputes norms and the activation function. */
export interface SlimSaved {
  readonly x: Tensor; // [N, d]
  readonly k: Tensor;
  readonly v: Tensor;
  readonly headNorm: { readonly q: Tensor | null; readonly k: Tensor } | null;
  readonly rest: {
    readonly q: Tensor;
    readonly o: Tensor;
    readonly mid: Tensor; // [N, d]
    readonly gate: Tensor; // [N, ff]
    readonly up: Tensor; // [N, ff]
  } | null;
}

export function slimOf({ x, k, v, headNorm, rest }: LayerSaved): SlimSaved {
  return {
    x,
    k,
    v,
    headNorm: headNorm && { q: headNorm.q, k: headNorm.k },
    rest: rest && { q: rest.attention.q, o: narrow(rest.attention.o), mid: rest.mid, gate: rest.gate, up: rest.up },
  };
}

/** Everything that `layerBackward` reads, recomputed where it was not saved. */
export function savedOf(context: LayerContext, slim: SlimSaved, segment: Segment): LayerSaved {
  const { config } = context;
  const { y: n1, r: r1 } = normFirst(context, slim.x);
  const ofHeads = (part: string, x: Tensor) => normHeads(context, part, x).r;
  const headNorm = slim.headNorm && {
    q: slim.headNorm.q,
    qr: slim.headNorm.q && ofHeads("self_attn.q_norm", slim.headNorm.q),
    k: slim.headNorm.k,
    kr: ofHeads("self_attn.k_norm", slim.headNorm.k),
  };
  const base = { x: slim.x, r1, n1, headNorm, k: slim.k, v: slim.v };
  if (slim.rest === null) return { ...base, rest: null };
  const { q, o, mid, gate, up } = slim.rest;
  const shape = attentionShape(config, segment);
  const { y: n2, r: r2 } = rmsNorm(mid, normOf(context, SECOND_NORM), config.rmsNormEps);
  const activated = ACTIVATIONS[config.activation].apply(gate);
  const rest = {
    attention: { q, k: slim.k, v: slim.v, o, weights: null },
    flat: byToken(o, shape, shape.headsPerKv),
    mid,
    r2,
    n2,
    gate,
    up,
    activated,
    act: mul(activated.y, up),
  };
  return { ...base, rest };
}
