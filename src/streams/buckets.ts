/** Length buckets: the ranges of the phases (Eq. 9), for reports by length. */

export interface LengthBound {
  readonly k: number;
  readonly minTokens: number;
  readonly maxTokens: number;
}

/** Phases 1..K with their ranges, from growing upper bounds. */
export function bucketsOf<P extends { readonly maxTokens: number }>(phases: readonly P[]): (P & LengthBound)[] {
  return phases.map((phase, i) => ({ ...phase, k: i + 1, minTokens: phases[i - 1]?.maxTokens ?? 0 }));
}

/** The bucket that holds a length, null where none does. */
export function bucketOf(tokens: number, buckets: readonly LengthBound[]): number | null {
  return buckets.find((bucket) => tokens > bucket.minTokens && tokens <= bucket.maxTokens)?.k ?? null;
}

/** How a bucket is written in reports: `121-240` for 120 < tokens ≤ 240. */
export function bucketLabel(bucket: LengthBound): string {
  return `${bucket.minTokens + 1}-${bucket.maxTokens}`;
}
