/**
 * The operations of the model. On tensorflow they are raw operations: half the overhead of tfjs's own wrappers, shape
 * and axis arguments kept on the device, nothing read back. Elsewhere they are plain tfjs.
 * Invariants: no array is filled in JavaScript per call; results do not depend on the backend beyond rounding.
 */
import { ownProduct } from "./own/product.js";
import {
  backendName,
  boolAttribute,
  hasRawOps,
  intAttribute,
  type RawAttribute,
  rawOp,
  recording,
  scope,
  type Tensor,
  tf,
  typeAttribute,
} from "./tf.js";

const NONE: readonly RawAttribute[] = [];
const KEEP: Record<"true" | "false", RawAttribute[] | null> = { true: null, false: null };
const MATMUL: Record<string, RawAttribute[]> = {};
const CONCAT: Record<number, RawAttribute[]> = {};
const BATCHED: Record<string, RawAttribute[]> = {};
let gatherAttributes: RawAttribute[] | null = null;

/** Vectors per generation; a full generation lives until the next is full, so a vector just returned is never freed. */
const VECTOR_LIMIT = 2048;
let vectors = new Map<string, Tensor>();
let olderVectors = new Map<string, Tensor>();
const integers = new Map<number, Tensor>();
const floats = new Map<number, Tensor>();

/** An int32 vector, cached on the device by value: shapes, axes, permutations. */
function vector(values: readonly number[]): Tensor {
  const trace = recording();
  if (trace !== null) return trace.constant(values, [values.length], "int32");
  const key = values.join();
  const known = vectors.get(key) ?? olderVectors.get(key);
  if (known !== undefined) return known;
  if (vectors.size >= VECTOR_LIMIT) {
    tf.dispose([...olderVectors.values()]);
    olderVectors = vectors;
    vectors = new Map();
  }
  const made = tf.keep(tf.tensor1d([...values], "int32"));
  vectors.set(key, made);
  return made;
}

/** An int32 scalar, cached for the life of the process. */
function integer(value: number): Tensor {
  const trace = recording();
  if (trace !== null) return trace.constant([value], [], "int32");
  let found = integers.get(value);
  if (found === undefined) {
    found = tf.keep(tf.scalar(value, "int32"));
    integers.set(value, found);
  }
  return found;
}

/** A float32 scalar, cached for the life of the process: for constants of the model, never for values that change by step. */
export function constant(value: number): Tensor {
  const trace = recording();
  if (trace !== null) return trace.constant([value], [], "float32");
  let found = floats.get(value);
  if (found === undefined) {
    found = tf.keep(tf.scalar(value, "float32"));
    floats.set(value, found);
  }
  return found;
}

function keepDims(keep: boolean): RawAttribute[] {
  const key = keep ? "true" : "false";
  KEEP[key] ??= [boolAttribute("keep_dims", keep)];
  return KEEP[key];
}

export function add(a: Tensor, b: Tensor): Tensor {
  return hasRawOps() ? rawOp("AddV2", NONE, [a, b]) : tf.add(a, b);
}

export function sub(a: Tensor, b: Tensor): Tensor {
  return hasRawOps() ? rawOp("Sub", NONE, [a, b]) : tf.sub(a, b);
}

export function mul(a: Tensor, b: Tensor): Tensor {
  return hasRawOps() ? rawOp("Mul", NONE, [a, b]) : tf.mul(a, b);
}

export function divide(a: Tensor, b: Tensor): Tensor {
  return hasRawOps() ? rawOp("RealDiv", NONE, [a, b]) : tf.div(a, b);
}

export function exp(x: Tensor): Tensor {
  return hasRawOps() ? rawOp("Exp", NONE, [x]) : tf.exp(x);
}

export function sigmoid(x: Tensor): Tensor {
  return hasRawOps() ? rawOp("Sigmoid", NONE, [x]) : tf.sigmoid(x);
}

export function tanh(x: Tensor): Tensor {
  return hasRawOps() ? rawOp("Tanh", NONE, [x]) : tf.tanh(x);
}

export function erf(x: Tensor): Tensor {
  return hasRawOps() ? rawOp("Erf", NONE, [x]) : tf.erf(x);
}

