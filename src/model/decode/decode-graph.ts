/**
 * The decoding loop as a graph: BLOCK tokens for every slot of a table in one call, sampled inside. Slots are P prompts of
 * G rows; a row attends to its prompt's prefix, to the tokens of earlier calls (`own`), and to those of this call (`block`).
 * The loop ends early when every row has met a stop id.
 */

import type { ModelConfig } from "../io/config.js";
import { whileLoop } from "../tensor/graph/loop.js";
import {
  add,
  concat,
  constant,
  gatherRows,
  matmul,
  mul,
  narrow,
  range,
  reshape,
  select,
  slice,
  softmaxLast,
  transpose,
  widen,
} from "../tensor/kernels.js";
import { type Tensor, tf } from "../tensor/tf.js";
import { ACTIVATIONS } from "../transformer/activation.js";
import { embeddingScaled } from "../transformer/model.js";
import { rmsNorm } from "../transformer/norm.js";
import { type KeyValue, MASKED } from "../transformer/segment.js";
import type { DecodeLayer, DecodeWeights } from "./decode-weights.js";
import { type SelectOptions, selectTokens } from "./select.js";

/** Tokens drawn per call: large enough that a call's overhead vanishes, small enough that rows end and enter soon. */
export const BLOCK = 16;

export interface DecodeInputs {
  readonly weights: DecodeWeights;
  /** cos and sin over positions, [capacity, dh] each. */
  readonly cos: Tensor;
  readonly sin: Tensor;
  readonly rotation: Tensor; // [dh, dh]
  readonly prefix: readonly KeyValue[] | null; // per layer [P·kv, Tp, dh]
  readonly prefixMask: Tensor; // [P, 1, Tp]
  readonly prefixLengths: Tensor; // [P] int32
  readonly own: readonly KeyValue[]; // per layer [P·kv·G, Tc, dh]
  /** Each prompt's first column of `own`. */
  readonly first: Tensor; // [P] int32
  /** Columns of `own` in use; a multiple of BLOCK. */
  readonly used: Tensor; // [] int32
  readonly ids: Tensor; // [P·G] int32
  readonly positions: Tensor; // [P] int32
  readonly finished: Tensor; // [P·G] bool
  /** Steps at most, up to BLOCK. */
  readonly limit: Tensor; // [] int32
  readonly uniforms: Tensor; // [BLOCK, P·G]
  readonly stops: Tensor; // [S] int32
  readonly inverseTemperature: Tensor; // []
  readonly topP: Tensor; // []
}

/** What changes from one decode step to the next. */
export interface StepState {
  readonly step: Tensor; // [] int32
  readonly ids: Tensor; // [P·G] int32
  /** Per layer [P·kv·G, BLOCK, dh]. */
  readonly blocks: readonly KeyValue[];
  /**
   * For the activation cache, [BLOCK, P·G, W] each: those of every layer (`DecodedRows`), then the hidden rows before the final
   * norm; filled up to this step. Empty where they are not cached.
   */
  readonly activations: readonly Tensor[];
}

/** One token for every row: ids, a report [3, P·G], the blocks with the new column and the activations with the new row. */
export type DecodeStep = (
  inputs: DecodeInputs,
  shape: DecodeShape,
  state: StepState,
) => {
  readonly ids: Tensor;
  readonly report: Tensor;
  readonly blocks: readonly KeyValue[];
  readonly activations: readonly Tensor[];
};

export interface DecodeShape {
  readonly step: DecodeStep;
  readonly prompts: number;
  readonly group: number;
  readonly config: ModelConfig;
  readonly select: SelectOptions;
  /** Whether activations are cached for a backward pass; `step` must support it. */
  readonly cacheActivations: boolean;
}

export interface DecodeOutputs {
  readonly drawn: Tensor; // [BLOCK, 3, P·G]: id, log-prob, entropy
  readonly own: readonly KeyValue[]; // per layer [P·kv·G, Tc, dh]
  /** As in `StepState`; rows of steps that were not run are uninitialised. */
  readonly activations: readonly Tensor[];
}

