/**
 * Difficulty (Eq. 10), smoothed by a Beta(1, 1) prior, with its uncertainty. A trial is a scored rollout (I1); its success in
 * [0, 1] is that of algorithms/accuracy.ts, so that fractional rewards count as fractional successes.
 */
import { betaQuantile } from "./beta.js";

export interface DifficultyEstimate {
  /** Posterior mean of the accuracy under Beta(1, 1): (Σr + 1)/(n + 2). */
  readonly accuracy: number;
  /** 1 / accuracy: finite, at most n + 2, so that a task seen once does not count as impossible. */
  readonly difficulty: number;
  /** Central 90 % credible interval of the difficulty. */
  readonly low: number;
  readonly high: number;
}

/** Prior pseudo-counts of one success and one failure: the uniform prior. */
const PRIOR = 1;

/** From sufficient statistics: the sum of `successes` in `trials` rollouts. */
export function difficultyFromCounts(successes: number, trials: number): DifficultyEstimate {
  const a = successes + PRIOR;
  const b = trials - successes + PRIOR;
  const accuracy = a / (a + b);
  return {
    accuracy,
    difficulty: 1 / accuracy,
    low: 1 / betaQuantile(0.95, a, b),
    high: 1 / betaQuantile(0.05, a, b),
  };
}