export function relu(x: Tensor): Tensor {
  return hasRawOps() ? rawOp("Relu", NONE, [x]) : tf.relu(x);
}

/** Sum over the last axis. */
export function sumLast(x: Tensor, keep: boolean): Tensor {
  return hasRawOps() ? rawOp("Sum", keepDims(keep), [x, integer(-1)]) : tf.sum(x, -1, keep);
}

/** Sum over rows: [N, d] → [d]. */
export function sumRows(x: Tensor): Tensor {
  return hasRawOps() ? rawOp("Sum", keepDims(false), [x, integer(0)]) : tf.sum(x, 0);
}

/** Maximum over the last axis, which stays as an axis of one. */
export function maxLast(x: Tensor): Tensor {
  return hasRawOps() ? rawOp("Max", keepDims(true), [x, integer(-1)]) : tf.max(x, -1, true);
}

/** Mean of squares over the last axis, which stays as an axis of one. */
export function meanSquare(x: Tensor): Tensor {
  if (!hasRawOps()) return scope(() => tf.mean(tf.square(x), -1, true));
  return scope(() => rawOp("Mean", keepDims(true), [rawOp("Square", NONE, [x]), integer(-1)]));
}

/** The same values under another shape. */
export function reshape(x: Tensor, shape: readonly number[]): Tensor {
  return hasRawOps() ? rawOp("Reshape", NONE, [x, vector(shape)]) : tf.reshape(x, [...shape]);
}

export function transpose(x: Tensor, order: readonly number[]): Tensor {
  return hasRawOps() ? rawOp("Transpose", NONE, [x, vector(order)]) : tf.transpose(x, [...order]);
}

export function slice(x: Tensor, begin: readonly number[], size: readonly number[]): Tensor {
  return hasRawOps() ? rawOp("Slice", NONE, [x, vector(begin), vector(size)]) : tf.slice(x, [...begin], [...size]);
}

/** Joins float32 tensors along an axis; a single one is returned as it is. */
export function concat(parts: readonly Tensor[], axis: number): Tensor {
  if (parts.length === 1) return parts[0] as Tensor;
  if (!hasRawOps()) return tf.concat([...parts], axis);
  CONCAT[parts.length] ??= [intAttribute("N", parts.length), typeAttribute("T", "float32")];
  return rawOp("ConcatV2", CONCAT[parts.length]!, [...parts, integer(axis)]);
}

/** a·b with optional transposes of the two last axes; both [M, K]·[K, N] or both [B, M, K]·[B, K, N]. */
export function matmul(a: Tensor, b: Tensor, transposeA = false, transposeB = false): Tensor {
  const trace = recording();
  const own = ownProduct(a, b, { transposeA, transposeB, plus: null, wide: false });
  if (own) return own;
  if (trace?.products === "bfloat16") {
    return rawProduct(trace.cast(a, "bfloat16"), trace.cast(b, "bfloat16"), transposeA, transposeB);
  }
  if (hasRawOps()) return rawProduct(a, b, transposeA, transposeB);
  if (backendName === "wasm") {
    // XNNPACK serves only the untransposed form; transposing first is ten times faster than the scalar loop.
    // (Splitting batches for it too was measured to be slower, because of slicing and packing.)
    return scope(() => tf.matMul(transposeA ? swapLastAxes(a) : a, transposeB ? swapLastAxes(b) : b));
  }
  return tf.matMul(a, b, transposeA, transposeB);
}

/** aᵀ·b as a float32 gradient: [K, M]ᵀ·[K, N]. */
export function gradientProduct(a: Tensor, b: Tensor): Tensor {
  const own = ownProduct(a, b, { transposeA: true, transposeB: false, plus: null, wide: true });
  return own ?? widen(matmul(a, b, true));
}

/** plus + a·bᵀ in float32: [M, N] + [M, K]·[N, K]ᵀ. */
export function addProduct(plus: Tensor, a: Tensor, b: Tensor): Tensor {
  const own = ownProduct(a, b, { transposeA: false, transposeB: true, plus, wide: true });
  return own ?? add(plus, matmul(a, b, false, true));
}

