/**
 * What one length bucket of a held-out evaluation gave. `n` counts the responses, `unscored` those of them whose reward
 * failed, timed out or abstained: they do not count (I1), so accuracy is correct / (n − unscored).
 */
export interface BucketResult {
  readonly n: number;
  readonly correct: number;
  readonly unscored: number;
  /** Mean unshaped reward of the scored responses; null where none was scored. */
  readonly meanReward: number | null;
}

/** What a benchmark gave during training (`evaluation.benchmarks`). */
export interface BenchmarkResult {
  readonly items: number;
  readonly responses: number;
  /** Responses that have a score; the others count in `scoreOverAll` alone, where they add nothing. */
  readonly scored: number;
  readonly scoreOverAll: number;
  /** Null where no response has a score; pass@k likewise is over the items that have k of them. */
  readonly scoreOverScored: number | null;
  readonly passAt: readonly { readonly k: number; readonly value: number }[];
}