/** Masks of one decode step. */
interface Masks {
  readonly prefix: Tensor; // [P, 1, Tp]
  readonly own: Tensor; // [P, 1, Tc]
  readonly block: Tensor; // [1, 1, BLOCK]
}

const asMask = (hidden: Tensor): Tensor => mul(tf.cast(hidden, "float32"), constant(MASKED));

/** One call. Traced: this builds the graph. */
export function decodeBlock(inputs: DecodeInputs, shape: DecodeShape): DecodeOutputs {
  const { config, prompts, group } = shape;
  const rows = prompts * group;
  const cacheRows = rows * config.kvHeads;
  const empty = () => narrow(tf.zeros([cacheRows, BLOCK, config.headDim]));
  // The first step allocates a block's memory.
  const noActivations = shape.cacheActivations ? Array.from({ length: config.layers + 1 }, () => tf.zeros([0])) : [];
  const apart = (rest: readonly Tensor[]) =>
    [rest.slice(0, noActivations.length), rest.slice(noActivations.length)] as const;
  const start = [
    tf.scalar(0, "int32"),
    inputs.ids,
    inputs.finished,
    tf.zeros([BLOCK, 3, rows]),
    ...noActivations,
    ...inputs.weights.layers.flatMap(() => [empty(), empty()]),
  ];
  const end = whileLoop(
    start,
    ([step, , finished]) =>
      tf.logicalAnd(tf.less(step as Tensor, inputs.limit), tf.logicalNot(tf.all(finished as Tensor))),
    ([step, ids, finished, drawn, ...rest]) => {
      const [activations, flat] = apart(rest);
      const blocks = inputs.weights.layers.map((_, index) => ({
        k: flat[2 * index] as Tensor,
        v: flat[2 * index + 1] as Tensor,
      }));
      const next = shape.step(inputs, shape, { step: step as Tensor, ids: ids as Tensor, blocks, activations });
      const ended = tf.any(tf.equal(reshape(next.ids, [rows, 1]), reshape(inputs.stops, [1, -1])), 1);
      const place = tf.equal(reshape(range(BLOCK), [BLOCK, 1, 1]), step as Tensor);
      return [
        tf.add(step as Tensor, tf.scalar(1, "int32")),
        next.ids,
        tf.logicalOr(finished as Tensor, ended),
        select(place, reshape(next.report, [1, 3, rows]), drawn as Tensor),
        ...next.activations,
        ...next.blocks.flatMap(({ k, v }) => [k, v]),
      ];
    },
  );
  const [, , , drawn, ...rest] = end as [Tensor, Tensor, Tensor, Tensor, ...Tensor[]];
  const [activations, flat] = apart(rest);
  const own = inputs.weights.layers.map((_, index) => ({
    k: written((inputs.own[index] as KeyValue).k, flat[2 * index] as Tensor, inputs.used),
    v: written((inputs.own[index] as KeyValue).v, flat[2 * index + 1] as Tensor, inputs.used),
  }));
  return { drawn, own, activations };
}

