/**
 * Grouped-query attention with an optional shared prefix, forward and backward.
 *
 * Queries lie as [P*kv*G*group, T, dh], keys and values as [P*kv*G, T, dh], the prefix's as [P*kv, Tp, dh]: a matmul of
 * [P*kv, G*group*T, dh] against the prefix and one of [P*kv*G, group*T, dh] against the row's own keys need neither tiling
 * nor copies. Queries are taken in blocks of QUERY_BLOCK, each only against the keys it may see, so scores are never
 * T×T at once. Probabilities of a layer are kept for the backward pass up to PROBABILITY_BUDGET, else computed again.
 */
import { scope, type Tensor, tf } from "../engine/tf.js";
import { matmul, softmax } from "./kernels.js";
import { type KeyValue, MASKED } from "./segment.js";

/** Queries per block: large enough for fast matmuls, small enough to skip most of the upper triangle. */
const QUERY_BLOCK = 128;
/** Elements of probabilities one layer may keep (64 MiB of float32). */
const PROBABILITY_BUDGET = 16 * 1024 * 1024;

export interface AttentionShape {
  readonly prompts: number; // P
  readonly kvHeads: number; // kv
  readonly group: number; // G
  readonly share: number; // query heads per key/value head
  readonly length: number; // T
  readonly headDim: number; // dh
}

/** Probabilities of one query block over prefix keys (or null) and own keys. */
interface BlockProbabilities {
  readonly prefix: Tensor | null; // [P*kv, G*share*Tq, Tp]
  readonly own: Tensor; // [P*kv*G, share*Tq, end]
}

export interface AttentionSaved {
  readonly q: Tensor; // [P*kv*G*share, T, dh], rotated and scaled
  readonly k: Tensor; // [P*kv*G, T, dh]
  readonly v: Tensor; // [P*kv*G, T, dh]
  readonly o: Tensor; // [P*kv*G*share, T, dh]
  readonly probabilities: readonly BlockProbabilities[] | null;
}

const causalMasks = new Map<string, Tensor>();

