/** Runs weir's kernels by the raw binding, on arrays in and out, alone and in graphs; says where they cannot be had. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { mapEntry, WireMessage } from "../../src/model/tensor/graph/wire.js";
import {
  loadKernels,
  loadNativeTf,
  locateNative,
  type NativeBinding,
  nativeBinding,
} from "../../src/model/tensor/native/index.js";

export type KernelType = "float32" | "bfloat16";

/** A tensor of float32 or int32 values; `type` bfloat16 hands the values over rounded. */
export interface Given {
  readonly shape: readonly number[];
  readonly values: Float32Array | Int32Array;
  readonly type?: KernelType;
}

export type KernelAttributes = Readonly<Record<string, number | KernelType | "int32">>;

/** TensorFlow's numbers of types. */
const NUMBERS = { float32: 1, int32: 3, bfloat16: 14 } as const;
/** Attributes of type float; other numbers are of type int. */
const FLOATS = new Set(["epsilon"]);

export interface GraphNode {
  readonly name: string;
  readonly op: string;
  readonly inputs: readonly string[];
  readonly attributes: KernelAttributes;
}

export interface Kernels {
  /** One operation; its outputs in float32. */
  run(operation: string, attributes: KernelAttributes, inputs: readonly Given[], outputs: number): Float32Array[];
  /** A graph of float32 inputs by name; the values fetched (`node` or `node:output`) in float32. */
  runGraph(
    inputs: Readonly<Record<string, Given>>,
    nodes: readonly GraphNode[],
    fetches: readonly string[],
  ): Float32Array[];
}

/** The way to run kernels, or null with one line on stdout where there is none. */
export function openKernels(what: string): Kernels | null {
  const location = locateNative();
  const tf = location.found ? loadNativeTf() : null;
  const state = tf === null ? { loaded: false, reason: location.reason } : loadKernels();
  if (tf === null || !state.loaded) {
    process.stdout.write(`${what}: left out, ${state.reason}\n`);
    return null;
  }
  const binding = nativeBinding(tf);
  return {
    run(operation, attributes, inputs, outputs) {
      const ids = inputs.map((input) => upload(binding, input));
      const results = binding.executeOp(operation, attributesOf(binding, attributes), ids, outputs);
      for (const id of ids) binding.deleteTensor(id);
      return results.map(({ id, dtype }) => read(binding, id, dtype));
    },
    runGraph(inputs, nodes, fetches) {
      const directory = mkdtempSync(join(tmpdir(), "weir-kernel-graph-"));
      mkdirSync(join(directory, "variables"));
      writeFileSync(join(directory, "saved_model.pb"), savedModel(inputs, nodes));
      const model = binding.loadSavedModel(directory, "serve");
      rmSync(directory, { recursive: true });
      const ids = Object.values(inputs).map((input) => upload(binding, input));
      const port = (name: string) => (name.includes(":") ? name : `${name}:0`);
      const results = binding.runSavedModel(model, ids, Object.keys(inputs).map(port).join(), fetches.map(port).join());
      const values = results.map(({ id, dtype }) => read(binding, id, dtype));
      for (const id of ids) binding.deleteTensor(id);
      binding.deleteSavedModel(model);
      return values;
    },
  };
}

/** Field numbers: NodeDef name 1, op 2, input 3, attr 5; AttrValue i 3, f 4, type 6; see graph.proto, attr_value.proto. */
function savedModel(inputs: Readonly<Record<string, Given>>, nodes: readonly GraphNode[]): Uint8Array {
  const graph = new WireMessage();
  const node = (
    name: string,
    op: string,
    attributes: readonly (readonly [string, WireMessage])[],
    from: readonly string[],
  ) => {
    const message = new WireMessage().text(1, name).text(2, op);
    for (const input of from) message.text(3, input);
    for (const [key, value] of attributes) message.message(5, mapEntry(key, value));
    graph.message(1, message);
  };
  const type = (number: number) => new WireMessage().integer(6, number);
  for (const [name, { values }] of Object.entries(inputs)) {
    node(name, "Placeholder", [["dtype", type(values instanceof Int32Array ? NUMBERS.int32 : NUMBERS.float32)]], []);
  }
  for (const { name, op, inputs: from, attributes } of nodes) {
    const list = Object.entries(attributes).map(([key, value]) => {
      if (typeof value === "string") return [key, type(NUMBERS[value])] as const;
      const number = new WireMessage();
      return [key, FLOATS.has(key) ? number.float(4, value) : number.integer(3, value)] as const;
    });
    node(name, op, list, from);
  }
  graph.message(4, new WireMessage().integer(1, 1395));
  const meta = new WireMessage().message(1, new WireMessage().text(4, "serve")).message(2, graph);
  return new WireMessage().integer(1, 1).message(2, meta).finish();
}

function attributesOf(binding: NativeBinding, attributes: KernelAttributes) {
  return Object.entries(attributes).map(([name, value]) => {
    if (typeof value === "string") return { name, type: binding.TF_ATTR_TYPE, value: NUMBERS[value] };
    return { name, type: FLOATS.has(name) ? binding.TF_ATTR_FLOAT : binding.TF_ATTR_INT, value };
  });
}

function cast(binding: NativeBinding, id: number, from: number, to: number): number {
  const type = (name: string, value: number) => ({ name, type: binding.TF_ATTR_TYPE, value });
  const [made] = binding.executeOp("Cast", [type("SrcT", from), type("DstT", to)], [id], 1);
  binding.deleteTensor(id);
  return made!.id;
}

function upload(binding: NativeBinding, { shape, values, type = "float32" }: Given): number {
  const isFloat = values instanceof Float32Array;
  // The binding shares the array's memory.
  const id = binding.createTensor(shape, isFloat ? binding.TF_FLOAT : binding.TF_INT32, values.slice());
  return type === "bfloat16" ? cast(binding, id, NUMBERS.float32, NUMBERS.bfloat16) : id;
}

function read(binding: NativeBinding, id: number, dtype: number): Float32Array {
  const wide = dtype === NUMBERS.bfloat16 ? cast(binding, id, NUMBERS.bfloat16, NUMBERS.float32) : id;
  const values = binding.tensorDataSync(wide) as Float32Array;
  binding.deleteTensor(wide);
  return values;
}
