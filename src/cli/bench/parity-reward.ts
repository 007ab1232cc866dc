/** A reward for benchmarks. */
import type { RewardActor } from "../../contracts/reward.js";

/** Gives both rewards in nearly every group, whatever the policy says: each step trains on as many sequences. */
export const PARITY: RewardActor = {
  kind: "parity",
  specificationVersion: 1,
  handle: async ({ rollout }) => {
    const value = rollout.tokenIds.reduce((sum, id) => sum + id, 0) % 2;
    return { kind: "scored", value, parts: {}, prediction: null };
  },
};
