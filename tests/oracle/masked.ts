/** Masked reductions over [B, T] matrices; masked entries never take part, not even as NaN times zero. */
import { at } from "../../src/algorithms/shapes.js";
import { WeirError } from "../../src/errors.js";
import { assertSameShape, type Matrix } from "./shapes.js";

/** Calls `visit` for every entry with a non-zero mask. */
export function forEachMasked(
  values: Matrix,
  mask: Matrix,
  visit: (value: number, b: number, t: number) => void,
): void {
  assertSameShape("values, mask", values, mask);
  values.forEach((row, b) => {
    const maskRow = at(mask, b);
    row.forEach((value, t) => {
      if (maskRow[t] !== 0) visit(value, b, t);
    });
  });
}

/** Σ x over the mask. */
export function maskedSum(values: Matrix, mask: Matrix): number {
  let total = 0;
  forEachMasked(values, mask, (value) => {
    total += value;
  });
  return total;
}

/** Number of unmasked entries. */
export function maskCount(mask: Matrix): number {
  return maskedSum(
    mask.map((row) => row.map(() => 1)),
    mask,
  );
}

/** Σ x·m / Σ m. WEIR_E_SHAPE when nothing is unmasked. */
export function maskedMean(values: Matrix, mask: Matrix): number {
  const count = maskCount(mask);
  if (count === 0) throw new WeirError("WEIR_E_SHAPE", "a masked mean needs at least one unmasked entry, got none");
  return maskedSum(values, mask) / count;
}

/** Unbiased variance (ddof 1) over the mask. WEIR_E_SHAPE with fewer than two unmasked entries. */
export function maskedVariance(values: Matrix, mask: Matrix): number {
  const count = maskCount(mask);
  if (count < 2) throw new WeirError("WEIR_E_SHAPE", `a masked variance needs two unmasked entries, got ${count}`);
  const centre = maskedMean(values, mask);
  let squares = 0;
  forEachMasked(values, mask, (value) => {
    squares += (value - centre) ** 2;
  });
  return squares / (count - 1);
}

/** (x − mean) / sqrt(var + 1e-8) on the mask, 0 elsewhere; `shiftMean` false adds the mean back (verl's masked_whiten). */
export function maskedWhiten(values: Matrix, mask: Matrix, shiftMean = true): number[][] {
  const centre = maskedMean(values, mask);
  const scale = 1 / Math.sqrt(maskedVariance(values, mask) + 1e-8);
  return values.map((row, b) =>
    row.map((value, t) => {
      if (at(mask, b)[t] === 0) return 0;
      const white = (value - centre) * scale;
      return shiftMean ? white : white + centre;
    }),
  );
}
