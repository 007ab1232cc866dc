/**
 * The built-in advantages of one group, `grpo` (Eq. 5), `dr_grpo` (no division by the standard deviation) and `rloo`, and
 * the table of all built-in ones.
 */
import { ADVANTAGE_EPSILON, groupAdvantages, leaveOneOutAdvantages } from "../../algorithms/advantages.js";
import type { AdvantageActor, AdvantagePart } from "../../contracts/advantage.js";
import {
  createGdpoAdvantage,
  createOpoAdvantage,
  createReinforcePlusPlus,
  createReinforcePlusPlusBaseline,
} from "./batch-advantage.js";

/** An advantage relative to the group needs at least two responses. */
const RELATIVE = 2;

function perMember(kind: string, advantages: (rewards: readonly number[]) => readonly number[]): AdvantageActor {
  return { kind, specificationVersion: 1, minGroupSize: RELATIVE, handle: ({ rewards }) => advantages(rewards) };
}

/** Eq. 5: (r − mean)/(std + ε), ddof 1. */
export function createGrpoAdvantage(epsilon = ADVANTAGE_EPSILON): AdvantageActor {
  return perMember("grpo", (rewards) => groupAdvantages(rewards, { epsilon }));
}

/** r − mean (Dr. GRPO). */
export function createDrGrpoAdvantage(): AdvantageActor {
  return perMember("dr_grpo", (rewards) => groupAdvantages(rewards, { normaliseByStd: false }));
}

/** r minus the mean of the others (RLOO). */
export function createRlooAdvantage(): AdvantageActor {
  return perMember("rloo", leaveOneOutAdvantages);
}

export interface AdvantageOptions {
  /** Added to standard deviations. */
  readonly epsilon: number;
  /** Weights of the reward's parts in `gdpo`; empty takes all of them with weight 1. */
  readonly rewardWeights: Readonly<Record<string, number>>;
}

/** The built-in factories by the names that `advantage.actor` takes. */
export const ADVANTAGE_ACTORS = {
  grpo: ({ epsilon }: AdvantageOptions) => createGrpoAdvantage(epsilon),
  dr_grpo: createDrGrpoAdvantage,
  rloo: createRlooAdvantage,
  opo: createOpoAdvantage,
  reinforce_pp: createReinforcePlusPlus,
  reinforce_pp_baseline: createReinforcePlusPlusBaseline,
  gdpo: ({ epsilon, rewardWeights }: AdvantageOptions) => createGdpoAdvantage({ epsilon, weights: rewardWeights }),
} as const satisfies Readonly<Record<string, (options: AdvantageOptions) => AdvantagePart>>;
