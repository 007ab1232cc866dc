/**
 * weir's own TensorFlow operations (scripts/native/kernels), as graphs see them: what one pass over the data can do that
 * TensorFlow's operations need several for. `T` is the element type of the products around them.
 */
import type { OutputSpec } from "./operations.js";
import type { Attributes, GraphDtype, GraphValue } from "./values.js";

interface FusedOperation {
  readonly types: Readonly<Record<string, number>>;
  readonly infer: (inputs: readonly GraphValue[], attributes: Attributes) => readonly OutputSpec[];
}

const typeAttribute = (attributes: Attributes, name: string): GraphDtype => {
  const found = attributes[name];
  return found?.kind === "type" ? found.value : "float32";
};
const intAttribute = (attributes: Attributes, name: string): number => {
  const found = attributes[name];
  return found?.kind === "int" ? found.value : 0;
};
const shapeAt = (inputs: readonly GraphValue[], index: number): readonly number[] => inputs[index]?.shape ?? [];
const float = (shape: readonly number[]): OutputSpec => ({ shape, dtype: "float32" });
const column = (shape: readonly number[]): OutputSpec => float([shape[0] ?? 0, 1]);

/** Shape of a per-head tensor: [P·kv·G·share, T, dh]. */
function byHead(inputs: readonly GraphValue[], attributes: Attributes): readonly number[] {
  const [, width = 0] = shapeAt(inputs, 0);
  const int = (name: string) => intAttribute(attributes, name);
  const heads = int("kv") * int("share");
  return [int("prompts") * int("group") * heads, int("length"), width / heads];
}

