/** The interface for reading weights, one tensor at a time; model folders, GGUF files and engines implement it. */
import { WeirError } from "../../errors.js";

export interface TensorSource {
  /** Hugging Face tensor names, sorted. */
  names(): readonly string[];
  /** Outermost dimension first. Throws WEIR_E_MODEL_FILES for an unknown name. */
  shape(name: string): readonly number[];
  /** Row-major values widened to float32; a fresh array each call, so that nothing large is retained. */
  read(name: string): Float32Array;
}

/** Number of elements of a shape; 1 for a scalar. */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

export function unknownTensor(name: string, where: string): WeirError {
  return new WeirError(
    "WEIR_E_MODEL_FILES",
    `${where} has no tensor ${name}. Check that the folder holds the whole model.`,
    {
      tensor: name,
    },
  );
}

/** Offers tensors that are already in memory. */
export function tensorsInMemory(
  tensors: Readonly<Record<string, { readonly shape: readonly number[]; readonly data: Float32Array }>>,
): TensorSource {
  const entry = (name: string) => {
    const found = Object.hasOwn(tensors, name) ? tensors[name] : undefined;
    if (found === undefined) throw unknownTensor(name, "The set of tensors in memory");
    return found;
  };
  return {
    names: () => Object.keys(tensors).sort(),
    shape: (name) => entry(name).shape,
    read: (name) => entry(name).data.slice(),
  };
}
