/** Owns the interval of a mean: over groups of a phase, or over seeds (Student's t). */
import { WeirError } from "../errors.js";
import { studentQuantile } from "./beta.js";
import { mean, standardDeviation } from "./statistics.js";

/** Two-sided interval. */
export interface Interval {
  readonly low: number;
  readonly high: number;
}

export interface MeanInterval extends Interval {
  readonly mean: number;
  /** Sample standard deviation (ddof 1). */
  readonly std: number;
  readonly n: number;
}

/** Mean over seeds with its t interval: mean ± t_{n−1}·s/√n. Needs n ≥ 2. */
export function meanInterval(values: readonly number[], confidence = 0.95): MeanInterval {
  if (values.length < 2) {
    throw new WeirError("WEIR_E_SHAPE", `an interval of a mean needs at least two values, got ${values.length}`);
  }
  const centre = mean(values);
  const std = standardDeviation(values, 1);
  const half = (studentQuantile(0.5 + confidence / 2, values.length - 1) * std) / Math.sqrt(values.length);
  return { mean: centre, std, n: values.length, low: centre - half, high: centre + half };
}
