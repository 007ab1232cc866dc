/** RMSNorm with an analytic gradient. Rows [N, d]; y = x · r · w with r = (mean(x²) + ε)^(−½). */

import type { ModelConfig } from "../io/config.js";
import { add, constant, matmul, meanSquare, mul, reshape, sub, sumRows } from "../tensor/kernels.js";
import { scope, type Tensor, tf } from "../tensor/tf.js";

/** The factor of normed rows, [d]: offset + w. Its gradient is that of w. */
export function normScale(weight: Tensor, { normOffset }: Pick<ModelConfig, "normOffset">): Tensor {
  return normOffset === 0 ? weight : add(weight, constant(normOffset));
}

export interface Normed {
  readonly y: Tensor; // [N, d]
  /** Reciprocal root mean square of each row. */
  readonly r: Tensor; // [N, 1]
}

export function rmsNorm(x: Tensor, weight: Tensor, epsilon: number): Normed {
  return scope(() => {
    const r = tf.rsqrt(add(meanSquare(x), constant(epsilon))); // [N, 1]
    return { y: mul(mul(x, r), weight), r };
  });
}

/** dx = r·(g − x̂·mean(g·x̂)) with g = dy·w and x̂ = x·r; dw = Σ_rows dy·x̂. */
export function rmsNormBackward(
  dy: Tensor, // [N, d]
  x: Tensor, // [N, d]
  r: Tensor, // [N, 1]
  weight: Tensor, // [d]
): { readonly dx: Tensor; readonly dw: Tensor } {
  return scope(() => {
    const width = weight.shape[0] as number;
    const unit = mul(x, r); // [N, d]
    const product = mul(dy, unit); // [N, d]
    const dw = sumRows(product); // [d]
    const mean = matmul(product, reshape(mul(weight, constant(1 / width)), [width, 1])); // [N, 1]
    const dx = mul(sub(mul(dy, weight), mul(unit, mean)), r); // [N, d]
    return { dx, dw };
  });
}
