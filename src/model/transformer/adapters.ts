/**
 * Low-rank adaptation (LoRA, Hu et al., arXiv 2106.09685): W = W₀ + (α/r)·B·A, with A [r, in] and B [out, r] trained and everything
 * else frozen. The policy's parameters always hold the merged W, so forward passes, decoding, hashing and saving know nothing of
 * adapters; only gradients do. Merging starts from W₀ each time, so rounding does not add up.
 * Invariant: the policy's adapted matrices are W₀ + (α/r)·B·A of the pairs held here.
 */
import { counterKey, uniform } from "../../algorithms/random.js";
import type { LoraOptions } from "../../contracts/engine.js";
import { WeirError } from "../../errors.js";
import { scope, type Tensor, tf } from "../engine/tf.js";
import type { SavedAdapter } from "../io/adapter-folder.js";
import { elementCount, type TensorSource, tensorsInMemory } from "../io/tensor-source.js";
import { type AdapterPair, adapterNames } from "./gradients.js";
import { ParameterStore } from "./parameters.js";

/** Whether a weight is one that the options adapt. */
export function isAdapted(weight: string, { targets }: LoraOptions): boolean {
  return targets.some((target) => weight.endsWith(`.${target}.weight`));
}

/** Shapes of all pairs of a model; `shapes` are those of its tensors. */
export function adapterShapes(
  shapes: ReadonlyMap<string, readonly number[]>,
  options: LoraOptions,
): ReadonlyMap<string, readonly number[]> {
  const result = new Map<string, readonly number[]>();
  for (const [name, shape] of shapes) {
    if (!isAdapted(name, options)) continue;
    const [out, input] = shape as readonly [number, number];
    const { a, b } = adapterNames(name);
    result.set(a, [options.rank, input]);
    result.set(b, [out, options.rank]);
  }
  return result;
}

export class Adapters {
  readonly options: LoraOptions;
  /** The matrices that are trained. */
  readonly parameters: ParameterStore;
  /** W₀ of the adapted weights; shares memory with the policy until that moves on. */
  private base: ParameterStore;
  /** Content hash of the whole model that W₀ belongs to. */
  private baseSha: string;

  constructor(policy: ParameterStore, options: LoraOptions, sha256: string) {
    this.options = options;
    this.base = baseOf(policy, options);
    this.baseSha = sha256;
    this.parameters = ParameterStore.of(fresh(this.shapes(), options.seed));
  }

  get baseSha256(): string {
    return this.baseSha;
  }

  /** What a folder needs to carry them; `baseDir` is that of the frozen weights. */
  saved(baseDir: string): SavedAdapter {
    return { options: this.options, tensors: this.parameters.source(), baseDir, baseSha256: this.baseSha };
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

  /** Brings the policy's weights up to the pairs. */
  merge(policy: ParameterStore): void {
    for (const name of this.base.names()) {
      const { a, b, scale } = this.pairOf(name) as AdapterPair;
      const merged = scope(() => tf.add(this.base.get(name), tf.mul(tf.matMul<Tensor>(b, a), scale)));
      policy.replace(name, merged);
    }
  }

  /** The policy's present weights become W₀ under fresh pairs; `sha256` is their hash. */
  rebase(policy: ParameterStore, sha256: string): void {
    this.base.dispose();
    this.base = baseOf(policy, this.options);
    this.baseSha = sha256;
    this.take(fresh(this.shapes(), this.options.seed));
  }

  /** Throws WEIR_E_CHECKPOINT_DAMAGED where the pairs of a file are not of this kind. */
  assertFits(source: TensorSource): void {
    const offered = new Set(source.names());
    for (const name of this.parameters.names()) {
      const shape = this.parameters.get(name).shape;
      if (offered.has(name) && elementCount(source.shape(name)) === elementCount(shape)) continue;
      throw new WeirError(
        "WEIR_E_CHECKPOINT_DAMAGED",
        `the adapter was expected to hold ${name} with shape [${shape.join(", ")}]; resume with the model.lora it was trained with`,
        { tensor: name, shape },
      );
    }
  }

  /** Takes the pairs of a file; the caller sets the merged weights that were saved beside it. */
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
