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
  const ratios: number[][] = series.map(() => []);
  for (let draw = 0; draw < draws; draw++) {
    const sums = new Float64Array(series.length);
    const counts = new Float64Array(series.length);
    for (let i = 0; i < n; i++) {
      const unit = below(n, key, draw * n + i);
      for (const [m, units] of series.entries()) {
        sums[m] = (sums[m] as number) + (units[unit] as UnitSum).sum;
        counts[m] = (counts[m] as number) + (units[unit] as UnitSum).count;
      }
    }
    for (const [m, found] of ratios.entries())
      if ((counts[m] as number) > 0) found.push((sums[m] as number) / (counts[m] as number));
  }
  const tail = (1 - confidence) / 2;
  return ratios.map((found) =>
    found.length === 0 ? null : { low: quantile(found, tail), high: quantile(found, 1 - tail) },
  );
}
