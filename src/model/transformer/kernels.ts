/**
 * The few operations whose best form differs between backends. Everything else in the model is plain tfjs.
 * Invariants: nothing is read back; no array is filled in JavaScript; results do not depend on the backend beyond rounding.
 */
import { backendName, boolAttribute, hasRawOps, intAttribute, rawOp, scope, type Tensor, tf } from "../engine/tf.js";

/** a·b with optional transposes of the two last axes; both [M, K]·[K, N] or both [B, M, K]·[B, K, N]. */
export function matmul(a: Tensor, b: Tensor, transposeA = false, transposeB = false): Tensor {
  if (hasRawOps()) {
    return a.rank === 2
      ? rawOp("MatMul", [boolAttribute("transpose_a", transposeA), boolAttribute("transpose_b", transposeB)], [a, b])
      : rawOp("BatchMatMulV2", [boolAttribute("adj_x", transposeA), boolAttribute("adj_y", transposeB)], [a, b]);
  }
  if (backendName === "wasm") {
    // XNNPACK serves only the untransposed form; transposing first is ten times faster than the scalar loop.
    return scope(() => tf.matMul(transposeA ? swapLastAxes(a) : a, transposeB ? swapLastAxes(b) : b));
  }
  return tf.matMul(a, b, transposeA, transposeB);
}

function swapLastAxes(x: Tensor): Tensor {
  return tf.transpose(x, x.rank === 2 ? [1, 0] : [0, 2, 1]);
}

/** Rows of a matrix: table [R, d], ids [N] int32 → [N, d]. (tfjs-node's own kernel would read the ids back.) */
export function gatherRows(table: Tensor, ids: Tensor): Tensor {
  if (!hasRawOps()) return tf.gather(table, ids as never);
  return rawOp("GatherV2", [intAttribute("batch_dims", 0)], [table, ids, zeroIndex()]);
}

/** Sums rows into places: values [N, d], ids [N] int32 → [rows, d]; the transpose of `gatherRows`. */
export function scatterAddRows(values: Tensor, ids: Tensor, rows: number): Tensor {
  if (hasRawOps()) return rawOp("UnsortedSegmentSum", [], [values, ids, rowCount(rows)]);
  const [count, width] = values.shape as [number, number];
  return tf.scatterND(tf.reshape(ids, [count, 1]), values, [rows, width]);
}

/** Softmax over the last axis. */
export function softmax(x: Tensor): Tensor {
  return hasRawOps() ? rawOp("Softmax", [], [x]) : tf.softmax(x);
}

/** Log-softmax over the last axis. */
export function logSoftmax(x: Tensor): Tensor {
  if (hasRawOps()) return rawOp("LogSoftmax", [], [x]);
  return scope(() => {
    const shifted = tf.sub(x, tf.max(x, -1, true));
    return tf.sub(shifted, tf.log(tf.sum(tf.exp(shifted), -1, true)));
  });
}

/** Cumulative sum over the last axis. */
export function cumulativeSum(x: Tensor): Tensor {
  return tf.cumsum(x, x.rank - 1);
}

const cachedScalars = new Map<number, Tensor>();

/** An int32 scalar kept for the life of the process. */
function rowCount(value: number): Tensor {
  let found = cachedScalars.get(value);
  if (found === undefined) {
    found = tf.keep(tf.scalar(value, "int32"));
    cachedScalars.set(value, found);
  }
  return found;
}

function zeroIndex(): Tensor {
  return rowCount(0);
}
