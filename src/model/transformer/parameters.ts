/**
 * The parameters of one policy: Hugging Face names → device tensors, and their content hash.
 * Invariants: tensors are never changed in place, so a copy of the store (the frozen reference) costs no memory until
 * the policy changes; names and shapes never change.
 */
import { WeirError } from "../../errors.js";
import type { ModelConfig } from "../io/config.js";
import { expectedTensors } from "../io/tensor-names.js";
import { elementCount, type TensorSource } from "../io/tensor-source.js";
import { type Tensor, tf } from "../tensor/tf.js";
import { contentHash, tensorDigest } from "./content-hash.js";

export class ParameterStore {
  /** Counts changes, so that caches of what was made from the weights can tell. */
  revision = 0;
  private readonly tensors: Map<string, Tensor>;

  private constructor(tensors: Map<string, Tensor>) {
    this.tensors = tensors;
  }

  /** Uploads every tensor of the configuration. Throws WEIR_E_MODEL_FILES where one is missing or has another shape. */
  static load(config: ModelConfig, source: TensorSource): ParameterStore {
    for (const [name, shape] of expectedTensors(config)) {
      const found = source.shape(name);
      if (elementCount(found) !== elementCount(shape)) {
        throw new WeirError(
          "WEIR_E_MODEL_FILES",
          `tensor ${name} was expected with shape [${shape.join(", ")}], found [${found.join(", ")}]; take the folder's own config.json`,
          { tensor: name, expected: shape, found },
        );
      }
    }
    return ParameterStore.of(source, expectedTensors(config));
  }

  /** Uploads the tensors of a source: those of `shapes`, in these shapes, or all. */
  static of(source: TensorSource, shapes?: ReadonlyMap<string, readonly number[]>): ParameterStore {
    const wanted = shapes ?? new Map(source.names().map((name) => [name, source.shape(name)]));
    const tensors = new Map<string, Tensor>();
    for (const [name, shape] of wanted) tensors.set(name, tf.keep(tf.tensor(source.read(name), [...shape])));
    return new ParameterStore(tensors);
  }

  get(name: string): Tensor {
    const found = this.tensors.get(name);
    if (found === undefined) throw new WeirError("WEIR_E_MODEL_FILES", `the model has no tensor ${name}`, { name });
    return found;
  }

  find(name: string): Tensor | null {
    return this.tensors.get(name) ?? null;
  }

  /** Sorted, as the hash and the files need them. */
  names(): string[] {
    return [...this.tensors.keys()].sort();
  }

  /** Replaces a tensor and frees the old one. */
  replace(name: string, tensor: Tensor): void {
    const old = this.get(name);
    this.tensors.set(name, tf.keep(tensor));
    this.revision += 1;
    old.dispose();
  }

  /** The same values, or those of some names, in a store of its own; memory is shared until one of the two changes. */
  copy(wanted: (name: string) => boolean = () => true): ParameterStore {
    const chosen = [...this.tensors].filter(([name]) => wanted(name));
    return new ParameterStore(new Map(chosen.map(([name, tensor]) => [name, tf.keep(tf.clone(tensor))])));
  }

  /** Takes the tensors of another store, which is empty afterwards, in the place of its own. */
  take(other: ParameterStore): void {
    for (const [name, tensor] of other.tensors) this.replace(name, tensor);
    other.tensors.clear();
  }

  count(): number {
    let count = 0;
    for (const tensor of this.tensors.values()) count += tensor.size;
    return count;
  }

  /** Content hash (I9); reads every weight once. `digests` computes those of tensors on the device, where available. */
  sha256(digests?: ((tensors: readonly Tensor[]) => readonly Uint8Array[]) | null): string {
    const tensors = this.names().map((name) => this.get(name));
    return contentHash(digests?.(tensors) ?? tensors.map((tensor) => tensorDigest(tensor.dataSync<"float32">())));
  }

  source(): TensorSource {
    return {
      names: () => this.names(),
      shape: (name) => this.get(name).shape,
      read: (name) => this.get(name).dataSync<"float32">().slice(),
    };
  }

  dispose(): void {
    for (const tensor of this.tensors.values()) tensor.dispose();
    this.tensors.clear();
  }
}
