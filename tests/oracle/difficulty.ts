/** Difficulty (Eq. 10) from the rewards themselves: reference of the product, which keeps counts. Rewards are unshaped, in [0, 1]. */
import { type DifficultyEstimate, difficultyFromCounts } from "../../src/algorithms/difficulty.js";
import { assertFinite, assertNotEmpty } from "../../src/algorithms/shapes.js";
import { mean } from "../../src/algorithms/statistics.js";

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

/** Eq. 10 smoothed by a Beta(1, 1) prior, with its uncertainty. Fractional rewards count as fractional successes. */
export function smoothedDifficulty(rewards: readonly number[]): DifficultyEstimate {
  assertNotEmpty("rewards", rewards);
  assertFinite("rewards", rewards);
  const successes = rewards.reduce((total, reward) => total + Math.min(Math.max(reward, 0), 1), 0);
  return difficultyFromCounts(successes, rewards.length);
}
