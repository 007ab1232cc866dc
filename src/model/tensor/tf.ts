/**
 * Owns the one TensorFlow.js namespace of this process as a live binding: model code imports `tf` from here and never
 * names a backend package. Invariant: set exactly once, by `openBackend`, before any model code runs.
 */
import type * as tfCore from "@tensorflow/tfjs-core";
import type { BackendName, EnginePrecision } from "../../contracts/engine.js";
import type { OperationName } from "./graph/operations.js";
import type { NativeBinding } from "./native/native.js";

export type Tf = typeof tfCore;
export type Tensor = tfCore.Tensor;

/** Attribute of a raw TensorFlow operation. */
export type RawAttribute =
  | { readonly name: string; readonly kind: "bool"; readonly value: boolean }
  | { readonly name: string; readonly kind: "int"; readonly value: number }
  | { readonly name: string; readonly kind: "type"; readonly value: "float32" | "int32" };

/** tfjs-node's record of a tensor; `id` is the binding's handle once the values have been uploaded. */
interface NativeTensor {
  readonly shape: readonly number[];
  readonly dtype: number;
  id: number;
  values: unknown;
  refCount: number;
}

interface RawBackend {
  readonly binding: NativeBinding;
  readonly tensorMap: { get(id: object): NativeTensor; set(id: object, tensor: NativeTensor): void };
  executeSingleOutput(name: string, attributes: readonly NativeAttribute[], inputs: readonly Tensor[]): Tensor;
  getInputTensorIds(tensors: readonly Tensor[]): number[];
}

type NativeAttribute = { readonly name: string; readonly type: number; readonly value: unknown };

/** Takes operations instead of running them: the tracer of graphs. */
export interface Recorder {
  /** Element type of matrix products. */
  readonly products: EnginePrecision;
  operation(name: OperationName, attributes: readonly RawAttribute[], inputs: readonly Tensor[]): Tensor;
  constant(values: readonly number[], shape: readonly number[], dtype: "float32" | "int32"): Tensor;
  cast(x: Tensor, dtype: EnginePrecision): Tensor;
  /** `x`, computed after `previous`: keeps a graph from holding the work of many blocks at once. */
  after(x: Tensor, previous: Tensor): Tensor;
}

export let tf: Tf;
export let backendName: BackendName;
let rawBackend: RawBackend | null = null;
let recorder: Recorder | null = null;
/** Attribute lists in the binding's form; there are few, since kernels reuse theirs. */
const nativeLists = new WeakMap<readonly RawAttribute[], readonly NativeAttribute[]>();

/** Makes `namespace` the process's TensorFlow.js; its backend must be active already. */
export function setTf(namespace: Tf, name: BackendName): void {
  tf = namespace;
  backendName = name;
  rawBackend = name === "tensorflow" ? (namespace.backend() as unknown as RawBackend) : null;
}

/** The native backend. Only where `backendName` is tensorflow. */
export function native(): RawBackend {
  return rawBackend as RawBackend;
}

/** The open tracer, or null where operations are run. */
export function recording(): Recorder | null {
  return recorder;
}

export function setRecorder(next: Recorder | null): void {
  recorder = next;
}

/** True where `rawOp` works: on the tensorflow backend, and while a graph is traced. */
export function hasRawOps(): boolean {
  return rawBackend !== null || recorder !== null;
}

/** One raw TensorFlow operation with a single output; attributes left out take their defaults or follow the inputs. */
export function rawOp(name: OperationName, attributes: readonly RawAttribute[], inputs: readonly Tensor[]): Tensor {
  if (recorder !== null) return recorder.operation(name, attributes, inputs);
  return runOp(name, attributes, inputs);
}

/** Runs one operation at once. Of weir's own, only own/run.ts does. */
export function runOp(name: string, attributes: readonly RawAttribute[], inputs: readonly Tensor[]): Tensor {
  return (rawBackend as RawBackend).executeSingleOutput(name, nativeAttributes(attributes), inputs);
}

function nativeAttributes(attributes: readonly RawAttribute[]): readonly NativeAttribute[] {
  let list = nativeLists.get(attributes);
  if (list === undefined) {
    const { binding } = native();
    const types = { bool: binding.TF_ATTR_BOOL, int: binding.TF_ATTR_INT, type: binding.TF_ATTR_TYPE };
    const elements = { float32: binding.TF_FLOAT, int32: binding.TF_INT32 };
    list = attributes.map(({ name, kind, value }) => ({
      name,
      type: types[kind],
      value: kind === "type" ? elements[value as "float32" | "int32"] : value,
    }));
    nativeLists.set(attributes, list);
  }
  return list;
}

export function boolAttribute(name: string, value: boolean): RawAttribute {
  return { name, kind: "bool", value };
}

export function intAttribute(name: string, value: number): RawAttribute {
  return { name, kind: "int", value };
}

/** Element type; needed only where TensorFlow does not infer it (lists of inputs). */
export function typeAttribute(name: string, value: "float32" | "int32"): RawAttribute {
  return { name, kind: "type", value };
}

/**
 * The same for a body that awaits something that makes no tensors. Invariant: no other scope of this process opens while it
 * waits; the engine works on one request at a time.
 */
export async function asyncScope<T>(body: () => Promise<T>): Promise<T> {
  const engine = tf.engine();
  engine.startScope();
  let result: T | undefined;
  try {
    result = await body();
    return result;
  } finally {
    engine.endScope(result as never);
  }
}

/**
 * Runs `body` and frees every tensor made in it, but for those in its result (any nesting of objects, arrays and null)
 * and those marked with `tf.keep`.
 */
export function scope<T>(body: () => T): T {
  return tf.tidy(body as () => Tensor) as T;
}
