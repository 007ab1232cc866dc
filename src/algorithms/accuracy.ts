/** Accuracy: when a reward counts as correct, and how much of a success a partial one is. Rewards are unshaped, of any finite scale. */

/**
 * Slack relative to the threshold: a reward that is a sum of parts (0.1 + 0.2 + 0.7) may miss 1 by a rounding error, which is
 * some 1e-16 per part; no reward is meant to differ from its threshold by a billionth.
 */
const SLACK = 1e-9;

/** True iff reward ≥ correctAt, tolerating rounding errors. */
export function isCorrect(reward: number, correctAt: number): boolean {
  return reward >= correctAt - SLACK * Math.max(1, Math.abs(correctAt));
}

/**
 * Success in [0, 1] for difficulty (Eq. 10): 1 where the reward is correct, else reward/correctAt clamped at 0.
 * Where correctAt ≤ 0 there is no scale between wrong and right, so that anything below it is 0.
 */
export function successOf(reward: number, correctAt: number): number {
  if (isCorrect(reward, correctAt)) return 1;
  return correctAt > 0 ? Math.max(0, reward / correctAt) : 0;
}
