/** The matrices of the float64 references and their shape checks. */
import { assertSameLength, at } from "../../src/algorithms/shapes.js";
import { WeirError } from "../../src/errors.js";

/** A row-major matrix as nested arrays, [rows][columns]; rows may be of unequal length only where a function says so. */
export type Matrix = readonly (readonly number[])[];

/** All matrices have the same number of rows and equal row lengths, row by row. */
export function assertSameShape(names: string, ...matrices: readonly Matrix[]): void {
  assertSameLength(names, ...matrices);
  const first = matrices[0];
  if (first === undefined) return;
  first.forEach((row, b) => {
    const lengths = matrices.map((matrix) => at(matrix, b).length);
    if (lengths.some((length) => length !== row.length)) {
      throw new WeirError("WEIR_E_SHAPE", `expected ${names} of one shape, row ${b} has lengths ${lengths.join(", ")}`);
    }
  });
}
