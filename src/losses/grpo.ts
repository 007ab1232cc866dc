/** GRPO (Eq. 4 of QwenLong-L1, arXiv 2505.17667): the clipped surrogate, mean over sequences of token means. */
import { clippedRatio, clippedRatioBounds } from "./clipped-ratio.js";
import type { TokenLevelLoss } from "./policy-loss.js";

export const GRPO: TokenLevelLoss = {
  name: "grpo",
  source: "GRPO (Eq. 4 of QwenLong-L1, arXiv 2505.17667)",
  scope: "token",
  aggregation: "seq-mean-token-mean",
  defaults: { clipLow: 0.2, clipHigh: 0.28, dualClip: null, largestRatio: null },
  boundsRatio: clippedRatioBounds,
  terms: clippedRatio,
};
