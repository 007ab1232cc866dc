/**
 * Owns the check of what losses of the user's own give: one coefficient per token. Whether the numbers are finite is checked by
 * the engine, which refuses the mini-batch where one is not (I7).
 */
import { LOSS_AGGREGATIONS, type LossEvaluation, type LossPart, type LossSequence } from "../../contracts/loss.js";
import { builtInLoss } from "../../losses/built-in.js";
import { awaitPart, faced, type PartLabel, partError, shown } from "./part-errors.js";

const CONTRACT =
  "evaluate(sequences) returns, at once or by a promise, { value, coefficients, clipped, clippedLower }: three numbers, and per sequence one number for each token";

/** What is wrong with an evaluation, or null. */
function fault(given: unknown, sequences: readonly LossSequence[]): string | null {
  if (typeof given !== "object" || given === null) return `gave ${shown(given)}`;
  const { value, coefficients, clipped, clippedLower } = given as Partial<LossEvaluation>;
  for (const [name, number] of Object.entries({ value, clipped, clippedLower }))
    if (typeof number !== "number") return `gave ${name} = ${shown(number)}`;
  if (!Array.isArray(coefficients)) return `gave coefficients = ${shown(coefficients)}`;
  if (coefficients.length !== sequences.length)
    return `gave coefficients of ${coefficients.length} sequences for ${sequences.length}`;
  for (const [i, { logprobs }] of sequences.entries()) {
    const row: unknown = coefficients[i];
    if (!Array.isArray(row) && !ArrayBuffer.isView(row)) return `gave ${shown(row)} as coefficients of sequence ${i}`;
    const { length } = row as ArrayLike<unknown>;
    if (length !== logprobs.length) return `gave ${length} coefficients for sequence ${i} of ${logprobs.length} tokens`;
    const at = Array.from(row as ArrayLike<unknown>).findIndex((entry) => typeof entry !== "number");
    if (at >= 0)
      return `gave ${shown((row as ArrayLike<unknown>)[at])} as the coefficient of token ${at} of sequence ${i}`;
  }
  return null;
}

/** A built-in loss stands as it is: it is traced by the engine. Errors: WEIR_E_PART for an aggregation that does not exist. */
export function checkedLoss(loss: LossPart, label: PartLabel): LossPart {
  if (builtInLoss(loss) !== null) return loss;
  if (!(LOSS_AGGREGATIONS as readonly unknown[]).includes(loss.aggregation))
    throw partError(
      label,
      `has the aggregation ${shown(loss.aggregation)}`,
      `a loss part has aggregation: ${LOSS_AGGREGATIONS.join(", ")}`,
    );
  return faced(loss, {
    async evaluate(sequences) {
      const given = await awaitPart(label, "evaluate()", CONTRACT, () => loss.evaluate(sequences));
      const wrong = fault(given, sequences);
      if (wrong !== null) throw partError(label, wrong, CONTRACT);
      return given;
    },
  });
}
