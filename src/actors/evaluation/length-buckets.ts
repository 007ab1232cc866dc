/** Length buckets of evaluations: bounds of their own, so that runs with other phases can be compared. */

/** Upper bounds in tokens, inclusive; beyond the last there is one more bucket. */
export const DEFAULT_BUCKETS: readonly number[] = [4_096, 8_192, 16_384, 32_768, 65_536, 131_072];

/** Label of prompts whose length nobody has told. */
export const UNKNOWN_LENGTH = "unknown";

/** `1-4096`, `4097-8192` … `131073+`; `unknown` for null. */
export function lengthBucket(tokens: number | null, bounds: readonly number[]): string {
  if (tokens === null) return UNKNOWN_LENGTH;
  const at = bounds.findIndex((bound) => tokens <= bound);
  const from = (at < 0 ? (bounds.at(-1) ?? 0) : at === 0 ? 0 : (bounds[at - 1] as number)) + 1;
  return at < 0 ? `${from}+` : `${from}-${bounds[at]}`;
}

/** All labels, in growing order. */
export function bucketLabels(bounds: readonly number[]): string[] {
  const ends = bounds.map((bound) => lengthBucket(bound, bounds));
  return [...ends, lengthBucket((bounds.at(-1) ?? 0) + 1, bounds), UNKNOWN_LENGTH];
}
