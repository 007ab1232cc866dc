/** Log-softmax and entropy of a logit vector [V] at a sampling temperature. Nats. */
import { assertNotEmpty } from "../../src/algorithms/shapes.js";
import { WeirError } from "../../src/errors.js";

/** log Σ exp(x), stable for any finite input. */
export function logSumExp(values: readonly number[]): number {
  assertNotEmpty("values", values);
  const top = values.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  let total = 0;
  for (const value of values) total += Math.exp(value - top);
  return top + Math.log(total);
}

/** log π over the vocabulary at logits / temperature. [V] → [V]. Throws WEIR_E_CONFIG where temperature ≤ 0. */
export function logprobs(logits: readonly number[], temperature = 1): number[] {
  const scaled = scale(logits, temperature);
  const normaliser = logSumExp(scaled);
  return scaled.map((z) => z - normaliser);
}

/** H = logsumexp(z) − Σ softmax(z)·z with z = logits / temperature; nats. */
export function entropy(logits: readonly number[], temperature = 1): number {
  let total = 0;
  for (const value of logprobs(logits, temperature)) {
    if (value > Number.NEGATIVE_INFINITY) total -= Math.exp(value) * value;
  }
  return total;
}

function scale(logits: readonly number[], temperature: number): number[] {
  if (!(temperature > 0)) {
    throw new WeirError("WEIR_E_CONFIG", `log-probs need a temperature greater than 0, got ${temperature}`);
  }
  return logits.map((value) => value / temperature);
}
