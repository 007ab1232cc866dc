/**
 * Grouped-query attention with an optional shared prefix, forward and backward.
 *
 * Queries are [P*kv*G*headsPerKv, T, dh], keys and values [P*kv*G, T, dh], the prefix's [P*kv, Tp, dh]: a matmul of
 * [P*kv, G*headsPerKv*T, dh] against the prefix and one of [P*kv*G, headsPerKv*T, dh] against the row's own keys need neither
 * tiling nor copies. Queries are processed in blocks of QUERY_BLOCK, each against the keys it may see only, so T×T scores never
 * exist at once. Scores are exponentiated, never normalised: the outputs are multiplied by 1/Z instead.
 * Exponentials are saved for the backward pass up to SAVED_EXPONENTIALS, else recomputed.
 */

import {
  add,
  after,
  concat,
  divide,
  exp,
  matmul,
  maxLast,
  mul,
  range,
  reshape,
  slice,
  sub,
  sumLast,
} from "../tensor/kernels.js";
import { recording, scope, type Tensor, tf } from "../tensor/tf.js";
import { type KeyValue, MASKED } from "./segment.js";

/** Queries per block: large enough for fast matmuls, small enough to skip most of the upper triangle. */
const QUERY_BLOCK = 128;
/** Elements of exponentials that all layers together may save (256 MiB of float32). */
const SAVED_EXPONENTIALS = 64 * 1024 * 1024;

export interface AttentionShape {
  readonly prompts: number; // P
  readonly kvHeads: number; // kv
  readonly group: number; // G
  readonly headsPerKv: number; // query heads per key/value head
  readonly length: number; // T
  /** Flat tokens, and where each row begins in them; see `Segment`. */
  readonly tokens: number; // N
  readonly offsets: Tensor | null; // [P*G + 1] int32
  readonly headDim: number; // dh
  /** Layers of the model, which share SAVED_EXPONENTIALS. */
  readonly layers: number;
}

/** Keys and values of the prefix of one layer, and its padding as a mask and as true lengths [P] int32; or null. */
export type PrefixLayer = (KeyValue & { readonly mask: Tensor | null; readonly lengths: Tensor }) | null;

/** exp(score − row maximum) of one query block over prefix keys (or null) and own keys, and the row sums. */
interface BlockWeights {
  readonly prefix: Tensor | null; // [P*kv, G*headsPerKv*Tq, Tp]
  readonly own: Tensor; // [P*kv*G, headsPerKv*Tq, end]
  readonly sums: Tensor; // [P*kv*G*headsPerKv, Tq, 1]
}

export interface AttentionSaved {
  readonly q: Tensor; // [P*kv*G*headsPerKv, T, dh], rotated and scaled
  readonly k: Tensor; // [P*kv*G, T, dh]
  readonly v: Tensor; // [P*kv*G, T, dh]
  readonly o: Tensor; // [P*kv*G*headsPerKv, T, dh]
  readonly weights: readonly BlockWeights[] | null;
}

const causalMasks = new Map<string, Tensor>();
/** Masks cached at most; above it all are dropped. */
const MASK_LIMIT = 256;

/** Additive mask of queries start … start+Tq−1 over keys 0 … start+Tq−1: [1, Tq, start+Tq]; cached by shape. */
function causalMask(start: number, queries: number): Tensor {
  if (recording() !== null) return tracedMask(start, queries);
  const key = `${start}:${queries}`;
  let mask = causalMasks.get(key);
  if (mask === undefined) {
    if (causalMasks.size >= MASK_LIMIT) {
      tf.dispose([...causalMasks.values()]);
      causalMasks.clear();
    }
    const keys = start + queries;
    const values = new Float32Array(queries * keys);
    for (let row = 0; row < queries; row += 1) values.fill(MASKED, row * keys + start + row + 1, (row + 1) * keys);
    mask = tf.keep(tf.tensor3d(values, [1, queries, keys]));
    causalMasks.set(key, mask);
  }
  return mask;
}

/** The same mask, computed from positions inside the graph. */
function tracedMask(start: number, queries: number): Tensor {
  const rows = tf.add(reshape(range(queries), [1, queries, 1]), tf.scalar(start, "int32"));
  const keys = start + queries;
  return tf.mul(tf.cast(tf.greater(reshape(range(keys), [1, 1, keys]), rows), "float32"), MASKED);
}

