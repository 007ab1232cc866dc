/**
 * The batch layout of the model. A segment is P prompts × G rows of up to T tokens, each row causal within itself. Either
 * every row takes T tokens, right-padded, or the rows are *packed*: their tokens are concatenated without padding; only
 * attention distinguishes rows, each of which attends to itself alone. Rows may attend to a *prefix*: keys and values that the G rows
 * of a prompt share, computed once per prompt by a segment of its own (G = 1). The last token of a prompt belongs to the
 * rows, not to the prefix, so all outputs lie in the rows, and the prefix runs for its keys and values only.
 */
import { type Tensor, tf } from "../tensor/tf.js";
import type { RopeSlice, RopeTables } from "./rope.js";

export interface Segment {
  readonly prompts: number; // P
  readonly group: number; // G
  readonly length: number; // T
  readonly tokens: number; // N = P*G*T unless packed
  readonly ids: Tensor; // [N] int32
  /** Where each packed row's tokens begin and the last one's end; null where every row takes T tokens. */
  readonly offsets: Tensor | null; // [P*G + 1] int32
  readonly rope: RopeSlice;
}

/** Keys and values of one layer: rotated, laid out by key/value head. */
export interface KeyValue {
  readonly k: Tensor; // [P*kv*G, T, dh]
  readonly v: Tensor; // [P*kv*G, T, dh]
}

/** A shared prefix: one KeyValue per layer and the mask of its padding. */
export interface Prefix {
  readonly length: number; // Tp
  readonly layers: readonly KeyValue[]; // k, v [P*kv, Tp, dh]
  /** 0 at real positions, MASKED at padding; null where nothing is padded. */
  readonly mask: Tensor | null; // [P, 1, Tp]
  /** Real positions of each prompt. */
  readonly lengths: Tensor; // [P] int32
}

/** Added to a score to remove it: far below any score, and finite, so that no row can become NaN (I7). */
export const MASKED = -1e9;

/** Right-pads rows with token 0 to length T and uploads them: [rows*T] int32. */
export function padIds(rows: readonly (readonly number[])[], length: number): Tensor {
  const ids = new Int32Array(rows.length * length);
  rows.forEach((row, index) => {
    ids.set(row, index * length);
  });
  return tf.tensor1d(ids, "int32");
}

/** Padding mask of prefixes with the given true lengths; null where all are full. */
export function prefixMask(lengths: readonly number[], length: number): Tensor | null {
  if (lengths.every((own) => own === length)) return null;
  const mask = new Float32Array(lengths.length * length);
  lengths.forEach((own, row) => {
    mask.fill(MASKED, row * length + own, (row + 1) * length);
  });
  return tf.tensor3d(mask, [lengths.length, 1, length]);
}

/** The tokens of packed rows, one after another, and token 0 up to `tokens`. */
function packIds(rows: readonly (readonly number[])[], tokens: number): Pick<Segment, "ids" | "offsets"> {
  const ids = new Int32Array(tokens);
  const offsets = new Int32Array(rows.length + 1);
  rows.forEach((row, index) => {
    const at = offsets[index] as number;
    ids.set(row, at);
    offsets[index + 1] = at + row.length;
  });
  return { ids: tf.tensor1d(ids, "int32"), offsets: tf.tensor1d(offsets, "int32") };
}

/** `tokens`: the rows are packed into so many; null: each takes `length`. */
function layOut(
  rows: readonly (readonly number[])[],
  length: number,
  tokens: number | null,
): Pick<Segment, "tokens" | "ids" | "offsets"> {
  if (tokens === null) return { tokens: rows.length * length, ids: padIds(rows, length), offsets: null };
  return { tokens, ...packIds(rows, tokens) };
}

/** A segment whose rows all start at position 0: plain sequences (P = rows, G = 1) or prefixes. */
export function plainSegment(
  rows: readonly (readonly number[])[],
  length: number,
  tables: RopeTables,
  tokens: number | null = null,
): Segment {
  return { prompts: rows.length, group: 1, length, ...layOut(rows, length, tokens), rope: tables.leading(length) };
}

/** A segment of P×G rows (row p·G+g) that start at position `starts[p]`. */
export function groupedSegment(
  rows: readonly (readonly number[])[],
  group: number,
  length: number,
  starts: readonly number[],
  tables: RopeTables,
  tokens: number | null = null,
): Segment {
  return {
    prompts: starts.length,
    group,
    length,
    ...layOut(rows, length, tokens),
    rope: positionsFrom(starts, length, tables),
  };
}

/** Rotary slices of positions start … start+T−1 for each prompt. */
export function positionsFrom(starts: readonly number[], length: number, tables: RopeTables): RopeSlice {
  const positions = new Int32Array(starts.length * length);
  let last = 0;
  starts.forEach((start, prompt) => {
    for (let t = 0; t < length; t += 1) positions[prompt * length + t] = start + t;
    last = Math.max(last, start + length);
  });
  const uploaded = tf.tensor1d(positions, "int32");
  const slice = tables.at(uploaded, starts.length, last);
  uploaded.dispose();
  return slice;
}
