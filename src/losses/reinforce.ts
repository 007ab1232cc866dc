/** REINFORCE: the plain policy gradient. On samples of another policy it is biased; rollout correction weighs them. */
import type { TokenLevelLoss } from "./policy-loss.js";

/** ℓ = −A·log π; dℓ/d(log π) = −A. */
export const REINFORCE: TokenLevelLoss = {
  name: "reinforce",
  source: "REINFORCE (Williams 1992)",
  scope: "token",
  aggregation: "token-mean",
  defaults: {},
  // It has no ratio that could be bounded.
  boundsRatio: () => false,
  terms(a, x) {
    const slope = a.neg(x.advantages);
    const none = a.zeros(slope);
    return { loss: a.mul(slope, x.logprobs), slope, clipped: none, clippedLower: none };
  },
};
