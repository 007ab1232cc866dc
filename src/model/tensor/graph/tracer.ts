/**
 * The recorder of a graph: takes operations, emits nodes and infers shapes; trace.ts makes tfjs call it.
 * Invariants: nothing is computed; tensors of other backends are refused (WEIR_E_SHAPE): they must be inputs;
 * a bfloat16 value is a tf.Tensor labelled float32, which only weir's own kernels may read.
 */
import type * as tfCore from "@tensorflow/tfjs-core";
import type { EnginePrecision } from "../../../contracts/engine.js";
import { WeirError } from "../../../errors.js";
import { type RawAttribute, type Recorder, type Tensor, tf } from "../tf.js";
import { Graph, reference } from "./graph.js";
import type { OperationName } from "./operations.js";
import type { Attributes, GraphDtype, GraphValue } from "./values.js";

/** Arrays of one value above this length become a Fill. */
const FILL_FROM = 64;

/** Operations that take bfloat16 as it is. */
const NARROW = new Set([
  "MatMul",
  "BatchMatMulV2",
  "Reshape",
  "Transpose",
  "Slice",
  "ConcatV2",
  "GatherV2",
  "Identity",
  "Pad",
]);

let current: Tracer | null = null;

/** Opens a trace, or closes it with null; only trace.ts does. */
export function setOpenTrace(tracer: Tracer | null): void {
  current = tracer;
}

/** The trace that is open, or null. */
export function traceAtWork(): Tracer | null {
  return current;
}

/** The trace that is open. Throws WEIR_E_STATE where none is. */
export function openTrace(): Tracer {
  if (current === null) throw new WeirError("WEIR_E_STATE", "a graph operation was emitted while no trace was open");
  return current;
}

/** Body of a loop: its values, and those that entered from outside. */
export interface Frame {
  readonly inside: Set<string>;
  readonly casts: Map<string, GraphValue>;
  bring(value: GraphValue): GraphValue;
}

export class Tracer implements Recorder {
  readonly graph = new Graph();
  readonly products: EnginePrecision;
  /** Products of matrices are taken in weir's own kernel. */
  readonly ownProducts: boolean;
  private readonly values = new WeakMap<object, GraphValue>();
  private readonly casts = new Map<string, GraphValue>();
  private inputs = 0;
  /** The loop whose body is being traced. */
  frame: Frame | null = null;

  /** `backend`: the tfjs backend that traced tensors belong to. */
  constructor(
    products: EnginePrecision,
    ownProducts: boolean,
    private readonly backend: tfCore.KernelBackend,
  ) {
    this.products = products;
    this.ownProducts = ownProducts;
  }

  /** A fed value. */
  input(shape: readonly number[], dtype: GraphDtype): Tensor {
    this.inputs += 1;
    return this.tensor(this.graph.placeholder(`input_${this.inputs - 1}`, dtype, shape));
  }

  /** The value behind a tensor of this trace. */
  valueOf(tensor: { readonly dataId: object; readonly shape: readonly number[] }): GraphValue {
    const found = this.values.get(tensor.dataId);
    if (found === undefined) {
      throw new WeirError(
        "WEIR_E_SHAPE",
        `a tensor of shape [${tensor.shape}] was made outside the function that is traced; pass it in as an input`,
      );
    }
    return found;
  }

  tensor(value: GraphValue): Tensor {
    return tf.engine().makeTensorFromTensorInfo(this.info(value), this.backend);
  }

  /** What a tfjs kernel returns. */
  info(value: GraphValue): tfCore.TensorInfo {
    const dataId = {};
    this.values.set(dataId, value);
    return { dataId, shape: [...value.shape], dtype: value.dtype === "bfloat16" ? "float32" : value.dtype };
  }

