/** Graphs traced from tfjs functions: the values of the functions themselves, gradients included, on TensorFlow. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openBackend } from "../../src/model/engine/backend.js";
import { Compiler } from "../../src/model/tensor/graph/compile.js";
import { condition, whileLoop } from "../../src/model/tensor/graph/loop.js";
import { openTrace } from "../../src/model/tensor/graph/tracer.js";
import { narrow, widen } from "../../src/model/tensor/kernels.js";
import { rawOp, type Tensor, tf } from "../../src/model/tensor/tf.js";
import { FAST_BACKEND } from "../helpers/engines.js";

const values = (tensor: Tensor): number[] => Array.from(tensor.dataSync());

describe.runIf(FAST_BACKEND === "tensorflow")("a compiled function", () => {
  let compiler: Compiler;
  beforeAll(async () => {
    await openBackend("tensorflow", 0);
    compiler = new Compiler("float32");
  });
  afterAll(() => compiler.dispose());

  const a = () => tf.tensor2d([0.5, -1, 2, 0.25, 3, -0.75], [2, 3]);
  const b = () => tf.tensor2d([1, 2, -0.5, 0.1, 0.3, -2], [3, 2]);

  it.each<[string, (x: Tensor, y: Tensor) => Tensor]>([
    ["a product and a softmax", (x, y) => tf.softmax(tf.matMul(x as never, y as never))],
    ["a mean of squares", (x) => tf.mean(tf.square(x), -1, true)],
    ["a maximum, a cast and a choice", (x) => tf.where(tf.greater(x, 0), tf.maximum(x, 1), tf.neg(x))],
    ["layout", (x, y) => tf.concat([tf.transpose(x), tf.slice(y, [0, 0], [3, 1])], 1)],
    [
      "a clip and a pad",
      (x) =>
        tf.pad(tf.clipByValue(x, -0.5, 1), [
          [1, 0],
          [0, 2],
        ] as [number, number][]),
    ],
    ["a cumulative sum and a stack", (x) => tf.stack([tf.cumsum(x, 1), tf.exp(x)])],
    ["expandDims, tile and a sum over everything", (x) => tf.sum(tf.tile(tf.expandDims(x, 0), [2, 1, 1]))],
    ["a gather", (x) => tf.gather(x, tf.tensor1d([1, 0, 1], "int32"))],
    ["ones and a range", (x) => tf.add(tf.ones([2, 3]), tf.mul(x, tf.fill([3], 2)))],
  ])("gives what %s gives eagerly", (name, body) => {
    const eager = body(a(), b());
    const compiled = compiler.run(name, ({ x, y }: { x: Tensor; y: Tensor }) => body(x, y), { x: a(), y: b() });
    expect(compiled.shape).toEqual(eager.shape);
    for (const [index, value] of values(eager).entries()) expect(values(compiled)[index]).toBeCloseTo(value, 5);
  });

  it("carries the gradients of tfjs's own tape", () => {
    const loss = (x: Tensor, y: Tensor) => tf.sum(tf.logSoftmax(tf.matMul(tf.tanh(x) as never, y as never))) as Tensor;
    const gradients = (x: Tensor, y: Tensor) => tf.grads(loss as never)([x, y]) as Tensor[];
    const eager = gradients(a(), b());
    const compiled = compiler.run("gradients", ({ x, y }: { x: Tensor; y: Tensor }) => gradients(x, y), {
      x: a(),
      y: b(),
    });
    for (const [index, gradient] of eager.entries()) {
      const found = values(compiled[index] as Tensor);
      for (const [i, value] of values(gradient).entries()) expect(found[i]).toBeCloseTo(value, 5);
    }
  });

  it("is traced once per shape and serves other values afterwards", () => {
    let traces = 0;
    const body = (x: Tensor) => {
      traces += 1;
      return tf.mul(x, 2);
    };
    expect(values(compiler.run("double", body, tf.tensor1d([1, 2])))).toEqual([2, 4]);
    expect(values(compiler.run("double", body, tf.tensor1d([5, -1])))).toEqual([10, -2]);
    expect(traces).toBe(1);
    expect(values(compiler.run("double", body, tf.tensor1d([1])))).toEqual([2]);
    expect(traces).toBe(2);
  });

  it("keeps inputs apart that were one tensor when it was traced", () => {
    const body = ({ x, y }: { x: Tensor; y: Tensor }) => tf.sub(x, y);
    const same = tf.tensor1d([3]);
    expect(values(compiler.run("difference", body, { x: same, y: same }))).toEqual([0]);
    expect(values(compiler.run("difference", body, { x: tf.tensor1d([5]), y: tf.tensor1d([2]) }))).toEqual([3]);
  });

  it("hands an input back as it is", () => {
    const x = tf.tensor1d([1, 2]);
    const { same, more } = compiler.run("hand back", (own: Tensor) => ({ same: own, more: tf.add(own, 1) }), x);
    expect(same).toBe(x);
    expect(values(more)).toEqual([2, 3]);
  });

  it("loops while a condition holds, with values from outside", () => {
    const body = ({ start, step }: { start: Tensor; step: Tensor }) =>
      whileLoop(
        [start, tf.scalar(0, "int32")],
        ([x, round]) => tf.logicalAnd(tf.less(x as Tensor, 10), tf.less(round as Tensor, tf.scalar(100, "int32"))),
        ([x, round]) => [tf.add(x as Tensor, step), tf.add(round as Tensor, tf.scalar(1, "int32"))],
      );
    const [sum, rounds] = compiler.run("loop", body, { start: tf.scalar(1), step: tf.scalar(2.5) }) as [Tensor, Tensor];
    expect([values(sum)[0], values(rounds)[0]]).toEqual([11, 4]);
  });

  it("takes one of two branches", () => {
    const body = ({ x }: { x: Tensor }) =>
      condition(
        tf.greater(tf.sum(x), tf.scalar(0)),
        [x],
        ([own]) => tf.mul(own as Tensor, 10),
        ([own]) => tf.neg(own as Tensor),
      );
    expect(values(compiler.run("branch", body, { x: tf.tensor1d([1, 2]) }))).toEqual([10, 20]);
    expect(values(compiler.run("branch", body, { x: tf.tensor1d([-1, -2]) }))).toEqual([1, 2]);
  });

  it("rounds products to bfloat16 and computes the rest in float32", () => {
    const half = new Compiler("bfloat16");
    const stored = half.run("store", (x: Tensor) => narrow(x), tf.tensor1d([1.001, 3.14, -0.3]));
    const back = half.run("load", (x: Tensor) => widen(x), stored);
    expect(values(back)).toEqual([1, 3.140625, -0.30078125]);
    half.dispose();
  });

  it("holds declared operations only: others neither compile nor can be emitted", () => {
    const emit = (body: () => unknown) => () => compiler.run("undeclared", () => body() as Tensor, tf.tensor1d([1]));
    // @ts-expect-error weir's own operations have wrappers
    expect(emit(() => openTrace().add("WeirMade", []))).toThrow("WeirMade");
    // @ts-expect-error likewise as a raw operation
    expect(emit(() => rawOp("WeirMade", [], []))).toThrow("WeirMade");
    expect(emit(() => openTrace().addOwn("WeirMade", [], {}))).toThrow("WeirMade");
  });

  it("refuses what cannot be in a graph, and can be traced again afterwards", () => {
    const outside = tf.tensor1d([1, 2, 3]);
    expect(() => compiler.run("captured", (x: Tensor) => tf.add(x, outside), tf.tensor1d([1, 2, 3]))).toThrow(
      "WEIR_E_SHAPE",
    );
    expect(() => compiler.run("read", (x: Tensor) => tf.scalar(x.dataSync()[0] as number), tf.scalar(1))).toThrow(
      "cannot read",
    );
    const large = Array.from({ length: 70_000 }, (_, i) => i);
    expect(() => compiler.run("large", (x: Tensor) => tf.add(x, tf.tensor1d(large)), tf.scalar(1))).toThrow(
      "70000 elements",
    );
    expect(() => compiler.run("wrong", (x: Tensor) => tf.matMul(x as never, x as never), tf.zeros([2, 3]))).toThrow();
    expect(values(compiler.run("after", (x: Tensor) => tf.add(x, 1), tf.scalar(1)))).toEqual([2]);
    expect(values(tf.add(tf.scalar(1), 2))).toEqual([3]);
  });
});
