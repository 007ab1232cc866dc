/**
 * tfjs kernels that emit TensorFlow nodes, so that any function of tfjs operations can be traced.
 * One line per kernel; attribute names are those of tfjs-core's kernel_names.ts.
 */
import type * as tfCore from "@tensorflow/tfjs-core";
import type { OperationName } from "./operations.js";
import { openTrace, type Tracer } from "./tracer.js";
import { boolOf, type GraphValue, intOf } from "./values.js";

type KernelAttributes = Readonly<Record<string, unknown>>;
type Emit = (trace: Tracer, inputs: Readonly<Record<string, GraphValue>>, attributes: KernelAttributes) => GraphValue[];

const one =
  (emit: (...parameters: Parameters<Emit>) => GraphValue): Emit =>
  (...parameters) => [emit(...parameters)];

const unary = (name: OperationName): Emit => one((trace, { x }) => trace.add(name, [x as GraphValue]));
const binary = (name: OperationName): Emit =>
  one((trace, { a, b }) => trace.add(name, [a as GraphValue, b as GraphValue]));

const reduce = (name: OperationName): Emit =>
  one((trace, { x }, { axis, reductionIndices, keepDims }) => {
    const value = x as GraphValue;
    const given = (axis ?? reductionIndices ?? value.shape.map((_, index) => index)) as number | number[];
    const axes = (Array.isArray(given) ? given : [given]).map((index) =>
      index < 0 ? index + value.shape.length : index,
    );
    return trace.add(name, [value, trace.integers(axes)], { keep_dims: boolOf(keepDims === true) });
  });

const arg = (name: OperationName): Emit =>
  one((trace, { x }, { axis }) =>
    trace.add(name, [x as GraphValue, trace.scalar(axis as number, "int32")], {
      output_type: { kind: "type", value: "int32" },
    }),
  );

const listed = (inputs: Readonly<Record<string, GraphValue>>): GraphValue[] =>
  Object.keys(inputs)
    .sort((a, b) => Number(a) - Number(b))
    .map((key) => inputs[key] as GraphValue);

const reshape: Emit = one((trace, { x }, { shape }) =>
  trace.add("Reshape", [x as GraphValue, trace.integers(shape as number[])]),
);

