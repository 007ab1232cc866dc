/**
 * The TensorFlow operations that graphs are made of: their type attributes, and the shapes and types of their outputs.
 * Invariant: an operation that is not in this table cannot be emitted, so every shape in a graph is checked.
 */
import { WeirError } from "../../../errors.js";
import type { Attributes, GraphDtype, GraphValue } from "./values.js";

export interface OutputSpec {
  readonly shape: readonly number[];
  readonly dtype: GraphDtype;
}

export interface Operation {
  /** Type attributes and the input that each follows. */
  readonly types: Readonly<Record<string, number>>;
  readonly infer: (inputs: readonly GraphValue[], attributes: Attributes) => readonly OutputSpec[];
}

function fail(message: string): never {
  throw new WeirError("WEIR_E_SHAPE", `while a graph was traced: ${message}`);
}

function at<T>(values: readonly T[], index: number): T {
  const found = values[index];
  if (found === undefined) fail(`input ${index} is missing`);
  return found;
}

/** Values of an int32 input that must be known while tracing. */
function known(inputs: readonly GraphValue[], index: number): readonly number[] {
  return at(inputs, index).constant ?? fail(`input ${index} must be a constant`);
}

export function broadcastShape(a: readonly number[], b: readonly number[]): number[] {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, axis) => {
    const left = a[a.length - rank + axis] ?? 1;
    const right = b[b.length - rank + axis] ?? 1;
    if (left !== right && left !== 1 && right !== 1) fail(`[${a}] and [${b}] do not broadcast`);
    return left === 1 ? right : left;
  });
}

const count = (shape: readonly number[]): number => shape.reduce((product, size) => product * size, 1);

const flag = (attributes: Attributes, name: string): boolean => {
  const found = attributes[name];
  return found?.kind === "bool" && found.value;
};

const same: Operation = {
  types: { T: 0 },
  infer: (inputs) => [{ shape: at(inputs, 0).shape, dtype: at(inputs, 0).dtype }],
};

function binary(types: Operation["types"], dtype?: GraphDtype): Operation {
  return {
    types,
    infer: (inputs) => {
      const [a, b] = [at(inputs, 0), at(inputs, 1)];
      if (a.dtype !== b.dtype) fail(`operands of types ${a.dtype} and ${b.dtype}`);
      return [{ shape: broadcastShape(a.shape, b.shape), dtype: dtype ?? a.dtype }];
    },
  };
}

function reduction(types: Operation["types"], dtype?: GraphDtype): Operation {
  return {
    types,
    infer: (inputs, attributes) => {
      const { shape, dtype: own } = at(inputs, 0);
      const axes = known(inputs, 1).map((axis) => (axis < 0 ? axis + shape.length : axis));
      const keep = flag(attributes, "keep_dims");
      const reduced = shape.flatMap((size, axis) => (axes.includes(axis) ? (keep ? [1] : []) : [size]));
      return [{ shape: reduced, dtype: dtype ?? own }];
    },
  };
}

function product(first: string, second: string): Operation {
  return {
    types: { T: 0 },
    infer: (inputs, attributes) => {
      const [a, b] = [at(inputs, 0), at(inputs, 1)];
      if (a.dtype !== b.dtype) fail(`a product of ${a.dtype} and ${b.dtype}`);
      const oriented = (shape: readonly number[], transposed: boolean) => {
        const [rows = 0, columns = 0] = shape.slice(-2);
        return transposed ? [columns, rows] : [rows, columns];
      };
      const [rows = 0, inner = 0] = oriented(a.shape, flag(attributes, first));
      const [innerB = 0, columns = 0] = oriented(b.shape, flag(attributes, second));
      if (inner !== innerB) fail(`a product of [${a.shape}] and [${b.shape}]: ${inner} against ${innerB}`);
      return [
        { shape: [...broadcastShape(a.shape.slice(0, -2), b.shape.slice(0, -2)), rows, columns], dtype: a.dtype },
      ];
    },
  };
}

const arg: Operation = {
  types: { T: 0, Tidx: 1 },
  infer: (inputs) => {
    const { shape } = at(inputs, 0);
    const axis = at(known(inputs, 1), 0);
    const dropped = axis < 0 ? axis + shape.length : axis;
    return [{ shape: shape.filter((_, index) => index !== dropped), dtype: "int32" }];
  },
};

const pad: Operation = {
  types: { T: 0, Tpaddings: 1 },
  infer: (inputs) => {
    const { shape, dtype } = at(inputs, 0);
    const pads = known(inputs, 1);
    return [{ shape: shape.map((size, axis) => size + at(pads, 2 * axis) + at(pads, 2 * axis + 1)), dtype }];
  },
};

