/** Owns when a product of two matrices is taken in weir's own kernel. */
import { traceAtWork } from "../graph/tracer.js";
import type { Tensor } from "../tf.js";
import { weirProduct } from "./operations.generated.js";

/** Rows from which on a product is worth packing its right side for. */
const LEAST_ROWS = 32;

/** Which product of two matrices is meant. */
export interface ProductForm {
  readonly transposeA: boolean;
  readonly transposeB: boolean;
  /** [M, N], added in float32; the result is float32 then. */
  readonly plus: Tensor | null;
  /** The result is float32, whatever the products' type. */
  readonly wide: boolean;
}

/** a·b (+ plus) as [M, N] in weir's own kernel; null outside of a graph and where TensorFlow's product serves better. */
export function ownProduct(a: Tensor, b: Tensor, { transposeA, transposeB, plus, wide }: ProductForm): Tensor | null {
  const trace = traceAtWork();
  const [rows = 0, inner = 0] = transposeA ? [a.shape[1], a.shape[0]] : a.shape;
  if (trace === null || !trace.ownProducts || a.rank !== 2 || rows < LEAST_ROWS || inner === 0) return null;
  return weirProduct(
    {
      a: trace.cast(a, trace.products),
      b: trace.cast(b, trace.products),
      plus: plus === null ? null : trace.cast(plus, "float32"),
    },
    {
      transposeA: transposeA ? 1 : 0,
      transposeB: transposeB ? 1 : 0,
      S: wide || plus !== null ? "float32" : trace.products,
    },
  ).c;
}
