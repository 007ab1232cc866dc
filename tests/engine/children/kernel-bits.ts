/** Prints a digest of what kernels with sums give for fixed inputs, each run twice; the parent chooses the threads. */
import { createHash } from "node:crypto";
import { normal } from "../../../src/algorithms/random.js";
import { type Given, type KernelAttributes, openKernels } from "../../helpers/kernel-calls.js";

const kernels = openKernels("digest");
if (kernels === null) process.exit(1);
const [rows, d] = [700, 320];
const noise = (key: number, shape: readonly number[]): Given => ({
  shape,
  values: Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => normal(key, i)),
});
const x = noise(1, [rows, d]);
const w = noise(2, [d]);
const none = noise(0, [0]);
const targets = { shape: [rows], values: Int32Array.from({ length: rows }, (_, i) => i % d) };
const scalars = { shape: [8], values: Float32Array.of(0.9, 0.1, 0.999, 0.001, 1, 1e-8, 1e-3, 1) };
const calls: readonly (readonly [string, KernelAttributes, readonly Given[], number])[] = [
  ["WeirRmsNorm", { epsilon: 1e-6, T: "float32" }, [x, w], 2],
  ["WeirRmsNormGrad", { K: 1, T: "float32" }, [x, noise(3, [rows, 1]), w, x, noise(4, [rows, d])], 2],
  ["WeirLogitStats", { T: "float32" }, [x, targets], 3],
  ["WeirProduct", { transpose_a: 1, transpose_b: 0, T: "float32", S: "float32" }, [x, noise(6, [rows, 70]), none], 1],
  ["WeirProduct", { transpose_a: 0, transpose_b: 1, T: "float32", S: "float32" }, [x, noise(7, [90, d]), none], 1],
  ["WeirSquaredSums", { K: 2 }, [x, w], 1],
  ["WeirAdamW", { K: 1 }, [x, x, noise(5, [rows, d]), x, scalars, { shape: [1], values: Int32Array.of(1) }], 3],
];
const digest = () => {
  const hash = createHash("sha256");
  for (const call of calls) for (const values of kernels.run(...call)) hash.update(values);
  return hash.digest("hex");
};
const [first, second] = [digest(), digest()];
process.stdout.write(first === second ? first : "two runs differ");
