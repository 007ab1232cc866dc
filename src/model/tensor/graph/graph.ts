/**
 * A TensorFlow graph under construction: nodes in order, constants shared by value.
 * Invariants: every node's shape and type are known; constants are small (weights and tables are always fed).
 */
import { WeirError } from "../../../errors.js";
import { inferOwn } from "../own/infer.js";
import { isOwn, operationOf } from "../own/table.js";
import { OPERATIONS, type Operation } from "./operations.js";
import {
  type Attributes,
  type AttributeValue,
  type ConstantTensor,
  DTYPE_NUMBER,
  type GraphDtype,
  type GraphValue,
  intOf,
  typeOf,
} from "./values.js";
import { mapEntry, WireMessage } from "./wire.js";

/** Elements of one constant at most: shapes, axes, scalars, the rotation of a head. */
const CONSTANT_LIMIT = 65_536;

interface GraphNode {
  readonly name: string;
  readonly op: string;
  readonly inputs: string[];
  readonly attributes: Attributes;
  /** Values behind the inputs, as they were when the node was added. */
  readonly sources: readonly GraphValue[];
}

/** One operation of a graph, for measurements. */
export interface GraphOperation {
  readonly op: string;
  readonly inputs: readonly GraphValue[];
  readonly attributes: Attributes;
}

/** One of weir's own operations in the form of the table's entries. */
function ownOperation(op: string): Operation | undefined {
  if (!isOwn(op)) return undefined;
  return { types: operationOf(op).types, infer: (inputs, attributes) => inferOwn(op, inputs, attributes) };
}

export class Graph {
  private readonly nodes: GraphNode[] = [];
  private readonly constants = new Map<string, GraphValue>();

  get size(): number {
    return this.nodes.length;
  }

  /** The operations, without placeholders and constants. */
  operations(): GraphOperation[] {
    return this.nodes
      .filter(({ op }) => op !== "Placeholder" && op !== "Const")
      .map(({ op, sources, attributes }) => ({ op, inputs: sources, attributes }));
  }

  /** Has loops or branches of TensorFlow's control-flow operations. */
  get hasControlFlow(): boolean {
    return this.nodes.some(({ op }) => op === "Switch");
  }

  /** A value that is fed when the graph runs. */
  placeholder(name: string, dtype: GraphDtype, shape: readonly number[]): GraphValue {
    this.nodes.push({
      name,
      op: "Placeholder",
      inputs: [],
      sources: [],
      attributes: { dtype: typeOf(dtype), shape: { kind: "shape", value: shape } },
    });
    return { node: name, output: 0, shape, dtype, constant: null };
  }

  constant(values: ArrayLike<number>, shape: readonly number[], dtype: GraphDtype): GraphValue {
    if (values.length > CONSTANT_LIMIT) {
      throw new WeirError(
        "WEIR_E_SHAPE",
        `a constant of ${values.length} elements was about to be written into a graph; feed it, or make it from Range and Fill`,
      );
    }
    const key = `${dtype}[${shape}]${Array.from(values)}`;
    const shared = this.constants.get(key);
    if (shared !== undefined) return shared;
    const name = this.fresh("Const");
    const value: ConstantTensor = { dtype, shape, values };
    this.nodes.push({
      name,
      op: "Const",
      inputs: [],
      sources: [],
      attributes: { dtype: typeOf(dtype), value: { kind: "tensor", value } },
    });
    const made: GraphValue = {
      node: name,
      output: 0,

      shape,
      dtype,
      constant: dtype === "int32" ? Array.from(values) : null,
    };
    this.constants.set(key, made);
    return made;
  }

