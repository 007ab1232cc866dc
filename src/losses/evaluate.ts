/**
 * Evaluates a loss on the host: value, coefficients of the log-prob gradient and counters of whole sequences, in float64.
 * Invariant: the sum over any split of a batch's sequences is the value of the whole (I6); weights carry the denominators.
 */
import type { LossEvaluation, LossSequence, LossSettings } from "../contracts/loss.js";
import { WeirError } from "../errors.js";
import { float64 } from "./algebra.js";
import type { PolicyLoss } from "./policy-loss.js";

/** Throws WEIR_E_SHAPE where the arrays of a sequence differ in length. */
export function evaluateLoss(
  loss: PolicyLoss,
  sequences: readonly Omit<LossSequence, "reference">[],
  settings: LossSettings,
): LossEvaluation {
  let value = 0;
  let clipped = 0;
  let clippedLower = 0;
  const coefficients = sequences.map((sequence) => {
    const { counted, weights, terms } = countedTerms(loss, sequence, settings);
    const coefficient = new Float64Array(sequence.logprobs.length);
    counted.forEach((t, i) => {
      value += (weights[i] as number) * (terms.loss[i] as number);
      clipped += terms.clipped[i] as number;
      clippedLower += terms.clippedLower[i] as number;
      coefficient[t] = (weights[i] as number) * (terms.slope[i] as number);
    });
    return coefficient;
  });
  return { value, coefficients, clipped, clippedLower };
}

/** Part of each token in the value of the loss, weight·ℓ; 0 for tokens of weight 0. [T]. Throws WEIR_E_SHAPE as `evaluateLoss`. */
export function tokenLosses(
  loss: PolicyLoss,
  sequence: Omit<LossSequence, "reference">,
  settings: LossSettings,
): Float64Array {
  const { counted, weights, terms } = countedTerms(loss, sequence, settings);
  const losses = new Float64Array(sequence.logprobs.length);
  counted.forEach((t, i) => {
    losses[t] = (weights[i] as number) * (terms.loss[i] as number);
  });
  return losses;
}

/** The formula over the tokens of a sequence that count: one of weight 0 does not, not even in a sequence's mean. */
function countedTerms(loss: PolicyLoss, sequence: Omit<LossSequence, "reference">, settings: LossSettings) {
  assertLengths(sequence);
  const counted = Array.from(sequence.weights, (weight, t) => (weight === 0 ? -1 : t)).filter((t) => t >= 0);
  const pick = (values: ArrayLike<number>) => Float64Array.from(counted, (t) => values[t] as number);
  const weights = pick(sequence.weights);
  const x = { logprobs: pick(sequence.logprobs), old: pick(sequence.old), advantages: pick(sequence.advantages) };
  return { counted, weights, terms: loss.terms(float64, x, { ...settings }) };
}

function assertLengths({ logprobs, old, advantages, weights }: Omit<LossSequence, "reference">): void {
  for (const [name, values] of Object.entries({ old, advantages, weights })) {
    if (values.length !== logprobs.length)
      throw new WeirError(
        "WEIR_E_SHAPE",
        `a loss takes one number per token: expected ${logprobs.length} ${name}, got ${values.length}`,
        { name },
      );
  }
}
