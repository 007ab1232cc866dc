/** Gradients of a low-rank pair, without the gradient of the matrix it adapts. */

import { constant, gradientProduct, matmul, mul } from "../tensor/kernels.js";
import type { Tensor } from "../tensor/tf.js";
import { adapterNames } from "./adapter-names.js";

/** A weight's low-rank pair: W = W₀ + scale·b·a (adapters.ts). */
export interface AdapterPair {
  readonly a: Tensor; // [r, in]
  readonly b: Tensor; // [out, r]
  readonly scale: number;
}

/** The pair of a weight by its name; null where the weight is frozen. */
export type FindPair = (weight: string) => AdapterPair | null;

/** dB = scale·dyᵀ·(x·aᵀ) and dA = scale·(dy·b)ᵀ·x, given to `add` by name. */
export function adapterGradients(
  weight: string,
  { a, b, scale }: AdapterPair,
  dy: Tensor, // [N, out]
  x: Tensor, // [N, in]
  onward: (name: string, gradient: Tensor) => void,
): void {
  const names = adapterNames(weight);
  const scaled = (gradient: Tensor) => mul(gradient, constant(scale));
  onward(names.b, scaled(gradientProduct(dy, matmul(x, a, false, true))));
  onward(names.a, scaled(gradientProduct(matmul(dy, b), x)));
}
