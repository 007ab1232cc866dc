/** Statistics that benchmarks report: ratios by pair, and the slope of a series. Pure. */
import { assertNotEmpty, assertSameLength } from "../../algorithms/shapes.js";
import { mean, median } from "../../algorithms/statistics.js";

/** Whether a larger or a smaller figure is the better one. */
export type Better = "higher" | "lower";

export interface RatioSummary {
  /** One per pair, in order; above 1 where ours is the better. */
  readonly values: readonly number[];
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** How many times as good ours is as theirs, pair by pair: ours/theirs, or theirs/ours where lower is better. */
export function ratioSummary(ours: readonly number[], theirs: readonly number[], better: Better): RatioSummary {
  assertSameLength("ours, theirs", ours, theirs);
  assertNotEmpty("ours", ours);
  const values = ours.map((own, i) => {
    const other = theirs[i] as number;
    return better === "higher" ? own / other : other / own;
  });
  return { values, median: median(values), min: Math.min(...values), max: Math.max(...values) };
}

/** Slope of the least-squares line through (x, y), in units of y per unit of x; 0 where all x are equal. */
export function leastSquaresSlope(x: readonly number[], y: readonly number[]): number {
  assertSameLength("x, y", x, y);
  const [centreX, centreY] = [mean(x), mean(y)];
  let covariance = 0;
  let spread = 0;
  for (const [i, value] of x.entries()) {
    covariance += (value - centreX) * ((y[i] as number) - centreY);
    spread += (value - centreX) ** 2;
  }
  return spread === 0 ? 0 : covariance / spread;
}

/** Five significant digits: no measurement here has more. */
export function rounded(value: number): number {
  return Number(value.toPrecision(5));
}

/** Bytes in units of 1e9. */
export function gigabytes(bytes: number): number {
  return rounded(bytes / 1e9);
}
