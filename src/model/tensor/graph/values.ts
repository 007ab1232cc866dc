/** Typed values between the nodes of a graph under construction. */

import type { EnginePrecision } from "../../../contracts/engine.js";

/** Element types that weir's graphs use. */
export type GraphDtype = EnginePrecision | "int32" | "bool";

/** TensorFlow's numbers of them (tensorflow/core/framework/types.proto). */
export const DTYPE_NUMBER: Readonly<Record<GraphDtype, number>> = { float32: 1, int32: 3, bool: 10, bfloat16: 14 };

export type AttributeValue =
  | { readonly kind: "type"; readonly value: GraphDtype }
  | { readonly kind: "bool"; readonly value: boolean }
  | { readonly kind: "int"; readonly value: number }
  | { readonly kind: "float"; readonly value: number }
  | { readonly kind: "string"; readonly value: string }
  | { readonly kind: "shape"; readonly value: readonly number[] }
  | { readonly kind: "tensor"; readonly value: ConstantTensor };

export interface ConstantTensor {
  readonly dtype: GraphDtype;
  readonly shape: readonly number[];
  readonly values: ArrayLike<number>;
}

export type Attributes = Readonly<Record<string, AttributeValue>>;

/** One output of one node. */
export interface GraphValue {
  readonly node: string;
  readonly output: number;
  readonly shape: readonly number[];
  readonly dtype: GraphDtype;
  /** Values of an int32 constant, from which shapes are inferred. */
  readonly constant: readonly number[] | null;
}

export const typeOf = (value: GraphDtype): AttributeValue => ({ kind: "type", value });
export const intOf = (value: number): AttributeValue => ({ kind: "int", value });
export const boolOf = (value: boolean): AttributeValue => ({ kind: "bool", value });
export const floatOf = (value: number): AttributeValue => ({ kind: "float", value });
