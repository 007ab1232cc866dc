/**
 * Owns the one TensorFlow.js namespace of this process as a live binding: model code imports `tf` from here and never
 * names a backend package. Invariant: set exactly once, by `openBackend`, before any model code runs.
 */
import type * as tfCore from "@tensorflow/tfjs-core";
import type { BackendName } from "../../contracts/engine.js";

export type Tf = typeof tfCore;
export type Tensor = tfCore.Tensor;

/** Attribute of a raw TensorFlow operation. */
export interface RawAttribute {
  readonly name: string;
  readonly type: number;
  readonly value: unknown;
}

interface RawBackend {
  readonly binding: Readonly<Record<string, number>>;
  executeSingleOutput(name: string, attributes: readonly RawAttribute[], inputs: readonly Tensor[]): Tensor;
}

export let tf: Tf;
export let backendName: BackendName;
let rawBackend: RawBackend | null = null;
let attributeTypes = { bool: 0, int: 0, type: 0 };
let elementTypes = { float32: 0, int32: 0 };

/** Makes `namespace` the process's TensorFlow.js; its backend must be active already. */
export function setTf(namespace: Tf, name: BackendName): void {
  tf = namespace;
  backendName = name;
  rawBackend = name === "tensorflow" ? (namespace.backend() as unknown as RawBackend) : null;
  if (rawBackend !== null) {
    const { TF_ATTR_BOOL = 0, TF_ATTR_INT = 0, TF_ATTR_TYPE = 0 } = rawBackend.binding;
    const { TF_FLOAT = 0, TF_INT32 = 0 } = rawBackend.binding;
    attributeTypes = { bool: TF_ATTR_BOOL, int: TF_ATTR_INT, type: TF_ATTR_TYPE };
    elementTypes = { float32: TF_FLOAT, int32: TF_INT32 };
  }
}

/** True where raw TensorFlow operations can be run (`rawOp`). */
export function hasRawOps(): boolean {
  return rawBackend !== null;
}

/** One raw TensorFlow operation with a single output; attributes left out take their defaults or follow the inputs. */
export function rawOp(name: string, attributes: readonly RawAttribute[], inputs: readonly Tensor[]): Tensor {
  return (rawBackend as RawBackend).executeSingleOutput(name, attributes, inputs);
}

export function boolAttribute(name: string, value: boolean): RawAttribute {
  return { name, type: attributeTypes.bool, value };
}

export function intAttribute(name: string, value: number): RawAttribute {
  return { name, type: attributeTypes.int, value };
}

/** Element type; needed only where TensorFlow does not infer it (lists of inputs). */
export function typeAttribute(name: string, dtype: "float32" | "int32"): RawAttribute {
  return { name, type: attributeTypes.type, value: elementTypes[dtype] };
}

/**
 * Runs `body` and frees every tensor made in it, but for those in its result (any nesting of objects, arrays and null)
 * and those marked with `tf.keep`.
 */
export function scope<T>(body: () => T): T {
  return tf.tidy(body as () => Tensor) as T;
}
