/**
 * Owns a loss on the host: value, coefficients of the log-prob gradient and counters of whole sequences, in float64.
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
    assertLengths(sequence);
    const x = {
      logprobs: Float64Array.from(sequence.logprobs),
      old: Float64Array.from(sequence.old),
      advantages: Float64Array.from(sequence.advantages),
    };
    const terms = loss.terms(float64, x, { ...settings });
    for (let t = 0; t < x.logprobs.length; t += 1) {
      const weight = sequence.weights[t] as number;
      // A weight of 0 drops the token, whatever its loss is.
      if (weight !== 0) value += weight * (terms.loss[t] as number);
      clipped += terms.clipped[t] as number;
      clippedLower += terms.clippedLower[t] as number;
    }
    return terms.slope.map((slope, t) => {
      const weight = sequence.weights[t] as number;
      return weight === 0 ? 0 : weight * slope;
    });
  });
  return { value, coefficients, clipped, clippedLower };
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