/** Additive mask of queries start … start+Tq−1 over keys 0 … start+Tq−1: [1, Tq, start+Tq]; kept by shape. */
function causalMask(start: number, queries: number): Tensor {
  const key = `${start}:${queries}`;
  let mask = causalMasks.get(key);
  if (mask === undefined) {
    if (causalMasks.size >= 256) {
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

/** Frees the masks kept by shape. */
export function disposeMasks(): void {
  tf.dispose([...causalMasks.values()]);
  causalMasks.clear();
}

function blocks(length: number): [start: number, end: number][] {
  const result: [number, number][] = [];
  for (let start = 0; start < length; start += QUERY_BLOCK) {
    // A short rest joins the last block.
    const end = length - start < QUERY_BLOCK * 1.5 ? length : start + QUERY_BLOCK;
    result.push([start, end]);
    if (end === length) break;
  }
  return result;
}

/** Positions [start, end) of the middle axis; x itself where that is all of it. */
function along(x: Tensor, start: number, end: number): Tensor {
  const [rows, length, width] = x.shape as [number, number, number];
  return start === 0 && end === length ? x : tf.slice(x, [0, start, 0], [rows, end - start, width]);
}

/** Softmax of one block's scores. */
function blockProbabilities(
  q: Tensor, // [P*kv*G*share, Tq, dh]
  k: Tensor, // [P*kv*G, end, dh]
  start: number,
  shape: AttentionShape,
  prefix: { readonly k: Tensor; readonly mask: Tensor | null } | null,
): BlockProbabilities {
  return scope(() => {
    const { prompts, kvHeads, group, share, headDim } = shape;
    const queries = q.shape[1] as number;
    const keys = k.shape[1] as number;
    const ownRows = prompts * kvHeads * group;
    const ownShape = [ownRows, share * queries, keys];
    let own = matmul(tf.reshape(q, [ownRows, share * queries, headDim]), k, false, true);
    if (queries > 1) own = tf.add(tf.reshape(own, [ownRows * share, queries, keys]), causalMask(start, queries));
    if (prefix === null) return { prefix: null, own: softmax(tf.reshape(own, ownShape)) };
    const prefixLength = prefix.k.shape[1] as number;
    const perPrompt = group * share * queries;
    let scores = matmul(tf.reshape(q, [prompts * kvHeads, perPrompt, headDim]), prefix.k, false, true);
    if (prefix.mask !== null) {
      scores = tf.add(tf.reshape(scores, [prompts, kvHeads * perPrompt, prefixLength]), prefix.mask);
    }
    const rows = ownRows * share * queries;
    const all = softmax(tf.concat([tf.reshape(scores, [rows, prefixLength]), tf.reshape(own, [rows, keys])], 1));
    return {
      prefix: tf.reshape(tf.slice(all, [0, 0], [rows, prefixLength]), [prompts * kvHeads, perPrompt, prefixLength]),
      own: tf.reshape(tf.slice(all, [0, prefixLength], [rows, keys]), ownShape),
    };
  });
}

/** o = softmax(q·kᵀ + mask)·v over the prefix and the row itself. Returns o and what the backward pass needs. */
export function attend(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  shape: AttentionShape,
  prefix: (KeyValue & { readonly mask: Tensor | null }) | null,
  save: boolean,
): { readonly o: Tensor; readonly probabilities: readonly BlockProbabilities[] | null } {
  const queryRows = shape.prompts * shape.kvHeads * shape.group * shape.share;
  const elements = queryRows * shape.length * (shape.length + (prefix?.k.shape[1] ?? 0));
  const keep = save && elements <= PROBABILITY_BUDGET;
  return scope(() => {
    const kept: BlockProbabilities[] = [];
    const outputs = blocks(shape.length).map(([start, end]) =>
      scope(() => {
        const p = blockProbabilities(along(q, start, end), along(k, 0, end), start, shape, prefix);
        const flat = [queryRows, end - start, shape.headDim];
        let o = tf.reshape(matmul(p.own, along(v, 0, end)), flat);
        if (p.prefix !== null && prefix !== null) o = tf.add(o, tf.reshape(matmul(p.prefix, prefix.v), flat));
        if (!keep) return { o, p: null };
        kept.push(p);
        return { o, p };
      }),
    );
    const o =
      outputs.length === 1
        ? (outputs[0] as { o: Tensor }).o
        : tf.concat(
            outputs.map((block) => block.o),
            1,
          );
    return { o, probabilities: keep ? kept : null };
  });
}

export interface AttentionGradients {
  readonly dq: Tensor;
  readonly dk: Tensor;
  readonly dv: Tensor;
  readonly dPrefix: KeyValue | null;
}

/** Gradients of `attend`: dS = P∘(dP − rowsum(dO∘O)), block by block. */
export function attendBackward(
  dO: Tensor, // [P*kv*G*share, T, dh]
  saved: AttentionSaved,
  shape: AttentionShape,
  prefix: (KeyValue & { readonly mask: Tensor | null }) | null,
): AttentionGradients {
  const { prompts, kvHeads, group, share, length, headDim } = shape;
  const ownRows = prompts * kvHeads * group;
  return scope(() => {
    const dqs: Tensor[] = [];
    let sums: { dk: Tensor; dv: Tensor; pk: Tensor | null; pv: Tensor | null } | null = null;
    blocks(length).forEach(([start, end], index) => {
      const queries = end - start;
      const before = sums;
      const block = scope(() => {
        const q = along(saved.q, start, end);
        const k = along(saved.k, 0, end);
        const p = saved.probabilities?.[index] ?? blockProbabilities(q, k, start, shape, prefix);
        const dOut = along(dO, start, end);
        const delta = tf.sum(tf.mul(dOut, along(saved.o, start, end)), -1, true); // [P*kv*G*share, Tq, 1]

        const own = [ownRows, share * queries, headDim];
        const qOwn = tf.reshape(q, own);
        const dOwn = tf.reshape(dOut, own);
        const dP = matmul(dOwn, along(saved.v, 0, end), false, true);
        const dS = tf.mul(p.own, tf.sub(dP, tf.reshape(delta, [ownRows, share * queries, 1])));
        let dq = tf.reshape(matmul(dS, k), [ownRows * share, queries, headDim]);
        const late: [number, number][] = [
          [0, 0],
          [0, length - end],
          [0, 0],
        ];
        const widen = (x: Tensor) => (end === length ? x : tf.pad(x, late));
        let dk = widen(matmul(dS, qOwn, true));
        let dv = widen(matmul(p.own, dOwn, true));
        if (before !== null) {
          dk = tf.add(dk, before.dk);
          dv = tf.add(dv, before.dv);
        }

        let pk: Tensor | null = null;
        let pv: Tensor | null = null;
        if (prefix !== null && p.prefix !== null) {
          const perPrompt = [prompts * kvHeads, group * share * queries, headDim];
          const qPrompt = tf.reshape(q, perPrompt);
          const dPrompt = tf.reshape(dOut, perPrompt);
          const dPp = matmul(dPrompt, prefix.v, false, true);
          const dSp = tf.mul(p.prefix, tf.sub(dPp, tf.reshape(delta, [prompts * kvHeads, group * share * queries, 1])));
          dq = tf.add(dq, tf.reshape(matmul(dSp, prefix.k), [ownRows * share, queries, headDim]));
          pk = matmul(dSp, qPrompt, true);
          pv = matmul(p.prefix, dPrompt, true);
          if (before?.pk && before.pv) {
            pk = tf.add(pk, before.pk);
            pv = tf.add(pv, before.pv);
          }
        }
        return { dq, dk, dv, pk, pv };
      });
      if (before !== null)
        tf.dispose([before.dk, before.dv, ...(before.pk && before.pv ? [before.pk, before.pv] : [])]);
      dqs.push(block.dq);
      sums = { dk: block.dk, dv: block.dv, pk: block.pk, pv: block.pv };
    });
    const { dk, dv, pk, pv } = sums as unknown as { dk: Tensor; dv: Tensor; pk: Tensor | null; pv: Tensor | null };
    return {
      dq: dqs.length === 1 ? (dqs[0] as Tensor) : tf.concat(dqs, 1),
      dk,
      dv,
      dPrefix: pk !== null && pv !== null ? { k: pk, v: pv } : null,
    };
  });
}
