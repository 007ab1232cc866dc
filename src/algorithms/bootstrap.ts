/** Percentile bootstrap (Efron 1979) over units that are drawn whole: the responses to one question stay together. */
import { WeirError } from "../errors.js";
import type { Interval } from "./intervals.js";
import { below } from "./random.js";
import { quantile } from "./statistics.js";

/** What a unit adds to a ratio Σ sum / Σ count: of a mean over responses, their values and their number. */
export interface UnitSum {
  readonly sum: number;
  readonly count: number;
}

export interface BootstrapOptions {
  /** Key of the random stream (`counterKey`); the same key gives the same interval. */
  readonly key: number;
  /** Resamples; with 2,000 the ends of a 95 % interval move by some hundredths of its width from key to key. */
  readonly draws?: number;
  readonly confidence?: number;
}

const DRAWS = 2_000;

/**
 * Intervals of several ratios over the same n units: `series` is [M][n], the result [M]. Each resample draws n units with replacement
 * and gives Σ sum / Σ count for each of the M; resamples in which a count is 0 say nothing about that ratio and are left out of it.
 * Null where n < 2, or where no resample has a ratio. Errors: WEIR_E_SHAPE where the series have different lengths.
 */
export function bootstrapRatios(
  series: readonly (readonly UnitSum[])[],
  { key, draws = DRAWS, confidence = 0.95 }: BootstrapOptions,
): (Interval | null)[] {
  const n = series[0]?.length ?? 0;
  if (series.some((units) => units.length !== n))
    throw new WeirError(
      "WEIR_E_SHAPE",
      `a bootstrap needs series of one length, got ${series.map((units) => units.length)}`,
    );
  if (n < 2) return series.map(() => null);
  // Rows of plain numbers: evaluations have thousands of units and some ten series.
  const [unitSums, unitCounts] = [(unit: UnitSum) => unit.sum, (unit: UnitSum) => unit.count].map((of) =>
    series.map((units) => Float64Array.from(units, of)),
  ) as [Float64Array[], Float64Array[]];
  const picked = new Uint32Array(n);
  const ratios: number[][] = series.map(() => []);
  for (let draw = 0; draw < draws; draw++) {
    for (let i = 0; i < n; i++) picked[i] = below(n, key, draw * n + i);
    for (let m = 0; m < series.length; m++) {
      const count = sumAt(unitCounts[m] as Float64Array, picked);
      if (count > 0) (ratios[m] as number[]).push(sumAt(unitSums[m] as Float64Array, picked) / count);
    }
  }
  const tail = (1 - confidence) / 2;
  return ratios.map((found) =>
    found.length === 0 ? null : { low: quantile(found, tail), high: quantile(found, 1 - tail) },
  );
}

function sumAt(values: Float64Array, places: Uint32Array): number {
  let total = 0;
  for (let i = 0; i < places.length; i++) total += values[places[i] as number] as number;
  return total;
}