function blocks(length: number): [start: number, end: number][] {
  const result: [number, number][] = [];
  for (let start = 0; start < length; start += QUERY_BLOCK) {
    // A short remainder joins the last block.
    const end = length - start < QUERY_BLOCK * 1.5 ? length : start + QUERY_BLOCK;
    result.push([start, end]);
    if (end === length) break;
  }
  return result;
}

/** Positions [start, end) of the middle axis; x itself where that is the whole axis. */
function along(x: Tensor, start: number, end: number): Tensor {
  const [rows, length, width] = x.shape as [number, number, number];
  return start === 0 && end === length ? x : slice(x, [0, start, 0], [rows, end - start, width]);
}

function blockWeights(
  q: Tensor, // [P*kv*G*headsPerKv, Tq, dh]
  k: Tensor, // [P*kv*G, end, dh]
  start: number,
  shape: AttentionShape,
  prefix: PrefixLayer,
): BlockWeights {
  return scope(() => {
    const { prompts, kvHeads, group, headsPerKv, headDim } = shape;
    const queries = q.shape[1] as number;
    const keys = k.shape[1] as number;
    const ownRows = prompts * kvHeads * group;
    let own = matmul(reshape(q, [ownRows, headsPerKv * queries, headDim]), k, false, true);
    own = reshape(own, [ownRows * headsPerKv, queries, keys]);
    if (queries > 1) own = add(own, causalMask(start, queries));
    let top = maxLast(own); // [P*kv*G*headsPerKv, Tq, 1]
    if (prefix === null) {
      const e = exp(sub(own, top));
      return { prefix: null, own: reshape(e, [ownRows, headsPerKv * queries, keys]), sums: sumLast(e, true) };
    }
    const length = prefix.k.shape[1] as number;
    const perPrompt = group * headsPerKv * queries;
    let scores = matmul(reshape(q, [prompts * kvHeads, perPrompt, headDim]), prefix.k, false, true);
    scores = reshape(scores, [prompts, kvHeads * perPrompt, length]);
    if (prefix.mask !== null) scores = add(scores, prefix.mask);
    const flat = [ownRows * headsPerKv, queries, 1];
    top = tf.maximum(top, reshape(maxLast(scores), flat));
    const eOwn = exp(sub(own, top));
    const ePrefix = exp(sub(scores, reshape(top, [prompts, kvHeads * perPrompt, 1])));
    return {
      prefix: reshape(ePrefix, [prompts * kvHeads, perPrompt, length]),
      own: reshape(eOwn, [ownRows, headsPerKv * queries, keys]),
      sums: add(sumLast(eOwn, true), reshape(sumLast(ePrefix, true), flat)),
    };
  });
}

/** o = softmax(q·kᵀ + mask)·v over the prefix and the row itself. Returns o and, up to SAVED_EXPONENTIALS, the exponentials. */
export function attend(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  shape: AttentionShape,
  prefix: PrefixLayer,
  save: boolean,
): { readonly o: Tensor; readonly weights: readonly BlockWeights[] | null } {
  const queryRows = shape.prompts * shape.kvHeads * shape.group * shape.headsPerKv;
  const elements = queryRows * shape.length * (shape.length + (prefix?.k.shape[1] ?? 0));
  const saves = save && elements * shape.layers <= SAVED_EXPONENTIALS;
  let done: Tensor | null = null;
  return scope(() => {
    const outputs = blocks(shape.length).map(([start, end]) => {
      const block = scope(() => {
        const own = after(along(q, start, end), done);
        const e = blockWeights(own, along(k, 0, end), start, shape, prefix);
        const flat = [queryRows, end - start, shape.headDim];
        let o = reshape(matmul(e.own, along(v, 0, end)), flat);
        if (e.prefix !== null && prefix !== null) o = add(o, reshape(matmul(e.prefix, prefix.v), flat));
        return { o: divide(o, e.sums), weights: saves ? e : null };
      });
      done = block.o;
      return block;
    });
    const o = concat(
      outputs.map((block) => block.o),
      1,
    );
    return { o, weights: saves ? outputs.map((block) => block.weights as BlockWeights) : null };
  });
}

