/** Group-relative advantages over batches of sequences, as verl lays them out: reference of the tests. */
import { advantagesByGroup, type GroupAdvantageOptions, groupAdvantages } from "../../src/algorithms/advantages.js";
import { assertSameLength, at } from "../../src/algorithms/shapes.js";
import { assertSameShape, type Matrix } from "./shapes.js";

/** A_{i,t} = A_i · mask_{i,t}; [B] over a mask [B, T]. */
export function broadcastAdvantages(advantages: readonly number[], mask: Matrix): number[][] {
  assertSameLength("advantages, mask", advantages, mask);
  return mask.map((row, b) => row.map((m) => (m === 0 ? 0 : at(advantages, b) * m)));
}

/** Eq. 5 from token-level rewards: a sequence's score is the sum over its tokens. All matrices [B, T]. */
export function tokenLevelGroupAdvantages(
  tokenRewards: Matrix,
  mask: Matrix,
  group: readonly string[],
  options: GroupAdvantageOptions = {},
): number[][] {
  assertSameShape("tokenRewards, mask", tokenRewards, mask);
  const scores = tokenRewards.map((row) => row.reduce((total, reward) => total + reward, 0));
  return broadcastAdvantages(
    advantagesByGroup(scores, group, (rewards) => groupAdvantages(rewards, options)),
    mask,
  );
}