const TABLE = {
  AddV2: binary({ T: 0 }),
  Sub: binary({ T: 0 }),
  Mul: binary({ T: 0 }),
  RealDiv: binary({ T: 0 }),
  FloorDiv: binary({ T: 0 }),
  FloorMod: binary({ T: 0 }),
  Maximum: binary({ T: 0 }),
  Minimum: binary({ T: 0 }),
  Pow: binary({ T: 0 }),
  SquaredDifference: binary({ T: 0 }),
  Greater: binary({ T: 0 }, "bool"),
  GreaterEqual: binary({ T: 0 }, "bool"),
  Less: binary({ T: 0 }, "bool"),
  LessEqual: binary({ T: 0 }, "bool"),
  Equal: binary({ T: 0 }, "bool"),
  NotEqual: binary({ T: 0 }, "bool"),
  LogicalAnd: binary({}, "bool"),
  LogicalOr: binary({}, "bool"),
  LogicalNot: { types: {}, infer: (inputs) => [{ shape: at(inputs, 0).shape, dtype: "bool" }] },
  Neg: same,
  Exp: same,
  Log: same,
  Log1p: same,
  Expm1: same,
  Sqrt: same,
  Rsqrt: same,
  Square: same,
  Abs: same,
  Sign: same,
  Reciprocal: same,
  Sigmoid: same,
  Tanh: same,
  Erf: same,
  Relu: same,
  Softplus: same,
  Softmax: same,
  LogSoftmax: same,
  Floor: same,
  Round: same,
  Identity: same,
  ZerosLike: same,
  OnesLike: same,
  IsFinite: { types: { T: 0 }, infer: (inputs) => [{ shape: at(inputs, 0).shape, dtype: "bool" }] },
  IsNan: { types: { T: 0 }, infer: (inputs) => [{ shape: at(inputs, 0).shape, dtype: "bool" }] },
  ClipByValue: same,
  Cumsum: { ...same, types: { T: 0, Tidx: 1 } },
  L2Loss: { types: { T: 0 }, infer: (inputs) => [{ shape: [], dtype: at(inputs, 0).dtype }] },
  Cast: {
    types: { SrcT: 0 },
    infer: (inputs, { DstT }) => [
      { shape: at(inputs, 0).shape, dtype: DstT?.kind === "type" ? DstT.value : fail("a cast without its type") },
    ],
  },
  SelectV2: {
    types: { T: 1 },
    infer: (inputs) => {
      const [condition, yes, no] = [at(inputs, 0), at(inputs, 1), at(inputs, 2)];
      const shape = broadcastShape(condition.shape, broadcastShape(yes.shape, no.shape));
      return [{ shape, dtype: yes.dtype }];
    },
  },
  Sum: reduction({ T: 0, Tidx: 1 }),
  Mean: reduction({ T: 0, Tidx: 1 }),
  Max: reduction({ T: 0, Tidx: 1 }),
  Min: reduction({ T: 0, Tidx: 1 }),
  Prod: reduction({ T: 0, Tidx: 1 }),
  All: reduction({ Tidx: 1 }, "bool"),
  Any: reduction({ Tidx: 1 }, "bool"),
  ArgMax: arg,
  ArgMin: arg,
  MatMul: product("transpose_a", "transpose_b"),
  BatchMatMulV2: product("adj_x", "adj_y"),
  Reshape: {
    types: { T: 0, Tshape: 1 },
    infer: (inputs) => {
      const { shape, dtype } = at(inputs, 0);
      const wanted = [...known(inputs, 1)];
      const open = wanted.indexOf(-1);
      if (open >= 0) wanted[open] = count(shape) / count(wanted.filter((size) => size >= 0));
      if (count(wanted) !== count(shape)) fail(`[${shape}] cannot be seen as [${wanted}]`);
      return [{ shape: wanted, dtype }];
    },
  },
  Transpose: {
    types: { T: 0, Tperm: 1 },
    infer: (inputs) => {
      const { shape, dtype } = at(inputs, 0);
      return [{ shape: known(inputs, 1).map((axis) => at(shape, axis)), dtype }];
    },
  },
  Slice: {
    types: { T: 0, Index: 1 },
    infer: (inputs) => {
      const { shape, dtype } = at(inputs, 0);
      const size = known(inputs, 2);
      const begin = at(inputs, 1).constant;
      return [
        {
          shape: size.map((length, axis) => (length < 0 ? at(shape, axis) - (begin?.[axis] ?? 0) : length)),
          dtype,
        },
      ];
    },
  },
  ConcatV2: {
    types: { T: 0, Tidx: -1 },
    infer: (inputs) => {
      const parts = inputs.slice(0, -1);
      const { shape, dtype } = at(parts, 0);
      const given = at(known(inputs, inputs.length - 1), 0);
      const axis = given < 0 ? given + shape.length : given;
      const length = parts.reduce((sum, part) => sum + at(part.shape, axis), 0);
      return [{ shape: shape.map((size, index) => (index === axis ? length : size)), dtype }];
    },
  },
  Pack: {
    types: { T: 0 },
    infer: (inputs, { axis }) => {
      const { shape, dtype } = at(inputs, 0);
      const given = axis?.kind === "int" ? axis.value : 0;
      const place = given < 0 ? given + shape.length + 1 : given;
      return [{ shape: [...shape.slice(0, place), inputs.length, ...shape.slice(place)], dtype }];
    },
  },
  Pad: pad,
  PadV2: pad,
  Tile: {
    types: { T: 0, Tmultiples: 1 },
    infer: (inputs) => {
      const { shape, dtype } = at(inputs, 0);
      const times = known(inputs, 1);
      return [{ shape: shape.map((size, axis) => size * at(times, axis)), dtype }];
    },
  },
  Fill: {
    types: { T: 1, index_type: 0 },
    infer: (inputs) => [{ shape: known(inputs, 0), dtype: at(inputs, 1).dtype }],
  },
  BroadcastTo: {
    types: { T: 0, Tidx: 1 },
    infer: (inputs) => [{ shape: known(inputs, 1), dtype: at(inputs, 0).dtype }],
  },
  Range: {
    types: { Tidx: 0 },
    infer: (inputs) => {
      const [start, limit, step] = [0, 1, 2].map((index) => at(known(inputs, index), 0)) as [number, number, number];
      return [{ shape: [Math.ceil((limit - start) / step)], dtype: "int32" }];
    },
  },
  GatherV2: {
    types: { Tparams: 0, Tindices: 1, Taxis: 2 },
    infer: (inputs) => {
      const [table, ids] = [at(inputs, 0), at(inputs, 1)];
      const axis = at(known(inputs, 2), 0);
      return [
        { shape: [...table.shape.slice(0, axis), ...ids.shape, ...table.shape.slice(axis + 1)], dtype: table.dtype },
      ];
    },
  },
  UnsortedSegmentSum: {
    types: { T: 0, Tindices: 1, Tnumsegments: 2 },
    infer: (inputs) => {
      const [values, ids] = [at(inputs, 0), at(inputs, 1)];
      return [{ shape: [at(known(inputs, 2), 0), ...values.shape.slice(ids.shape.length)], dtype: values.dtype }];
    },
  },
  TensorScatterUpdate: {
    types: { T: 0, Tindices: 1 },
    infer: (inputs) => [{ shape: at(inputs, 0).shape, dtype: at(inputs, 0).dtype }],
  },
  TopKV2: {
    types: { T: 0 },
    infer: (inputs) => {
      const { shape, dtype } = at(inputs, 0);
      const result = [...shape.slice(0, -1), at(known(inputs, 1), 0)];
      return [
        { shape: result, dtype },
        { shape: result, dtype: "int32" },
      ];
    },
  },
  StatelessRandomUniformV2: {
    types: { Tshape: 0 },
    infer: (inputs) => [{ shape: known(inputs, 0), dtype: "float32" }],
  },
  // Control flow of loops (tensorflow/core/ops/control_flow_ops.cc).
  Enter: same,
  Exit: same,
  NextIteration: same,
  LoopCond: { types: {}, infer: () => [{ shape: [], dtype: "bool" }] },
  Merge: {
    types: { T: 0 },
    infer: (inputs) => [
      { shape: at(inputs, 0).shape, dtype: at(inputs, 0).dtype },
      { shape: [], dtype: "int32" },
    ],
  },
  Switch: {
    types: { T: 0 },
    infer: (inputs) => {
      const { shape, dtype } = at(inputs, 0);
      return [
        { shape, dtype },
        { shape, dtype },
      ];
    },
  },
} satisfies Record<string, Operation>;

/** TensorFlow's own operations; weir's are in native/operations.json. */
export type OperationName = keyof typeof TABLE;

export const OPERATIONS: Readonly<Record<string, Operation>> = TABLE;
