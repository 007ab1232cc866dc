/** Dr. GRPO (arXiv 2503.20783): the clipped surrogate, sum over tokens by a constant, mean over sequences: no length bias. */
import { clippedRatio, clippedRatioBounds } from "./clipped-ratio.js";
import type { TokenLevelLoss } from "./policy-loss.js";

export const DR_GRPO: TokenLevelLoss = {
  name: "dr_grpo",
  source: "Dr. GRPO (arXiv 2503.20783)",
  scope: "token",
  aggregation: "seq-mean-token-sum-constant",
  defaults: { clipLow: 0.2, clipHigh: 0.2, dualClip: null, largestRatio: null },
  boundsRatio: clippedRatioBounds,
  terms: clippedRatio,
};
