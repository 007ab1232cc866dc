import { phaseOf } from "../algorithms/phases.js";

/** Length buckets: the ranges of the phases (Eq. 9), for reports by length. */

export interface LengthBound {
  readonly k: number;
  readonly minTokens: number;
  readonly maxTokens: number;
}

/** True for lengths with minTokens < tokens ≤ maxTokens. */
export function holds(bucket: Pick<LengthBound, "minTokens" | "maxTokens">, tokens: number): boolean {
  return tokens > bucket.minTokens && tokens <= bucket.maxTokens;
}

/** The bucket of a length; null where there is none. */
export function bucketOf(tokens: number, buckets: readonly LengthBound[]): number | null {
  return phaseOf(
    tokens,
    buckets.map((bucket) => bucket.maxTokens),
  );
}

/** How a bucket is written in reports: `121-240` for 120 < tokens ≤ 240. */
export function bucketLabel(bucket: LengthBound): string {
  return `${bucket.minTokens + 1}-${bucket.maxTokens}`;
}