/** One decode step in TensorFlow's own operations. */
export const composedDecodeStep: DecodeStep = (inputs, shape, { step, ids, blocks }) => {
  const { config, prompts, group } = shape;
  const rows = prompts * group;
  const now = tf.equal(reshape(range(BLOCK), [1, BLOCK, 1]), step); // [1, BLOCK, 1]
  const later = tf.greater(reshape(range(BLOCK), [1, 1, BLOCK]), step);
  const masks: Masks = { prefix: inputs.prefixMask, own: maskOfOwn(inputs, prompts), block: asMask(later) };
  const positions = tf.add(inputs.positions, step); // [P]
  const angle = (table: Tensor) => reshape(gatherRows(table, positions), [prompts, 1, config.headDim]);
  const rope = { cos: angle(inputs.cos), sin: angle(inputs.sin), rotation: inputs.rotation };
  let x = embeddingScaled(widen(gatherRows(inputs.weights.embedding, ids)), config); // [R, d]
  const next = inputs.weights.layers.map((layer, index) => {
    const done = decodeLayer(x, layer, shape, rope, masks, now, {
      prefix: inputs.prefix?.[index] ?? null,
      own: inputs.own[index] as KeyValue,
      block: blocks[index] as KeyValue,
    });
    x = done.x;
    return done.block;
  });
  const { y } = rmsNorm(x, inputs.weights.norm, config.rmsNormEps);
  const logits = widen(matmul(mul(y, inputs.inverseTemperature), inputs.weights.head)); // [R, V]
  const uniforms = reshape(gatherRows(inputs.uniforms, reshape(step, [1])), [rows, 1]);
  const drawn = selectTokens(logits, uniforms, range(rows), { ...shape.select, topP: inputs.topP });
  return { ...drawn, blocks: next, activations: [] };
};

/** Columns of `own` before a prompt's first or after the last one in use are hidden: [P, 1, Tc]. */
function maskOfOwn({ own, first, used }: DecodeInputs, prompts: number): Tensor {
  const length = (own[0] as KeyValue).k.shape[1] as number;
  const columns = reshape(range(length), [1, 1, length]);
  const hidden = tf.logicalOr(tf.less(columns, reshape(first, [prompts, 1, 1])), tf.greaterEqual(columns, used));
  return asMask(hidden);
}

/** `own` with the block's columns written from column `used` on. */
function written(own: Tensor, block: Tensor, used: Tensor): Tensor {
  const [rows, length, width] = own.shape as [number, number, number];
  const pieces = length / BLOCK;
  const here = tf.equal(reshape(range(pieces), [1, pieces, 1, 1]), tf.floorDiv(used, tf.scalar(BLOCK, "int32")));
  const split = reshape(own, [rows, pieces, BLOCK, width]);
  return reshape(narrow(select(here, widen(reshape(block, [rows, 1, BLOCK, width])), widen(split))), own.shape);
}

interface LayerCaches {
  readonly prefix: KeyValue | null;
  readonly own: KeyValue;
  readonly block: KeyValue;
}

function withBias(x: Tensor, bias: Tensor | null): Tensor {
  return bias === null ? x : add(x, bias);
}

