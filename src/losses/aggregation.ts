/** Aggregation: how token losses become one number, as a weight per token from global denominators (I6). */
import type { LossAggregation } from "../contracts/loss.js";
import type { LossDenominators } from "../contracts/trainer.js";

/**
 * Weight of one token's loss in the batch's. `length`: tokens of its sequence that count; `scale`: the constant of the last two.
 * token-mean: 1/N_tokens (Eq. 6). seq-mean-token-mean: 1/(N_seq·length) (Eq. 4). seq-mean-token-sum: 1/N_seq.
 * seq-mean-token-sum-norm: 1/scale. seq-mean-token-sum-constant: 1/(N_seq·scale) (Dr. GRPO, arXiv 2503.20783).
 */
export function tokenWeight(
  aggregation: LossAggregation,
  denominators: LossDenominators,
  length: number,
  scale: number,
): number {
  switch (aggregation) {
    case "token-mean":
      return 1 / denominators.tokens;
    case "seq-mean-token-mean":
      return 1 / (denominators.sequences * length);
    case "seq-mean-token-sum":
      return 1 / denominators.sequences;
    case "seq-mean-token-sum-norm":
      return 1 / scale;
    case "seq-mean-token-sum-constant":
      return 1 / (denominators.sequences * scale);
  }
}
