/** Owns the built-in advantage actors: `grpo` (Eq. 5), `dr_grpo` (no division by the standard deviation) and `rloo`. */
import { groupAdvantages, leaveOneOutAdvantages } from "../algorithms/advantages.js";
import type { AdvantageActor } from "../contracts/advantage.js";

/** An advantage relative to the group says nothing of a response without another one. */
const RELATIVE = 2;

function perMember(kind: string, advantages: (rewards: readonly number[]) => readonly number[]): AdvantageActor {
  return { kind, specificationVersion: 1, minGroupSize: RELATIVE, handle: ({ rewards }) => advantages(rewards) };
}

/** Eq. 5: (r − mean)/(std + 1e-6), ddof 1. */
export function createGrpoAdvantage(): AdvantageActor {
  return perMember("grpo", (rewards) => groupAdvantages(rewards));
}

/** r − mean (Dr. GRPO). */
export function createDrGrpoAdvantage(): AdvantageActor {
  return perMember("dr_grpo", (rewards) => groupAdvantages(rewards, { normaliseByStd: false }));
}

/** r minus the mean of the others (RLOO). */
export function createRlooAdvantage(): AdvantageActor {
  return perMember("rloo", leaveOneOutAdvantages);
}

/** The built-in factories by the names that `advantage.actor` takes. */
export const ADVANTAGE_ACTORS = {
  grpo: createGrpoAdvantage,
  dr_grpo: createDrGrpoAdvantage,
  rloo: createRlooAdvantage,
} as const;