export interface AttentionGradients {
  readonly dq: Tensor;
  readonly dk: Tensor;
  readonly dv: Tensor;
  readonly dPrefix: KeyValue | null;
}

/** Gradients with respect to keys and values, summed over query blocks. */
interface KeySums {
  readonly dk: Tensor;
  readonly dv: Tensor;
  readonly prefix: KeyValue | null;
}

/** Gradients of `attend`: dS = e∘(dO·vᵀ − rowsum(dO∘O))/Z, block by block. */
export function attendBackward(
  dO: Tensor, // [P*kv*G*headsPerKv, T, dh]
  saved: AttentionSaved,
  shape: AttentionShape,
  prefix: PrefixLayer,
): AttentionGradients {
  return scope(() => {
    const dqs: Tensor[] = [];
    let sums: KeySums | null = null;
    for (const [index, [start, end]] of blocks(shape.length).entries()) {
      const before: KeySums | null = sums;
      const block: { dq: Tensor; sums: KeySums } = scope(() => {
        const one = blockBackward(along(dO, start, end), saved, shape, prefix, index, start, end, before?.dk ?? null);
        return { dq: one.dq, sums: before === null ? one.sums : addSums(before, one.sums) };
      });
      if (before !== null) tf.dispose(before as unknown as Record<string, Tensor>);
      dqs.push(block.dq);
      sums = block.sums;
    }
    const { dk, dv, prefix: dPrefix } = sums as unknown as KeySums;
    return { dq: concat(dqs, 1), dk, dv, dPrefix };
  });
}

function addSums(a: KeySums, b: KeySums): KeySums {
  return {
    dk: add(a.dk, b.dk),
    dv: add(a.dv, b.dv),
    prefix: a.prefix && b.prefix ? { k: add(a.prefix.k, b.prefix.k), v: add(a.prefix.v, b.prefix.v) } : null,
  };
}

function blockBackward(
  dO: Tensor, // [P*kv*G*headsPerKv, Tq, dh], of this block
  saved: AttentionSaved,
  shape: AttentionShape,
  prefix: PrefixLayer,
  index: number,
  start: number,
  end: number,
  previous: Tensor | null,
): { readonly dq: Tensor; readonly sums: KeySums } {
  const { prompts, kvHeads, group, headsPerKv, length, headDim } = shape;
  const queries = end - start;
  const ownRows = prompts * kvHeads * group;
  const q = after(along(saved.q, start, end), previous);
  const k = along(saved.k, 0, end);
  const e = saved.weights?.[index] ?? blockWeights(q, k, start, shape, prefix);
  const dOut = divide(dO, e.sums); // dO / Z
  const delta = sumLast(mul(dOut, along(saved.o, start, end)), true); // [P*kv*G*headsPerKv, Tq, 1]

  const own = [ownRows, headsPerKv * queries, headDim];
  const qOwn = reshape(q, own);
  const dOwn = reshape(dOut, own);
  const dP = matmul(dOwn, along(saved.v, 0, end), false, true);
  const dS = mul(e.own, sub(dP, reshape(delta, [ownRows, headsPerKv * queries, 1])));
  let dq = reshape(matmul(dS, k), [ownRows * headsPerKv, queries, headDim]);
  const late: [number, number][] = [
    [0, 0],
    [0, length - end],
    [0, 0],
  ];
  const widen = (x: Tensor) => (end === length ? x : tf.pad(x, late));
  const dk = widen(matmul(dS, qOwn, true));
  const dv = widen(matmul(e.own, dOwn, true));
  if (prefix === null || e.prefix === null) return { dq, sums: { dk, dv, prefix: null } };

  const perPrompt = [prompts * kvHeads, group * headsPerKv * queries, headDim];
  const qPrompt = reshape(q, perPrompt);
  const dPrompt = reshape(dOut, perPrompt);
  const dPp = matmul(dPrompt, prefix.v, false, true);
  const dSp = mul(e.prefix, sub(dPp, reshape(delta, [prompts * kvHeads, group * headsPerKv * queries, 1])));
  dq = add(dq, reshape(matmul(dSp, prefix.k), [ownRows * headsPerKv, queries, headDim]));
  return { dq, sums: { dk, dv, prefix: { k: matmul(dSp, qPrompt, true), v: matmul(e.prefix, dPrompt, true) } } };
}
