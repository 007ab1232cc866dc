/**
 * Advantages that use more than one group's rewards: lengths, all tokens of the batch, several rewards. Members of a batch
 * may be of any groups in any order; results are per token, [B][T], T the member's length.
 */
import { WeirError } from "../errors.js";
import { ADVANTAGE_EPSILON, advantagesByGroup, groupAdvantages } from "./advantages.js";
import { at } from "./shapes.js";

export interface BatchMember {
  readonly reward: number;
  /** Name of the group that the member is of. */
  readonly group: string;
  /** Response length in tokens, at least 1. */
  readonly length: number;
}

/** Added to the variance before the root, as verl's masked_whiten does. */
const WHITEN_EPSILON = 1e-8;

/** Group means; a group of one has mean 0, as in verl. */
function centred(members: readonly BatchMember[]): number[] {
  return advantagesByGroup(
    members.map(({ reward }) => reward),
    members.map(({ group }) => group),
    (rewards) => (rewards.length === 1 ? rewards : groupAdvantages(rewards, { normaliseByStd: false })),
  );
}

/** One value per member, given to each of its tokens. [B] → [B][T] */
function broadcast(values: readonly number[], members: readonly BatchMember[]): number[][] {
  return members.map(({ length }, b) => new Array<number>(length).fill(at(values, b)));
}

/**
 * (x − mean)/sqrt(var + 1e-8) over all tokens of the batch, variance with ddof 1.
 * Throws WEIR_E_SHAPE with fewer than two tokens.
 */
export function whitenedTokens(values: readonly (readonly number[])[]): number[][] {
  const flat = values.flat();
  if (flat.length < 2)
    throw new WeirError("WEIR_E_SHAPE", `whitening needs at least two tokens in the batch, got ${flat.length}`);
  const mean = flat.reduce((sum, value) => sum + value, 0) / flat.length;
  const variance = flat.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (flat.length - 1);
  const scale = 1 / Math.sqrt(variance + WHITEN_EPSILON);
  return values.map((row) => row.map((value) => (value - mean) * scale));
}

/** OPO (arXiv 2505.23585): r_i − Σ_j |y_j|·r_j / Σ_j |y_j| over the group; a group of one has baseline 0. [B][T] */
export function opoAdvantages(members: readonly BatchMember[]): number[][] {
  const sums = new Map<string, { weighted: number; lengths: number; count: number }>();
  for (const { reward, group, length } of members) {
    const sum = sums.get(group) ?? { weighted: 0, lengths: 0, count: 0 };
    sums.set(group, { weighted: sum.weighted + length * reward, lengths: sum.lengths + length, count: sum.count + 1 });
  }
  const values = members.map(({ reward, group }) => {
    const { weighted, lengths, count } = sums.get(group) as { weighted: number; lengths: number; count: number };
    return count === 1 ? reward : reward - weighted / lengths;
  });
  return broadcast(values, members);
}

/**
 * REINFORCE++ (arXiv 2501.03262): each token's return is the sequence's reward, discounted by γ per token to the end;
 * returns are whitened over the batch's tokens. [B][T]
 */
export function reinforcePlusPlusAdvantages(members: readonly BatchMember[], gamma = 1): number[][] {
  return whitenedTokens(
    members.map(({ reward, length }) => Array.from({ length }, (_, t) => reward * gamma ** (length - 1 - t))),
  );
}

/** REINFORCE++ with the group's mean as baseline: r − mean, whitened over the batch's tokens. [B][T] */
export function reinforcePlusPlusBaselineAdvantages(members: readonly BatchMember[]): number[][] {
  return whitenedTokens(broadcast(centred(members), members));
}

/** One reward of several, by its key, with its weight in the sum. */
export interface WeighedReward {
  readonly rewards: readonly number[]; // [B]
  readonly weight: number;
}

/**
 * GDPO (arXiv 2601.05242): each reward is normalised in its group by itself (Eq. 5), the results are summed with their weights
 * and whitened over the batch's tokens, so that no reward dominates another. [B][T]. Throws WEIR_E_SHAPE without a reward.
 */
export function gdpoAdvantages(
  members: readonly BatchMember[],
  parts: readonly WeighedReward[],
  epsilon = ADVANTAGE_EPSILON,
): number[][] {
  if (parts.length === 0) throw new WeirError("WEIR_E_SHAPE", "gdpo needs at least one reward, got none");
  const groups = members.map(({ group }) => group);
  const sums = new Array<number>(members.length).fill(0);
  for (const { rewards, weight } of parts) {
    const own = advantagesByGroup(rewards, groups, (values) => groupAdvantages(values, { epsilon }));
    own.forEach((value, b) => {
      sums[b] = at(sums, b) + weight * value;
    });
  }
  return whitenedTokens(broadcast(sums, members));
}
