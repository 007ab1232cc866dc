/**
 * Owns difficulty (Eq. 10) and which tasks retrospective sampling carries into the next phase.
 * Rewards are the unshaped ones, in [0, 1]; those of failed or timed-out scorings are not among them (I1).
 */
import { betaQuantile } from "./beta.js";
import { assertFinite, assertNotEmpty } from "./shapes.js";
import { mean } from "./statistics.js";

/** Eq. 10: diff = 1 / mean(r_1 … r_G); infinite where the mean is 0. */
export function difficulty(rewards: readonly number[]): number {
  assertFinite("rewards", rewards);
  const average = mean(rewards);
  return average === 0 ? Number.POSITIVE_INFINITY : 1 / average;
}

/** What the paper ran: carry exactly the tasks whose mean accuracy is 0. */
export function isCarriedByPaper(rewards: readonly number[]): boolean {
  return rewards.length > 0 && mean(rewards) === 0;
}

export interface DifficultyEstimate {
  /** Posterior mean of the accuracy under Beta(1, 1): (Σr + 1)/(n + 2). */
  readonly accuracy: number;
  /** 1 / accuracy: finite, at most n + 2, so that a task seen once is not taken for impossible. */
  readonly difficulty: number;
  /** Central 90 % credible interval of the difficulty. */
  readonly low: number;
  readonly high: number;
}

/** Prior pseudo-counts of one success and one failure: the uniform prior. */
const PRIOR = 1;

/** Eq. 10 smoothed by a Beta(1, 1) prior, with its uncertainty. Fractional rewards count as fractional successes. */
export function smoothedDifficulty(rewards: readonly number[]): DifficultyEstimate {
  assertNotEmpty("rewards", rewards);
  assertFinite("rewards", rewards);
  const successes = rewards.reduce((total, reward) => total + Math.min(Math.max(reward, 0), 1), 0);
  return difficultyFromCounts(successes, rewards.length);
}

/** The same from sufficient statistics: `successes` of `trials`. */
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
