/** DAPO (Eq. 6 of QwenLong-L1; arXiv 2503.14476): the clipped surrogate, mean over all tokens, clip-higher. */
import { clippedRatio, clippedRatioBounds } from "./clipped-ratio.js";
import type { TokenLevelLoss } from "./policy-loss.js";

export const DAPO: TokenLevelLoss = {
  name: "dapo",
  source: "DAPO (Eq. 6 of QwenLong-L1; arXiv 2503.14476)",
  scope: "token",
  aggregation: "token-mean",
  defaults: { clipLow: 0.2, clipHigh: 0.28, dualClip: null, largestRatio: null },
  boundsRatio: clippedRatioBounds,
  terms: clippedRatio,
};