  /** An operation's first output. Arithmetic is float32: bfloat16 inputs are widened, but for layout and products. */
  add(name: OperationName, inputs: readonly GraphValue[], attributes: Attributes = {}): GraphValue {
    const keep = NARROW.has(name) && inputs.every(({ dtype }) => dtype !== "float32");
    const widened = keep
      ? inputs
      : inputs.map((input) => (input.dtype === "bfloat16" ? this.castValue(input, "float32") : input));
    return this.addRaw(name, widened, attributes)[0] as GraphValue;
  }

  /** One of TensorFlow's operations as it is, all its outputs. */
  addRaw(name: OperationName, inputs: readonly GraphValue[], attributes: Attributes = {}): GraphValue[] {
    return this.emit(name, inputs, attributes);
  }

  /** One of weir's own operations, all its outputs. Only the generated wrappers come here, through own/run.ts. */
  addOwn(name: string, inputs: readonly GraphValue[], attributes: Attributes): GraphValue[] {
    return this.emit(name, inputs, attributes);
  }

  /** Inside a loop, values from outside are brought in. */
  private emit(name: string, inputs: readonly GraphValue[], attributes: Attributes): GraphValue[] {
    const { frame } = this;
    if (frame === null) return this.graph.add(name, inputs, attributes);
    const made = this.graph.add(
      name,
      inputs.map((input) => frame.bring(input)),
      attributes,
    );
    for (const value of made) frame.inside.add(value.node);
    return made;
  }

  /** The value under another float type; a value that was just widened or narrowed is taken from before. */
  private castValue(value: GraphValue, dtype: EnginePrecision): GraphValue {
    if (value.dtype === dtype) return value;
    const casts = this.frame?.casts ?? this.casts;
    const key = reference(value);
    const known = casts.get(key);
    if (known !== undefined) return known;
    const made = this.addRaw("Cast", [value], { DstT: { kind: "type", value: dtype } })[0] as GraphValue;
    casts.set(key, made);
    // Widening loses nothing, so the way back is the value itself.
    if (dtype === "float32") casts.set(reference(made), value);
    return made;
  }

  integers(values: readonly number[]): GraphValue {
    return this.graph.constant(values, [values.length], "int32");
  }

  scalar(value: number, dtype: GraphDtype): GraphValue {
    return this.graph.constant([value], [], dtype);
  }

  operation(name: OperationName, attributes: readonly RawAttribute[], inputs: readonly Tensor[]): Tensor {
    // Element types follow the inputs here; only the binding needs to be told.
    const told = attributes.filter(({ kind }) => kind !== "type");
    const listed = Object.fromEntries(told.map(({ name: key, ...value }) => [key, value])) as Attributes;
    return this.tensor(
      this.add(
        name,
        inputs.map((input) => this.valueOf(input)),
        listed,
      ),
    );
  }

  constant(values: readonly number[], shape: readonly number[], dtype: "float32" | "int32"): Tensor {
    return this.tensor(this.graph.constant(values, shape, dtype));
  }

  cast(x: Tensor, dtype: EnginePrecision): Tensor {
    const value = this.valueOf(x);
    return value.dtype === dtype ? x : this.tensor(this.castValue(value, dtype));
  }

  after(x: Tensor, previous: Tensor): Tensor {
    const made = this.add("Identity", [this.valueOf(x)]);
    this.graph.addControl(made.node, this.valueOf(previous).node);
    return this.tensor(made);
  }

  /** Values that tfjs itself makes in JavaScript: `tf.scalar`, `tf.ones`, … */
  write(values: tfCore.BackendValues, shape: readonly number[], dtype: tfCore.DataType): GraphValue {
    if (dtype !== "float32" && dtype !== "int32" && dtype !== "bool") {
      throw new WeirError("WEIR_E_SHAPE", `a graph cannot hold a constant of type ${dtype}`);
    }
    const numbers = values as ArrayLike<number>;
    const first = numbers[0] ?? 0;
    if (numbers.length > FILL_FROM && Array.prototype.every.call(numbers, (value) => value === first)) {
      return this.add("Fill", [this.integers(shape), this.scalar(first, dtype)]);
    }
    return this.graph.constant(numbers, shape, dtype);
  }
}
