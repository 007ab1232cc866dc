/** The shape checks of the float64 functions: each fails with WEIR_E_SHAPE naming what was expected and what came. */
import { WeirError } from "../errors.js";

/** Element of an array whose index is known to be in range. */
export function at<T>(items: readonly T[], index: number): T {
  if (index < 0 || index >= items.length) {
    throw new WeirError("WEIR_E_SHAPE", `expected an index in [0, ${items.length}), got ${index}`);
  }
  return items[index] as T;
}

/** All arrays have one length; `names` are those of the arguments, in order. */
export function assertSameLength(names: string, ...arrays: readonly (readonly unknown[])[]): void {
  const lengths = arrays.map((array) => array.length);
  if (lengths.some((length) => length !== lengths[0])) {
    throw new WeirError("WEIR_E_SHAPE", `expected ${names} of one length, got lengths ${lengths.join(", ")}`);
  }
}

/** At least one element. */
export function assertNotEmpty(name: string, items: readonly unknown[]): void {
  if (items.length === 0) throw new WeirError("WEIR_E_SHAPE", `expected at least one element in ${name}, got none`);
}

/** Every element is finite. */
export function assertFinite(name: string, items: readonly number[]): void {
  items.forEach((value, index) => {
    if (!Number.isFinite(value)) {
      throw new WeirError("WEIR_E_NON_FINITE", `expected finite ${name}, got ${value} at index ${index}`);
    }
  });
}