function decodeLayer(
  x: Tensor, // [R, d]
  layer: DecodeLayer,
  shape: DecodeShape,
  rope: { readonly cos: Tensor; readonly sin: Tensor; readonly rotation: Tensor },
  masks: Masks,
  now: Tensor, // [1, BLOCK, 1] bool
  caches: LayerCaches,
): { readonly x: Tensor; readonly block: KeyValue } {
  const { prompts, group, config } = shape;
  const { heads, kvHeads, headDim, rmsNormEps } = config;
  const rows = prompts * group;
  const headsPerKv = heads / kvHeads;
  const { y: n1 } = rmsNorm(x, layer.norm1, rmsNormEps);
  const qkv = withBias(matmul(n1, layer.qkv), layer.qkvBias); // [R, (heads + 2·kv)·dh]
  const part = (from: number, count: number) => slice(qkv, [0, from * headDim], [rows, count * headDim]);
  let qk = part(0, heads + kvHeads);
  if (layer.qNorm !== null && layer.kNorm !== null) {
    const normed = (from: number, count: number, weight: Tensor) =>
      reshape(rmsNorm(reshape(part(from, count), [-1, headDim]), weight, rmsNormEps).y, [rows, count * headDim]);
    qk = concat([normed(0, heads, layer.qNorm), normed(heads, kvHeads, layer.kNorm)], 1);
  }
  const flat = reshape(widen(qk), [prompts, group * (heads + kvHeads), headDim]);
  const rotatedHalf = reshape(plainProduct(reshape(flat, [-1, headDim]), rope.rotation), flat.shape);
  const rotated = reshape(add(mul(flat, rope.cos), mul(rotatedHalf, rope.sin)), [rows, (heads + kvHeads) * headDim]);
  const byHead = (from: Tensor, begin: number, count: number, inner: number) => {
    const taken = slice(from, [0, begin * headDim], [rows, count * headDim]);
    return transpose(reshape(taken, [prompts, group, kvHeads, inner * headDim]), [0, 2, 1, 3]); // [P, kv, G, inner·dh]
  };
  const q = narrow(reshape(byHead(rotated, 0, heads, headsPerKv), [prompts * kvHeads, group * headsPerKv, headDim]));
  const k = reshape(byHead(rotated, heads, kvHeads, 1), [rows * kvHeads, 1, headDim]);
  const v = reshape(byHead(widen(qkv), heads + kvHeads, kvHeads, 1), [rows * kvHeads, 1, headDim]);
  const put = (block: Tensor, value: Tensor) => narrow(select(now, value, widen(block)));
  const block = { k: put(caches.block.k, k), v: put(caches.block.v, v) };
  const o = attend(q, { ...caches, block }, shape, masks); // [P·kv, G·headsPerKv, dh]
  const back = transpose(reshape(o, [prompts, kvHeads, group, headsPerKv * headDim]), [0, 2, 1, 3]);
  const mid = add(x, withBias(matmul(reshape(back, [rows, heads * headDim]), layer.o), layer.oBias));
  const { y: n2 } = rmsNorm(mid, layer.norm2, rmsNormEps);
  const gate = widen(withBias(matmul(n2, layer.gate), layer.gateBias));
  const act = mul(ACTIVATIONS[config.activation].apply(gate).y, withBias(matmul(n2, layer.up), layer.upBias));
  return { x: add(mid, withBias(matmul(act, layer.down), layer.downBias)), block };
}

/** A product that stays float32: rotations must be exact. */
function plainProduct(a: Tensor, b: Tensor): Tensor {
  return tf.matMul(a as never, b as never);
}

/** Softmax over prefix, own and block columns together. */
function attend(q: Tensor, caches: LayerCaches, shape: DecodeShape, masks: Masks): Tensor {
  const { prompts, group, config } = shape;
  const { heads, kvHeads, headDim } = config;
  const headsPerKv = heads / kvHeads;
  const perPrompt = kvHeads * group * headsPerKv;
  const pieces: { readonly kv: KeyValue; readonly mask: Tensor | null; readonly shared: boolean }[] = [];
  if (caches.prefix !== null) pieces.push({ kv: caches.prefix, mask: masks.prefix, shared: true });
  pieces.push({ kv: caches.own, mask: masks.own, shared: false });
  pieces.push({ kv: caches.block, mask: masks.block, shared: false });
  const lead = (shared: boolean) =>
    shared ? [prompts * kvHeads, group * headsPerKv] : [prompts * kvHeads * group, headsPerKv];
  const scores = pieces.map(({ kv, mask, shared }) => {
    const raw = matmul(reshape(q, [...lead(shared), headDim]), kv.k, false, true);
    const flat = reshape(widen(raw), [prompts, perPrompt, kv.k.shape[1] as number]);
    return mask === null ? flat : add(flat, mask);
  });
  const weights = softmaxLast(concat(scores, 2)); // [P, kv·G·headsPerKv, Tp + Tc + BLOCK]
  let at = 0;
  const outputs = pieces.map(({ kv, shared }) => {
    const length = kv.k.shape[1] as number;
    const own = pieces.length === 1 ? weights : slice(weights, [0, 0, at], [prompts, perPrompt, length]);
    at += length;
    const o = matmul(reshape(own, [...lead(shared), length]), kv.v);
    return reshape(o, [prompts * kvHeads, group * headsPerKv, headDim]);
  });
  return outputs.reduce((a, b) => add(a, b));
}
