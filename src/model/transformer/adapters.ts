/**
 * Low-rank adaptation (LoRA, Hu et al., arXiv 2106.09685): W = W₀ + (α/r)·B·A, with A [r, in] and B [out, r] trained and everything
 * else frozen. The policy's parameters always hold the merged W, so forward passes, decoding and hashing know nothing of adapters;
 * gradients do, and saved folders have them in addition. Each merge starts from W₀, so rounding does not accumulate.
 * Invariant: the policy's adapted matrices are W₀ + (α/r)·B·A of the present pairs.
 */
import { counterKey, uniform } from "../../algorithms/random.js";
import type { LoraOptions } from "../../contracts/engine.js";
import type { BaseModel, SavedAdapter } from "../io/adapter-folder.js";
import { elementCount, type TensorSource, tensorsInMemory } from "../io/tensor-source.js";
import { scope, type Tensor, tf } from "../tensor/tf.js";
import type { AdapterPair } from "./adapter-gradients.js";
import { adapterNames, adapterShapes, isAdapted } from "./adapter-names.js";
import { ParameterStore } from "./parameters.js";

export class Adapters {
  readonly options: LoraOptions;
  /** The matrices that are trained. */
  readonly parameters: ParameterStore;
  /** W₀ of the adapted weights; shares memory with the policy until that changes. */
  private base: ParameterStore;
  private origin: BaseModel;

  constructor(policy: ParameterStore, options: LoraOptions, origin: BaseModel) {
    this.options = options;
    this.base = baseOf(policy, options);
    this.origin = origin;
    this.parameters = ParameterStore.of(fresh(this.shapes(), options.seed));
  }

  /** What is written to a folder. */
  saved(): SavedAdapter {
    return { options: this.options, tensors: this.parameters.source(), base: this.origin };
  }

  /** α/r. */
  get scale(): number {
    return this.options.alpha / this.options.rank;
  }

  /** The pair of a weight; null where it is frozen. */
  pairOf(weight: string): AdapterPair | null {
    const { a, b } = adapterNames(weight);
    const found = this.parameters.find(a);
    return found === null ? null : { a: found, b: this.parameters.get(b), scale: this.scale };
  }

  /** Updates the policy's weights from the pairs. */
  merge(policy: ParameterStore): void {
    for (const name of this.base.names()) {
      const { a, b, scale } = this.pairOf(name) as AdapterPair;
      const merged = scope(() => tf.add(this.base.get(name), tf.mul(tf.matMul<Tensor>(b, a), scale)));
      policy.replace(name, merged);
    }
  }

  /** The adapted weights of the policy as they are; memory is shared until they change. */
  merged(policy: ParameterStore): ParameterStore {
    return baseOf(policy, this.options);
  }

  /** The policy's present weights, which are those of `origin`, become W₀ under fresh pairs. */
  rebase(policy: ParameterStore, origin: BaseModel): void {
    this.base.dispose();
    this.base = baseOf(policy, this.options);
    this.origin = origin;
    this.take(fresh(this.shapes(), this.options.seed));
  }

  /** Takes the pairs of a file; the caller sets the merged weights that were saved with it. */
  take(source: TensorSource): void {
    for (const name of this.parameters.names()) {
      this.parameters.replace(name, tf.tensor(source.read(name), this.parameters.get(name).shape));
    }
  }

  dispose(): void {
    this.base.dispose();
    this.parameters.dispose();
  }

  private shapes(): ReadonlyMap<string, readonly number[]> {
    return adapterShapes(new Map(this.base.names().map((name) => [name, this.base.get(name).shape])), this.options);
  }
}

function baseOf(policy: ParameterStore, options: LoraOptions): ParameterStore {
  return policy.copy((name) => isAdapted(name, options));
}

/** A uniform in ±1/√in (PEFT's default, Kaiming with a = √5), B zero: training starts at W₀. */
function fresh(shapes: ReadonlyMap<string, readonly number[]>, seed: number): TensorSource {
  const tensors: Record<string, { shape: readonly number[]; data: Float32Array }> = {};
  for (const [name, shape] of shapes) {
    const data = new Float32Array(elementCount(shape));
    if (name.includes(".lora_A.")) {
      const bound = 1 / Math.sqrt(shape[1] as number);
      const key = counterKey(seed, "lora", name);
      for (let i = 0; i < data.length; i += 1) data[i] = bound * (2 * uniform(key, i) - 1);
    }
    tensors[name] = { shape, data };
  }
  return tensorsInMemory(tensors);
}