export const FUSED_OPERATIONS: Readonly<Record<string, FusedOperation>> = {
  WeirRmsNorm: {
    types: {},
    infer: (inputs, attributes) => {
      const x = shapeAt(inputs, 0);
      return [{ shape: x, dtype: typeAttribute(attributes, "T") }, column(x)];
    },
  },
  WeirAddRmsNorm: {
    types: { T: 1 },
    infer: (inputs) => {
      const x = shapeAt(inputs, 0);
      return [float(x), { shape: x, dtype: inputs[1]?.dtype ?? "float32" }, column(x)];
    },
  },
  WeirRmsNormGrad: { types: { T: 4 }, infer: (inputs) => [float(shapeAt(inputs, 0)), float(shapeAt(inputs, 2))] },
  WeirSwiGlu: { types: { T: 0 }, infer: ([gate]) => [{ shape: gate?.shape ?? [], dtype: gate?.dtype ?? "float32" }] },
  WeirSwiGluGrad: {
    types: { T: 0 },
    infer: ([dAct]) => {
      const one = { shape: dAct?.shape ?? [], dtype: dAct?.dtype ?? "float32" };
      return [one, one, one];
    },
  },
  WeirRopeHeads: {
    types: { T: 0 },
    infer: (inputs, attributes) => [{ shape: byHead(inputs, attributes), dtype: inputs[0]?.dtype ?? "float32" }],
  },
  WeirRopeHeadsGrad: {
    types: { S: 0 },
    infer: (inputs, attributes) => {
      const [, , headDim = 0] = shapeAt(inputs, 0);
      const tokens = intAttribute(attributes, "tokens");
      const heads = intAttribute(attributes, "kv") * intAttribute(attributes, "share");
      return [{ shape: [tokens, heads * headDim], dtype: typeAttribute(attributes, "T") }];
    },
  },
  WeirQkvHeads: {
    types: { T: 0 },
    infer: (inputs, attributes) => {
      const int = (name: string) => intAttribute(attributes, name);
      const headDim = (shapeAt(inputs, 0)[1] ?? 0) / (int("kv") * (int("share") + 2));
      const rows = int("prompts") * int("kv") * int("group");
      const of = (count: number): OutputSpec => ({
        shape: [count, int("length"), headDim],
        dtype: inputs[0]?.dtype ?? "float32",
      });
      return [of(rows * int("share")), of(rows), of(rows)];
    },
  },
  WeirQkvHeadsGrad: {
    types: { T: 0 },
    infer: (inputs, attributes) => {
      const int = (name: string) => intAttribute(attributes, name);
      const width = int("kv") * (int("share") + 2) * (shapeAt(inputs, 0)[2] ?? 0);
      return [{ shape: [int("tokens"), width], dtype: inputs[0]?.dtype ?? "float32" }];
    },
  },
  WeirColumnSums: { types: { T: 0 }, infer: (inputs) => [float([shapeAt(inputs, 0)[1] ?? 0])] },
  WeirProduct: {
    types: { T: 0 },
    infer: (inputs, attributes) => {
      const side = (index: number, transposed: string) =>
        shapeAt(inputs, index)[intAttribute(attributes, transposed) === 1 ? 1 - index : index] ?? 0;
      return [{ shape: [side(0, "transpose_a"), side(1, "transpose_b")], dtype: typeAttribute(attributes, "S") }];
    },
  },
  WeirAttention: {
    types: { T: 0 },
    infer: (inputs) => {
      const q = shapeAt(inputs, 0);
      return [{ shape: q, dtype: inputs[0]?.dtype ?? "float32" }, float(q.slice(0, 2))];
    },
  },
  WeirAttentionGrad: {
    types: { T: 0 },
    infer: (inputs) => [
      { shape: shapeAt(inputs, 0), dtype: inputs[0]?.dtype ?? "float32" },
      ...[1, 2, 3, 4].map((index) => float(shapeAt(inputs, index))),
    ],
  },
  WeirLogitStats: {
    types: { T: 0 },
    infer: (inputs) => {
      const rows = float([shapeAt(inputs, 0)[0] ?? 0]);
      return [rows, rows, rows];
    },
  },
  WeirLogitGrad: {
    types: { T: 0 },
    infer: ([logits]) => [{ shape: logits?.shape ?? [], dtype: logits?.dtype ?? "float32" }],
  },
  WeirPackMatrix: {
    types: {},
    infer: (inputs, attributes) => {
      const [out = 0, inputsCount = 0] = shapeAt(inputs, 0);
      const elements = Math.ceil(out / 64) * 64 * Math.ceil(inputsCount / 2) * 2;
      return [{ shape: [elements], dtype: typeAttribute(attributes, "T") }];
    },
  },
  WeirPackedProduct: {
    types: { T: 1 },
    infer: (inputs, attributes) => {
      const shape = [shapeAt(inputs, 0)[0] ?? 0, intAttribute(attributes, "out")];
      return [float(shape), float(intAttribute(attributes, "keep_plain") === 1 ? shape : [0])];
    },
  },
  WeirDecodeAttention: {
    types: { T: 6 },
    infer: (inputs, attributes) => {
      const [rows = 0] = shapeAt(inputs, 0);
      const heads = intAttribute(attributes, "kv") * intAttribute(attributes, "share");
      const width = heads * (shapeAt(inputs, 6).at(-1) ?? 0);
      const block = (index: number): OutputSpec => ({
        shape: shapeAt(inputs, index),
        dtype: inputs[index]?.dtype ?? "float32",
      });
      return [float([rows, width]), block(10), block(11), float([rows, heads])];
    },
  },
  WeirKeepRows: {
    types: {},
    infer: (inputs, attributes) => {
      const parts = inputs.slice(2).map(({ shape }) => shape);
      const width = parts.reduce((sum, [, columns = 0]) => sum + columns, 0);
      return [float([intAttribute(attributes, "rounds"), parts[0]?.[0] ?? 0, width])];
    },
  },
  WeirSelectToken: {
    types: {},
    infer: (inputs) => {
      const rows = [shapeAt(inputs, 0)[0] ?? 0];
      return [{ shape: rows, dtype: "int32" }, float(rows), float(rows)];
    },
  },
  WeirSquaredSums: { types: {}, infer: (inputs) => [float([inputs.length])] },
  WeirAdamW: {
    types: {},
    infer: (inputs, attributes) => {
      const count = intAttribute(attributes, "K");
      return Array.from({ length: 3 * count }, (_, index) => float(shapeAt(inputs, index % count)));
    },
  },
  WeirDigest: { types: {}, infer: (inputs) => [{ shape: [inputs.length, 8], dtype: "int32" }] },
};
