/** GSPO (arXiv 2507.18071): one ratio per sequence, the geometric mean of its tokens' ratios, clipped as a whole. */
import { given, type SequenceLevelLoss } from "./policy-loss.js";

/** verl clamps log s from above, so that s stays finite; the paper's s has no clamp. */
const LARGEST_LOG_RATIO = 10;

/**
 * s = exp(mean_t(log π − log π_old)), ℓ = max(−A·s, −A·clip(s, 1 − ε_low, 1 + ε_high)) for each token of the sequence.
 * Each token's s carries the gradient of its own log-prob (verl's form; with equal weights in a sequence it is the paper's):
 * dℓ/d(log π) = −A·s where the clip is not active. ε are two orders smaller than GRPO's (paper: 3e-4 and 4e-4).
 */
export const GSPO: SequenceLevelLoss = {
  name: "gspo",
  source: "GSPO (arXiv 2507.18071)",
  scope: "sequence",
  aggregation: "seq-mean-token-mean",
  defaults: { clipLow: 3e-4, clipHigh: 4e-4 },
  // s is free for A < 0, up to its clamp.
  boundsRatio: () => false,
  terms(a, x, s) {
    const mean = a.mean(a.sub(x.logprobs, x.old));
    const bounded = a.minimum(mean, LARGEST_LOG_RATIO);
    const ratio = a.exp(bounded);
    const gain = a.neg(x.advantages);
    const unclipped = a.mul(gain, ratio);
    const clipped = a.mul(gain, a.minimum(a.maximum(ratio, a.sub(1, given(s.clipLow))), a.add(1, given(s.clipHigh))));
    const held = a.greater(clipped, unclipped);
    const active = a.and(a.not(held), a.equal(bounded, mean));
    return {
      loss: a.maximum(unclipped, clipped),
      slope: a.select(active, unclipped, 0),
      clipped: held,
      clippedLower: a.greater(bounded, LARGEST_LOG_RATIO),
    };
  },
};
