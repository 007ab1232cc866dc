/** GMPO (arXiv 2507.20673): the geometric mean of token ratios, each clipped in log space towards pessimism. */
import { given, type SequenceLevelLoss } from "./policy-loss.js";

/** Not in the paper: exp of the mean log ratio is bounded as a single ratio is, so that it stays finite. */
const LARGEST_LOG_RATIO = 20;

/**
 * d = log π − log π_old, d̂ = sign(A)·min(sign(A)·d, sign(A)·clamp(d, −ε_low, ε_high)), ℓ = −A·exp(mean_t d̂) for the sequence.
 * Each token carries dℓ/d(log π) = −A·exp(mean d̂) where its own clip is not active; averaged over the sequence this is
 * the gradient of ℓ. A is the mean of the sequence's advantages. ε are in log space (paper: 0.4 and 0.4).
 */
export const GMPO: SequenceLevelLoss = {
  name: "gmpo",
  source: "GMPO (arXiv 2507.20673)",
  scope: "sequence",
  aggregation: "seq-mean-token-mean",
  defaults: { clipLow: 0.4, clipHigh: 0.4 },
  // The geometric mean is free for A < 0, up to its clamp.
  boundsRatio: () => false,
  terms(a, x, s) {
    const d = a.sub(x.logprobs, x.old);
    const clamped = a.minimum(a.maximum(d, a.sub(0, given(s.clipLow))), given(s.clipHigh));
    const positive = a.greater(x.advantages, 0);
    const negative = a.greater(0, x.advantages);
    const pessimistic = a.select(positive, a.minimum(d, clamped), a.select(negative, a.maximum(d, clamped), 0));
    const mean = a.mean(pessimistic);
    const bounded = a.minimum(mean, LARGEST_LOG_RATIO);
    const loss = a.neg(a.mul(a.mean(x.advantages), a.exp(bounded)));
    const changed = a.not(a.equal(d, clamped));
    const active = a.and(a.equal(pessimistic, d), a.equal(bounded, mean));
    return {
      loss,
      slope: a.select(active, loss, 0),
      clipped: a.and(changed, positive),
      clippedLower: a.and(changed, negative),
    };
  },
};