const KERNELS: Readonly<Record<string, Emit>> = {
  Add: binary("AddV2"),
  Sub: binary("Sub"),
  Multiply: binary("Mul"),
  RealDiv: binary("RealDiv"),
  FloorDiv: binary("FloorDiv"),
  Mod: binary("FloorMod"),
  Maximum: binary("Maximum"),
  Minimum: binary("Minimum"),
  Pow: binary("Pow"),
  SquaredDifference: binary("SquaredDifference"),
  Greater: binary("Greater"),
  GreaterEqual: binary("GreaterEqual"),
  Less: binary("Less"),
  LessEqual: binary("LessEqual"),
  Equal: binary("Equal"),
  NotEqual: binary("NotEqual"),
  LogicalAnd: binary("LogicalAnd"),
  LogicalOr: binary("LogicalOr"),
  LogicalNot: unary("LogicalNot"),
  Neg: unary("Neg"),
  Exp: unary("Exp"),
  Log: unary("Log"),
  Log1p: unary("Log1p"),
  Expm1: unary("Expm1"),
  Sqrt: unary("Sqrt"),
  Rsqrt: unary("Rsqrt"),
  Square: unary("Square"),
  Abs: unary("Abs"),
  Sign: unary("Sign"),
  Reciprocal: unary("Reciprocal"),
  Sigmoid: unary("Sigmoid"),
  Tanh: unary("Tanh"),
  Erf: unary("Erf"),
  Relu: unary("Relu"),
  Softplus: unary("Softplus"),
  Floor: unary("Floor"),
  Round: unary("Round"),
  IsFinite: unary("IsFinite"),
  IsNan: unary("IsNan"),
  Identity: unary("Identity"),
  ZerosLike: unary("ZerosLike"),
  OnesLike: unary("OnesLike"),
  Sum: reduce("Sum"),
  Mean: reduce("Mean"),
  Max: reduce("Max"),
  Min: reduce("Min"),
  Prod: reduce("Prod"),
  All: reduce("All"),
  Any: reduce("Any"),
  ArgMax: arg("ArgMax"),
  ArgMin: arg("ArgMin"),
  Softmax: one((trace, { logits }) => trace.add("Softmax", [logits as GraphValue])),
  LogSoftmax: one((trace, { logits }) => trace.add("LogSoftmax", [logits as GraphValue])),
  Select: one((trace, { condition, t, e }) =>
    trace.add("SelectV2", [condition as GraphValue, t as GraphValue, e as GraphValue]),
  ),
  Cast: one((trace, { x }, { dtype }) => {
    const value = x as GraphValue;
    if (value.dtype === dtype) return value;
    return trace.add("Cast", [value], { DstT: { kind: "type", value: dtype as "float32" | "int32" | "bool" } });
  }),
  ClipByValue: one((trace, { x }, { clipValueMin, clipValueMax }) => {
    const value = x as GraphValue;
    const low = trace.scalar(clipValueMin as number, value.dtype);
    const high = trace.scalar(clipValueMax as number, value.dtype);
    return trace.add("ClipByValue", [value, low, high]);
  }),
  Reshape: reshape,
  ExpandDims: one((trace, { input }, { dim }) => {
    const value = input as GraphValue;
    const at = (dim as number) < 0 ? (dim as number) + value.shape.length + 1 : (dim as number);
    return trace.add("Reshape", [value, trace.integers([...value.shape.slice(0, at), 1, ...value.shape.slice(at)])]);
  }),
  Transpose: one((trace, { x }, { perm }) =>
    trace.add("Transpose", [x as GraphValue, trace.integers(perm as number[])]),
  ),
  Slice: one((trace, { x }, { begin, size }) =>
    trace.add("Slice", [x as GraphValue, trace.integers(begin as number[]), trace.integers(size as number[])]),
  ),
  Concat: one((trace, inputs, { axis }) =>
    trace.add("ConcatV2", [...listed(inputs), trace.scalar(axis as number, "int32")]),
  ),
  Pack: one((trace, inputs, { axis }) => trace.add("Pack", listed(inputs), { axis: intOf(axis as number) })),
  PadV2: one((trace, { x }, { paddings, constantValue }) => {
    const pads = paddings as [number, number][];
    const value = x as GraphValue;
    const table = trace.graph.constant(pads.flat(), [pads.length, 2], "int32");
    return trace.add("PadV2", [value, table, trace.scalar((constantValue as number) ?? 0, value.dtype)]);
  }),
  Tile: one((trace, { x }, { reps }) => trace.add("Tile", [x as GraphValue, trace.integers(reps as number[])])),
  Fill: one((trace, _, { shape, value, dtype }) =>
    trace.add("Fill", [
      trace.integers(shape as number[]),
      trace.scalar(value as number, (dtype as "float32" | "int32" | undefined) ?? "float32"),
    ]),
  ),
  Cumsum: one((trace, { x }, { axis, exclusive, reverse }) =>
    trace.add("Cumsum", [x as GraphValue, trace.scalar(axis as number, "int32")], {
      exclusive: boolOf(exclusive === true),
      reverse: boolOf(reverse === true),
    }),
  ),
  BatchMatMul: one((trace, { a, b }, { transposeA, transposeB }) =>
    trace.add("BatchMatMulV2", [a as GraphValue, b as GraphValue], {
      adj_x: boolOf(transposeA === true),
      adj_y: boolOf(transposeB === true),
    }),
  ),
  GatherV2: one((trace, { x, indices }, { axis }) =>
    trace.add("GatherV2", [x as GraphValue, indices as GraphValue, trace.scalar((axis as number) ?? 0, "int32")]),
  ),
  UnsortedSegmentSum: one((trace, { x, segmentIds }, { numSegments }) =>
    trace.add("UnsortedSegmentSum", [
      x as GraphValue,
      segmentIds as GraphValue,
      trace.scalar(numSegments as number, "int32"),
    ]),
  ),
  TopK: (trace, { x }, { k, sorted }) =>
    trace.addRaw("TopKV2", [x as GraphValue, trace.scalar(k as number, "int32")], {
      sorted: boolOf(sorted !== false),
    }),
};

/** The kernels as tfjs registers them. */
export function graphKernels(backendName: string): tfCore.KernelConfig[] {
  return Object.entries(KERNELS).map(([kernelName, emit]) => ({
    kernelName,
    backendName,
    kernelFunc: ({ inputs, attrs }) => {
      const trace = openTrace();
      const values = Object.fromEntries(
        Object.entries(inputs).map(([key, tensor]) => [key, trace.valueOf(tensor as tfCore.TensorInfo)]),
      );
      const outputs = emit(trace, values, attrs ?? {}).map((value) => trace.info(value));
      return outputs.length === 1 ? (outputs[0] as tfCore.TensorInfo) : outputs;
    },
  }));
}
