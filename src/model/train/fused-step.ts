/**
 * The optimiser's arithmetic in weir's own operations: norms, update and content hash each read their tensors once.
 * Tensors are taken in portions, so that old and new values of the whole model are never in memory together.
 */
import type { Compiler } from "../tensor/graph/compile.js";
import { scope, type Tensor, tf } from "../tensor/tf.js";
import { adamWStep, digestsOf, squaredSums } from "../transformer/fused-kernels.js";
import type { GradientStore } from "../transformer/gradients.js";
import type { ParameterStore } from "../transformer/parameters.js";
import type { Moments, StepNumbers } from "./moments.js";

/** Elements of one portion. */
const PORTION = 32 * 1024 * 1024;

export class FusedStep {
  constructor(private readonly compiler: Compiler) {}

  /** Σg² of each tensor, read together. */
  squaredNorms(gradients: readonly Tensor[]): number[] {
    return scope(() => Array.from(this.compiler.run("squared norms", squaredSums, gradients).dataSync<"float32">()));
  }

  /** SHA-256 digest of each tensor, 32 bytes; see content-hash.ts. */
  readonly digests = (tensors: readonly Tensor[]): readonly Uint8Array[] =>
    scope(() => {
      const words = this.compiler.run("digests", digestsOf, tensors).dataSync<"int32">();
      const bytes = new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
      return tensors.map((_, index) => bytes.slice(32 * index, 32 * index + 32));
    });

  /** One step; weights and moments are replaced, gradients stay with their owner. */
  update(
    names: readonly string[],
    parameters: ParameterStore,
    gradients: GradientStore,
    moments: Map<string, Moments>,
    numbers: StepNumbers,
    decays: (weight: Tensor) => boolean,
  ): void {
    const { keep1, take1, keep2, take2, rootCorrection, epsilon, rate, shrink } = numbers;
    const ordered = [keep1, take1, keep2, take2, rootCorrection, epsilon, rate, shrink];
    for (const portion of portions(names, parameters)) {
      scope(() => {
        const weights = portion.map((name) => parameters.get(name));
        const before = portion.map((name, index) => moments.get(name) ?? zeros(weights[index] as Tensor));
        const next = this.compiler.run(
          "adamw",
          (own: AdamWInputs) => adamWStep(own.weights, own.ms, own.vs, own.gradients, own.numbers, own.decays),
          {
            weights,
            ms: before.map(({ m }) => m),
            vs: before.map(({ v }) => v),
            gradients: portion.map((name) => gradients.get(name) as Tensor),
            numbers: tf.tensor1d(ordered, "float32"),
            decays: tf.tensor1d(
              weights.map((weight) => (decays(weight) ? 1 : 0)),
              "int32",
            ),
          },
        );
        portion.forEach((name, index) => {
          const old = moments.get(name);
          if (old !== undefined) tf.dispose([old.m, old.v]);
          parameters.replace(name, next.weights[index] as Tensor);
          moments.set(name, { m: tf.keep(next.ms[index] as Tensor), v: tf.keep(next.vs[index] as Tensor) });
        });
      });
    }
  }
}

interface AdamWInputs {
  readonly weights: readonly Tensor[];
  readonly ms: readonly Tensor[];
  readonly vs: readonly Tensor[];
  readonly gradients: readonly Tensor[];
  readonly numbers: Tensor;
  readonly decays: Tensor;
}

function zeros(like: Tensor): Moments {
  return { m: tf.zerosLike(like), v: tf.zerosLike(like) };
}

/** Names in portions of about PORTION elements. */
function portions(names: readonly string[], parameters: ParameterStore): string[][] {
  const result: string[][] = [];
  let current: string[] = [];
  let elements = 0;
  for (const name of names) {
    current.push(name);
    elements += parameters.get(name).size;
    if (elements < PORTION) continue;
    result.push(current);
    current = [];
    elements = 0;
  }
  if (current.length > 0) result.push(current);
  return result;
}
