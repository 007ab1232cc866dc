/**
 * The built-in advantages that see their batch: `opo`, `reinforce_pp`, `reinforce_pp_baseline` and `gdpo`.
 * The formulas are those of src/algorithms/batch-advantages.ts.
 */
import {
  type BatchMember,
  gdpoAdvantages,
  opoAdvantages,
  reinforcePlusPlusAdvantages,
  reinforcePlusPlusBaselineAdvantages,
  type WeighedReward,
} from "../../algorithms/batch-advantages.js";
import type { AdvantageGroup, BatchAdvantageActor, GroupAdvantages } from "../../contracts/advantage.js";
import { WeirError } from "../../errors.js";

/** Members of all groups in order; a group is named by its index. */
function membersOf(groups: readonly AdvantageGroup[]): BatchMember[] {
  return groups.flatMap(({ members }, p) =>
    members.map(({ reward, tokenIds }) => ({ reward, group: String(p), length: tokenIds.length })),
  );
}

/** [B][T] by group again: [P][G][T]. */
function byGroup(values: readonly (readonly number[])[], groups: readonly AdvantageGroup[]): GroupAdvantages[] {
  let at = 0;
  return groups.map(({ members }) => {
    at += members.length;
    return values.slice(at - members.length, at);
  });
}

/** `least`: fewest responses to a prompt that it can compare. */
function part(
  kind: string,
  least: number,
  advantages: (members: readonly BatchMember[], groups: readonly AdvantageGroup[]) => readonly (readonly number[])[],
): BatchAdvantageActor {
  return {
    kind,
    specificationVersion: 2,
    minGroupSize: least,
    handle: (groups) => byGroup(advantages(membersOf(groups), groups), groups),
  };
}

/** r minus the group's mean, weighted by length. */
export const createOpoAdvantage = () => part("opo", 2, opoAdvantages);

/** The reward itself, whitened over the batch's tokens: no baseline of the group. */
export const createReinforcePlusPlus = () => part("reinforce_pp", 1, (members) => reinforcePlusPlusAdvantages(members));

/** r minus the group's mean, whitened over the batch's tokens. */
export const createReinforcePlusPlusBaseline = () =>
  part("reinforce_pp_baseline", 2, reinforcePlusPlusBaselineAdvantages);

/** Name of length shaping as a component of the reward. */
const SHAPING = "shaping";

/**
 * Each component of the reward normalised in its group by itself, then summed with its weight and whitened. `weights` names
 * the components; empty takes all that the rewards have, with weight 1. Length shaping is a component where it is not 0.
 * Errors: WEIR_E_REWARD where a reward lacks a component that is named.
 */
export function createGdpoAdvantage(options: {
  readonly epsilon: number;
  readonly weights: Readonly<Record<string, number>>;
}): BatchAdvantageActor {
  return part("gdpo", 2, (members, groups) =>
    gdpoAdvantages(members, rewardsOf(groups, options.weights), options.epsilon),
  );
}

function rewardsOf(groups: readonly AdvantageGroup[], weights: Readonly<Record<string, number>>): WeighedReward[] {
  const members = groups.flatMap((group) => group.members.map((member) => ({ member, group })));
  const asked = Object.keys(weights).filter((name) => name !== SHAPING);
  const named = asked.length > 0 ? asked : [...new Set(members.flatMap(({ member }) => Object.keys(member.parts)))];
  const rewards = named.map((name): WeighedReward => {
    const values = members.map(({ member, group }) => {
      const value = member.parts[name];
      if (value !== undefined) return value;
      throw new WeirError(
        "WEIR_E_REWARD",
        `the advantage "gdpo" reads the reward's part "${name}", which a response to the task "${group.taskId}" lacks (it has ${Object.keys(member.parts).join(", ") || "none"}); name in advantage.rewardWeights parts that every reward has`,
        { part: name, task: group.taskId },
      );
    });
    return { rewards: values, weight: weights[name] ?? 1 };
  });
  const shaping = members.map(({ member }) => member.reward - member.unshaped);
  return shaping.some((value) => value !== 0)
    ? [...rewards, { rewards: shaping, weight: weights[SHAPING] ?? 1 }]
    : rewards;
}