function rawProduct(a: Tensor, b: Tensor, transposeA: boolean, transposeB: boolean): Tensor {
  const key = `${transposeA}${transposeB}`;
  if (a.rank === 2) {
    MATMUL[key] ??= [boolAttribute("transpose_a", transposeA), boolAttribute("transpose_b", transposeB)];
    return rawOp("MatMul", MATMUL[key], [a, b]);
  }
  BATCHED[key] ??= [boolAttribute("adj_x", transposeA), boolAttribute("adj_y", transposeB)];
  return rawOp("BatchMatMulV2", BATCHED[key], [a, b]);
}

function swapLastAxes(x: Tensor): Tensor {
  return tf.transpose(x, x.rank === 2 ? [1, 0] : [0, 2, 1]);
}

/** Rows of a table [R, …], ids [N] int32 → [N, …]. (tfjs-node's own kernel reads the ids back.) */
export function gatherRows(table: Tensor, ids: Tensor): Tensor {
  if (!hasRawOps()) return tf.gather(table, ids as never);
  gatherAttributes ??= [intAttribute("batch_dims", 0)];
  return rawOp("GatherV2", gatherAttributes, [table, ids, integer(0)]);
}

/** Sums rows into places: values [N, d], ids [N] int32 → [rows, d]; the transpose of `gatherRows`. */
export function scatterAddRows(values: Tensor, ids: Tensor, rows: number): Tensor {
  if (hasRawOps()) return rawOp("UnsortedSegmentSum", NONE, [values, ids, integer(rows)]);
  const [count, width] = values.shape as [number, number];
  return scope(() => tf.scatterND(tf.reshape(ids, [count, 1]), values, [rows, width]));
}

/** Σx² of a whole tensor, as a scalar. */
export function squaredSum(x: Tensor): Tensor {
  return scope(() =>
    hasRawOps() ? rawOp("Mul", NONE, [rawOp("L2Loss", NONE, [x]), constant(2)]) : tf.sum(tf.square(x)),
  );
}

/** Cumulative sum over the last axis. */
export function cumulativeSum(x: Tensor): Tensor {
  return hasRawOps() ? rawOp("Cumsum", NONE, [x, integer(-1)]) : tf.cumsum(x, x.rank - 1);
}

/** Casts to the type of the products: bfloat16 in a graph of that precision, else unchanged. */
export function narrow(x: Tensor): Tensor {
  const trace = recording();
  return trace?.products === "bfloat16" ? trace.cast(x, "bfloat16") : x;
}

/** Casts to float32. */
export function widen(x: Tensor): Tensor {
  return recording()?.cast(x, "float32") ?? x;
}

/** 0 … count − 1 as int32. */
export function range(count: number): Tensor {
  if (recording() === null) return tf.range(0, count, 1, "int32");
  return rawOp("Range", NONE, [integer(0), integer(count), integer(1)]);
}

/** Softmax over the last axis. */
export function softmaxLast(x: Tensor): Tensor {
  return hasRawOps() ? rawOp("Softmax", NONE, [x]) : tf.softmax(x, -1);
}

/** Elements of `yes` where the condition holds, else of `no`; all three broadcast. */
export function select(condition: Tensor, yes: Tensor, no: Tensor): Tensor {
  return hasRawOps() ? rawOp("SelectV2", NONE, [condition, yes, no]) : tf.where(condition as never, yes, no);
}

/** Entries of an axis: x [.., n, ..], ids [m] int32 → [.., m, ..]. */
export function gatherAlong(x: Tensor, ids: Tensor, axis: number): Tensor {
  gatherAttributes ??= [intAttribute("batch_dims", 0)];
  return hasRawOps() ? rawOp("GatherV2", gatherAttributes, [x, ids, integer(axis)]) : tf.gather(x, ids as never, axis);
}

/** `x` itself; inside a graph, not before `previous` has been computed (null: at once). */
export function after(x: Tensor, previous: Tensor | null): Tensor {
  const trace = recording();
  return trace === null || previous === null ? x : trace.after(x, previous);
}
