/** A batch's loss on the host: the weight of each token, and the evaluation by a built-in formula or by the caller, checked. */
import type { LossEvaluation, LossSequence } from "../contracts/loss.js";
import type { EvaluateLoss, PolicyBatch, PolicyLossConfig, TrainCompletion } from "../contracts/trainer.js";
import { WeirError } from "../errors.js";
import { tokenWeight } from "./aggregation.js";
import { evaluateLoss } from "./evaluate.js";
import { policyLossNamed } from "./index.js";

/** Weight of each token of a completion in the batch's loss: aggregation and rollout correction; 0 where it was rejected. */
export function completionWeights(batch: PolicyBatch, { tokenIds, weights }: TrainCompletion): Float64Array {
  const counted = weights?.reduce((count, weight) => count + (weight === 0 ? 0 : 1), 0) ?? tokenIds.length;
  const weight = tokenWeight(batch.loss.aggregation, batch.denominators, counted, batch.loss.lossScale);
  return Float64Array.from(tokenIds, (_, t) => {
    const own = weights?.[t] ?? 1;
    return own === 0 ? 0 : own * weight;
  });
}

/**
 * How the loss is evaluated on the host: by a built-in formula, or by the caller.
 * The caller's result is checked: WEIR_E_SHAPE where coefficients do not fit the sequences, WEIR_E_NON_FINITE where a number is
 * not finite.
 */
export function hostEvaluation(loss: PolicyLossConfig, evaluate: EvaluateLoss | null): EvaluateLoss {
  if (loss.name !== null) {
    const formula = policyLossNamed(loss.name);
    return (sequences) => evaluateLoss(formula, sequences, loss.settings);
  }
  if (evaluate === null)
    throw new WeirError(
      "WEIR_E_STATE",
      "the batch names no loss and none was given; name one of src/losses, or give `evaluate`",
    );
  return async (sequences) => assertEvaluation(await evaluate(sequences), sequences);
}

function assertEvaluation(found: LossEvaluation, sequences: readonly LossSequence[]): LossEvaluation {
  const lengths = sequences.map(({ logprobs }) => logprobs.length);
  const given = found.coefficients.map((row) => row.length);
  if (given.length !== lengths.length || given.some((length, i) => length !== lengths[i])) {
    throw new WeirError(
      "WEIR_E_SHAPE",
      `the loss must give one coefficient per token of ${lengths.length} sequences (${lengths.slice(0, 8).join(", ")} …), got ${given.length} (${given.slice(0, 8).join(", ")} …)`,
    );
  }
  const numbers = [found.value, found.clipped, found.clippedLower];
  if (![...numbers, ...found.coefficients.flatMap((row) => Array.from(row))].every(Number.isFinite))
    throw new WeirError(
      "WEIR_E_NON_FINITE",
      "the loss gave a value or a coefficient that is not finite; nothing was changed",
    );
  return found;
}
