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
