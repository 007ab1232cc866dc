/**
 * Chooses one token per row from its logits: greedy, or by inverse CDF of a uniform number given from outside, after
 * optional top-k and top-p. Log-prob and entropy are those of the full distribution, so that trainer and sampler agree.
 */
import type { SamplingParams } from "../../contracts/sampler.js";
import { scope, type Tensor, tf } from "../engine/tf.js";
import { cumulativeSum, gatherRows, logSoftmax } from "../transformer/kernels.js";

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
    const logp = logSoftmax(logits); // [R, V]
    const p = tf.exp(logp);
    const entropies = tf.neg(tf.sum(tf.mul(p, logp), -1)); // [R]
    const ids = params.temperature === 0 ? tf.argMax(logits, -1) : draw(p, uniforms, rows, params); // [R]
    const chosen = tf.cast(ids, "int32");
    const logprobs = gatherRows(tf.reshape(logp, [-1]), placesOf(rows, p.shape[1] as number, chosen));
    return { ids: chosen, report: tf.stack([tf.cast(chosen, "float32"), logprobs, entropies]) };
  });
}

function draw(
  p: Tensor, // [R, V]
  uniforms: Tensor, // [R, 1]
  rows: Tensor, // [R] int32
  { topP, topK }: Pick<SamplingParams, "topP" | "topK">,
): Tensor {
  const [count, vocabulary] = p.shape as [number, number];
  if (topP >= 1 && (topK === 0 || topK >= vocabulary)) return inverse(p, uniforms);
  const width = topK === 0 ? vocabulary : Math.min(topK, vocabulary);
  const { values, indices } = tf.topk(p as never, width, true) as { values: Tensor; indices: Tensor };
  let kept: Tensor = values;
  if (topP < 1) {
    // A token stays while the mass before it is below topP, so the first always does.
    const before = tf.sub(cumulativeSum(values), values);
    kept = tf.mul(values, tf.cast(tf.less(before, topP), "float32"));
  }
  const rank = inverse(kept, uniforms); // [R]
  return gatherRows(tf.reshape(indices, [count * width]), placesOf(rows, width, rank));
}

/** First index whose cumulative mass exceeds u · total: [R, K] → [R] int32. Never an index of zero mass. */
function inverse(mass: Tensor, uniforms: Tensor): Tensor {
  const width = mass.shape[1] as number;
  const cumulative = cumulativeSum(mass);
  const total = tf.slice(cumulative, [0, width - 1], [mass.shape[0] as number, 1]);
  const below = tf.cast(tf.lessEqual(cumulative, tf.mul(total, uniforms)), "float32");
  return tf.cast(tf.minimum(tf.sum(below, -1), width - 1), "int32");
}

/** Flat places row·width + column, in int32 throughout: float32 could not hold them. */
function placesOf(rows: Tensor, width: number, columns: Tensor): Tensor {
  return tf.add(tf.mul(rows, tf.scalar(width, "int32")), columns);
}