  /** Adds an operation; type attributes follow its inputs. Throws WEIR_E_SHAPE for an unknown operation or wrong shapes. */
  add(op: string, inputs: readonly GraphValue[], attributes: Attributes = {}): GraphValue[] {
    const operation = OPERATIONS[op] ?? ownOperation(op);
    if (operation === undefined) {
      throw new WeirError("WEIR_E_SHAPE", `the graph tracer does not know the TensorFlow operation ${op}`);
    }
    const types = Object.fromEntries(
      Object.entries(operation.types).map(([name, input]): [string, AttributeValue] => {
        const source = inputs.at(input) as GraphValue;
        return [name, typeOf(source.dtype)];
      }),
    );
    const outputs = operation.infer(inputs, attributes);
    const name = this.fresh(op);
    this.nodes.push({
      name,
      op,
      inputs: inputs.map(reference),
      attributes: { ...types, ...attributes },
      sources: inputs,
    });
    return outputs.map(({ shape, dtype }, output) => ({
      node: name,
      output,
      shape,
      dtype,
      constant: null,
    }));
  }

  /** Adds an input to an existing node: the back edge of a loop. */
  addInput(node: string, value: GraphValue): void {
    this.nodes.find(({ name }) => name === node)?.inputs.push(reference(value));
  }

  /** Makes `node` run after `other`. */
  addControl(node: string, other: string): void {
    this.nodes.find(({ name }) => name === node)?.inputs.push(`^${other}`);
  }

  /** GraphDef (graph.proto). */
  toGraphDef(): Uint8Array {
    const graph = new WireMessage();
    for (const node of this.nodes) graph.message(1, nodeMessage(node));
    // producer: the oldest graph version that all operations above are part of.
    return graph.message(4, new WireMessage().integer(1, 1395)).finish();
  }

  /** SavedModel with this graph under the tag `serve` (saved_model.proto, meta_graph.proto). */
  toSavedModel(): Uint8Array {
    const meta = new WireMessage().message(1, new WireMessage().text(4, "serve")).data(2, this.toGraphDef());
    return new WireMessage().integer(1, 1).message(2, meta).finish();
  }

  private fresh(op: string): string {
    return `${op}_${this.nodes.length}`;
  }
}

/** How graph inputs and fetches name a value. */
export function reference(value: GraphValue): string {
  return value.output === 0 ? value.node : `${value.node}:${value.output}`;
}

function nodeMessage({ name, op, inputs, attributes }: GraphNode): WireMessage {
  const message = new WireMessage().text(1, name).text(2, op);
  for (const input of inputs) message.text(3, input);
  for (const [key, value] of Object.entries(attributes)) message.message(5, mapEntry(key, attributeMessage(value)));
  if (op === "ConcatV2" && attributes.N === undefined) {
    message.message(5, mapEntry("N", attributeMessage(intOf(inputs.length - 1))));
  }
  if ((op === "Pack" || op === "Merge") && attributes.N === undefined) {
    message.message(5, mapEntry("N", attributeMessage(intOf(inputs.length))));
  }
  return message;
}

function shapeMessage(shape: readonly number[]): WireMessage {
  const message = new WireMessage();
  for (const size of shape) message.message(2, new WireMessage().integer(1, size));
  return message;
}

function attributeMessage(value: AttributeValue): WireMessage {
  const message = new WireMessage();
  switch (value.kind) {
    case "string":
      return message.text(2, value.value);
    case "int":
      return message.integer(3, value.value);
    case "float":
      return message.float(4, value.value);
    case "bool":
      return message.boolean(5, value.value);
    case "type":
      return message.integer(6, DTYPE_NUMBER[value.value]);
    case "shape":
      return message.message(7, shapeMessage(value.value));
    case "tensor":
      return message.message(8, tensorMessage(value.value));
  }
}

function tensorMessage({ dtype, shape, values }: ConstantTensor): WireMessage {
  const message = new WireMessage().integer(1, DTYPE_NUMBER[dtype]).message(2, shapeMessage(shape));
  return message.data(4, contentOf(dtype, values));
}

function contentOf(dtype: GraphDtype, values: ArrayLike<number>): Uint8Array {
  switch (dtype) {
    case "float32":
      return new Uint8Array(Float32Array.from(values).buffer);
    case "int32":
      return new Uint8Array(Int32Array.from(values).buffer);
    case "bool":
      return Uint8Array.from(values);
    case "bfloat16": {
      const bits = new Uint32Array(Float32Array.from(values).buffer);
      return new Uint8Array(Uint16Array.from(bits, (word) => (word + 0x7fff + ((word >>> 16) & 1)) >>> 16).buffer);
    }
  }
}
