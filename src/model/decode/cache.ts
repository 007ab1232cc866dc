/**
 * The KV cache of one layer while decoding, and attention of one new token per row over it.
 * Three pieces: the shared prefix, a long part, and a short tail that new tokens are appended to; a full tail moves to the
 * long part, so appending copies up to TAIL positions a token, not the whole history.
 */

import { add, concat, divide, exp, gatherRows, matmul, maxLast, reshape, sub, sumLast } from "../tensor/kernels.js";
import { scope, type Tensor, tf } from "../tensor/tf.js";
import type { KeyValue } from "../transformer/segment.js";

/** Positions of the tail; appending copies this many at most per token, moving it copies the history once per TAIL. */
const TAIL = 32;

export interface CacheShape {
  readonly prompts: number; // P
  readonly kvHeads: number; // kv
  readonly group: number; // G
  readonly headsPerKv: number; // query heads per key/value head
  readonly headDim: number; // dh
}

export class LayerCache {
  private prefix: KeyValue | null; // [P*kv, Tp, dh]
  private long: KeyValue | null = null; // [P*kv*G, t, dh]
  private tail: KeyValue | null = null; // [P*kv*G, t, dh]

  /** Takes ownership of the prefix's tensors. */
  constructor(prefix: KeyValue | null) {
    this.prefix = prefix === null ? null : { k: tf.keep(prefix.k), v: tf.keep(prefix.v) };
  }

  /** Appends the new token's key and value and attends: q [P*kv*G*headsPerKv, 1, dh] → o of the same shape. */
  attend(q: Tensor, k: Tensor, v: Tensor, shape: CacheShape, mask: Tensor | null): Tensor {
    this.append(k, v);
    const { prompts, kvHeads, group, headsPerKv, headDim } = shape;
    const rows = prompts * kvHeads * group * headsPerKv;
    return scope(() => {
      const parts: { scores: Tensor; v: Tensor; lead: readonly number[] }[] = [];
      if (this.prefix !== null) {
        const lead = [prompts * kvHeads, group * headsPerKv];
        const length = this.prefix.k.shape[1] as number;
        let scores = matmul(reshape(q, [...lead, headDim]), this.prefix.k, false, true);
        if (mask !== null) scores = add(reshape(scores, [prompts, kvHeads * group * headsPerKv, length]), mask);
        parts.push({ scores: reshape(scores, [rows, length]), v: this.prefix.v, lead });
      }
      for (const piece of [this.long, this.tail]) {
        if (piece === null) continue;
        const lead = [prompts * kvHeads * group, headsPerKv];
        const scores = matmul(reshape(q, [...lead, headDim]), piece.k, false, true);
        parts.push({ scores: reshape(scores, [rows, piece.k.shape[1] as number]), v: piece.v, lead });
      }
      const top = parts.map(({ scores }) => maxLast(scores)).reduce((a, b) => tf.maximum(a, b)); // [rows, 1]
      const pieces = parts.map(({ scores, v: values, lead }) => {
        const weights = exp(sub(scores, top)); // [rows, t]
        const o = matmul(reshape(weights, [...lead, scores.shape[1] as number]), values);
        return { o: reshape(o, [rows, 1, headDim]), sum: sumLast(weights, true) };
      });
      const o = pieces.map((piece) => piece.o).reduce((a, b) => add(a, b));
      const total = pieces.map((piece) => piece.sum).reduce((a, b) => add(a, b));
      return divide(o, reshape(total, [rows, 1, 1]));
    });
  }

  /** Selects prompts and row slots: indices into [P*kv] and [P*kv*G] rows. */
  select(prefixRows: Tensor | null, ownRows: Tensor): void {
    const pick = (pair: KeyValue, rows: Tensor): KeyValue => {
      const picked = { k: tf.keep(take(pair.k, rows)), v: tf.keep(take(pair.v, rows)) };
      tf.dispose([pair.k, pair.v]);
      return picked;
    };
    if (this.prefix !== null && prefixRows !== null) this.prefix = pick(this.prefix, prefixRows);
    if (this.long !== null) this.long = pick(this.long, ownRows);
    if (this.tail !== null) this.tail = pick(this.tail, ownRows);
  }

  dispose(): void {
    for (const pair of [this.prefix, this.long, this.tail]) if (pair !== null) tf.dispose([pair.k, pair.v]);
    this.prefix = null;
    this.long = null;
    this.tail = null;
  }

  private append(k: Tensor, v: Tensor): void {
    this.tail = join(this.tail, { k, v });
    if ((this.tail.k.shape[1] as number) < TAIL) return;
    this.long = join(this.long, this.tail);
    tf.dispose([this.tail.k, this.tail.v]);
    this.tail = null;
  }
}

/** Rows of a rank-3 tensor. */
function take(x: Tensor, rows: Tensor): Tensor {
  return scope(() => gatherRows(x, rows));
}

/** Concatenates along time into tensors that outlive the scope; frees `left`. */
function join(left: KeyValue | null, right: KeyValue): KeyValue {
  if (left === null) return { k: tf.keep(tf.clone(right.k)), v: tf.keep(tf.clone(right.v)) };
  const joined = { k: tf.keep(concat([left.k, right.k], 1)), v: tf.keep(concat([left.v, right.v], 1)) };
  tf.dispose([left.k, left.v]);
  return joined;
}
