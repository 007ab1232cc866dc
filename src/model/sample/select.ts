/**
 * Chooses one token per row from its logits: greedy, or by inverse CDF of a uniform number given from outside, after
 * optional top-k and top-p. Log-prob and entropy are those of the full distribution, so that trainer and sampler agree.
 */
import type { SamplingParams } from "../../contracts/sampler.js";
import { scope, type Tensor, tf } from "../engine/tf.js";
import { type Distribution, distributionOf, entropyOf, logprobsAt } from "../transformer/head.js";
import { constant, cumulativeSum, gatherRows, mul, reshape, slice, sub, sumLast } from "../transformer/kernels.js";

/**
 * Returns [3, R] float32: token id, its log-prob, the entropy. Ids are exact in float32 up to 2^24.
 * `rows` [R] int32 holds 0 … R−1.
 */
export function selectTokens(
  logits: Tensor, // [R, V], divided by the temperature
  uniforms: Tensor, // [R, 1], in (0, 1)
  rows: Tensor, // [R] int32
  params: Pick<SamplingParams, "temperature" | "topP" | "topK">,
): { readonly ids: Tensor; readonly report: Tensor } {
  return scope(() => {
    const all = distributionOf(logits);
    const entropies = reshape(entropyOf(all), [-1]); // [R]
    const ids = params.temperature === 0 ? tf.argMax(logits, -1) : draw(all, uniforms, rows, params); // [R]
    const chosen = tf.cast(ids, "int32");
    const logprobs = logprobsAt(all, placesOf(rows, logits.shape[1] as number, chosen));
    return { ids: chosen, report: tf.stack([tf.cast(chosen, "float32"), logprobs, entropies]) };
  });
}

function draw(
  { weights }: Distribution,
  uniforms: Tensor, // [R, 1]
  rows: Tensor, // [R] int32
  { topP, topK }: Pick<SamplingParams, "topP" | "topK">,
): Tensor {
  const [count, vocabulary] = weights.shape as [number, number];
  if (topP >= 1 && (topK === 0 || topK >= vocabulary)) return inverse(weights, uniforms);
  const width = topK === 0 ? vocabulary : Math.min(topK, vocabulary);
  const { values, indices } = tf.topk(weights as never, width, true) as { values: Tensor; indices: Tensor };
  let kept: Tensor = values;
  if (topP < 1) {
    // Of what top-k left, a token stays while the mass before it is below topP, so the first always does.
    const cumulative = cumulativeSum(values);
    const limit = mul(slice(cumulative, [0, width - 1], [count, 1]), constant(topP));
    kept = mul(values, tf.cast(tf.less(sub(cumulative, values), limit), "float32"));
  }
  const rank = inverse(kept, uniforms); // [R]
  return gatherRows(reshape(indices, [count * width]), placesOf(rows, width, rank));
}

/** First index whose cumulative mass exceeds u · total: [R, K] → [R] int32. Never an index of zero mass. */
function inverse(mass: Tensor, uniforms: Tensor): Tensor {
  const width = mass.shape[1] as number;
  const cumulative = cumulativeSum(mass);
  const total = slice(cumulative, [0, width - 1], [mass.shape[0] as number, 1]);
  const below = tf.cast(tf.lessEqual(cumulative, mul(total, uniforms)), "float32");
  return tf.cast(tf.minimum(sumLast(below, false), width - 1), "int32");
}

/** Flat places row·width + column, in int32 throughout: float32 could not hold them. */
function placesOf(rows: Tensor, width: number, columns: Tensor): Tensor {
  return tf.add(tf.mul(rows, tf.scalar(width, "int32")), columns);
}
