/** Activation functions against PyTorch 2.15's values and against their own difference quotients. */
import { beforeAll, describe, expect, it } from "vitest";
import { openBackend } from "../../src/model/engine/backend.js";
import type { ActivationName } from "../../src/model/io/activation.js";
import { scope, type Tensor, tf } from "../../src/model/tensor/tf.js";
import { ACTIVATIONS, gated, gatedBackward } from "../../src/model/transformer/activation.js";
import { FAST_BACKEND } from "../helpers/engines.js";

const POINTS = [-3, -1.25, -0.1, 0.4, 2];

/** torch.nn.functional.silu, gelu(approximate="tanh"), gelu and relu()**2 in float64 at POINTS. */
const VALUES: Readonly<Record<ActivationName, readonly number[]>> = {
  silu: [-0.1422776195, -0.2783751735, -0.0475020813, 0.239475064, 1.761594156],
  gelu_tanh: [-0.0036373921, -0.132285797, -0.046017249, 0.2621611694, 1.9545976941],
  gelu: [-0.0040496941, -0.1320622171, -0.0460172163, 0.2621686966, 1.9544997361],
  relu2: [0.0, 0.0, 0.0, 0.16, 4.0],
};

const numbers = (make: () => Tensor): number[] => Array.from(scope(make).dataSync<"float32">());

beforeAll(async () => {
  await openBackend(FAST_BACKEND, 0);
});

describe.each(Object.entries(VALUES))("%s", (key, values) => {
  const name = key as ActivationName;
  it("has PyTorch's values", () => {
    const found = numbers(() => ACTIVATIONS[name].apply(tf.tensor1d(POINTS)).y);
    found.forEach((value, i) => {
      expect(value).toBeCloseTo(values[i]!, 6);
    });
  });

  it("has the slope of its difference quotient", () => {
    const step = 1e-2;
    const at = (shift: number) => numbers(() => ACTIVATIONS[name].apply(tf.tensor1d(POINTS.map((x) => x + shift))).y);
    const [above, below] = [at(step), at(-step)];
    const slopes = numbers(() => {
      const g = tf.tensor1d(POINTS);
      return ACTIVATIONS[name].slope(g, ACTIVATIONS[name].apply(g));
    });
    slopes.forEach((slope, i) => {
      expect(Math.abs(slope - (above[i]! - below[i]!) / (2 * step))).toBeLessThan(2e-4);
    });
  });

  it("gates, and gives the gradients of both factors", () => {
    const [gate, up, dy] = [POINTS, [2, -1, 0.5, 3, -0.25], [1, -2, 3, 0.5, 4]];
    const tensors = () => [tf.tensor1d(gate), tf.tensor1d(up), tf.tensor1d(dy)] as const;
    const slopes = numbers(() => {
      const g = tf.tensor1d(gate);
      return ACTIVATIONS[name].slope(g, ACTIVATIONS[name].apply(g));
    });
    const back = (part: "dGate" | "dUp" | "act") =>
      numbers(() => {
        const [g, u, d] = tensors();
        return gatedBackward(name, d, g, u)[part];
      });
    const act = numbers(() => {
      const [g, u] = tensors();
      return gated(name, g, u);
    });
    const [dGate, dUp, again] = [back("dGate"), back("dUp"), back("act")];
    values.forEach((value, i) => {
      expect(act[i]).toBeCloseTo(value * up[i]!, 5);
      expect(again[i]).toBe(act[i]);
      expect(dUp[i]).toBeCloseTo(value * dy[i]!, 5);
      expect(dGate[i]).toBeCloseTo(slopes[i]! * up[i]! * dy[i]!, 5);
    });
  });
});
