/**
 * Group-relative advantages. Rewards of one group are [G]; results are [G], one per member.
 * A group of equal rewards gives exactly 0 for every member, whatever the rounding of its mean.
 */
import { assertFinite, assertNotEmpty, assertSameLength, at } from "./shapes.js";
import { mean, variance } from "./statistics.js";

/** Added to the standard deviation; verl's value, which the golden numbers rest on. */
export const ADVANTAGE_EPSILON = 1e-6;

export interface GroupAdvantageOptions {
  readonly epsilon?: number;
  /** False is Dr. GRPO: A = r − mean. */
  readonly normaliseByStd?: boolean;
  /** `vectorised` floors the variance at 1e-6 before the root, as verl's later version does. */
  readonly variant?: "loop" | "vectorised";
}

/**
 * Eq. 5: A_i = (r_i − mean) / (std + ε), std with ddof 1. A group of one has mean 0 and std 1.
 * Throws WEIR_E_SHAPE on an empty group and WEIR_E_NON_FINITE on NaN or infinite rewards.
 */
export function groupAdvantages(rewards: readonly number[], options: GroupAdvantageOptions = {}): number[] {
  const { epsilon = ADVANTAGE_EPSILON, normaliseByStd = true, variant = "loop" } = options;
  assertNotEmpty("rewards", rewards);
  assertFinite("rewards", rewards);
  if (rewards.length === 1) return normaliseByStd ? [at(rewards, 0) / (1 + epsilon)] : [at(rewards, 0)];
  if (rewards.every((reward) => reward === rewards[0])) return rewards.map(() => 0);
  const centre = mean(rewards);
  if (!normaliseByStd) return rewards.map((reward) => reward - centre);
  const spread = variance(rewards, 1);
  const std = Math.sqrt(variant === "vectorised" ? Math.max(spread, 1e-6) : spread);
  return rewards.map((reward) => (reward - centre) / (std + epsilon));
}

/** RLOO: A_i = n/(n−1)·(r_i − mean), which is r_i minus the mean of the others; a group of one keeps r_i. */
export function leaveOneOutAdvantages(rewards: readonly number[]): number[] {
  assertNotEmpty("rewards", rewards);
  assertFinite("rewards", rewards);
  const n = rewards.length;
  if (n === 1) return [...rewards];
  if (rewards.every((reward) => reward === rewards[0])) return rewards.map(() => 0);
  const centre = mean(rewards);
  return rewards.map((reward) => (n / (n - 1)) * (reward - centre));
}

/** Applies a per-group function to rewards whose groups may be interleaved; group[i] names the group of rewards[i]. */
export function advantagesByGroup(
  rewards: readonly number[],
  group: readonly string[],
  perGroup: (rewards: readonly number[]) => readonly number[],
): number[] {
  assertSameLength("rewards, group", rewards, group);
  const members = new Map<string, number[]>();
  group.forEach((name, index) => {
    const list = members.get(name);
    if (list) list.push(index);
    else members.set(name, [index]);
  });
  const result = new Array<number>(rewards.length).fill(0);
  for (const indices of members.values()) {
    const advantages = perGroup(indices.map((index) => at(rewards, index)));
    indices.forEach((index, position) => {
      result[index] = at(advantages, position);
    });
  }
  return result;
}
