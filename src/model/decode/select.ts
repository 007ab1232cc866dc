/**
 * Chooses one token per row from its logits: greedy, or by the inverse CDF at a uniform number that the caller gives, after
 * optional top-k and top-p. Log-prob and entropy are those of the full distribution, so that trainer and sampler agree.
 * Top-k and top-p keep every token whose mass reaches a threshold (ties stay together); tokens are walked in vocabulary
 * order, so nothing needs the whole vocabulary sorted.
 */
import type { SamplingParams } from "../../contracts/sampler.js";
import { condition } from "../tensor/graph/loop.js";
import { cumulativeSum, maxLast, mul, reshape, select, slice, sub, sumLast } from "../tensor/kernels.js";
import { recording, scope, type Tensor, tf } from "../tensor/tf.js";
import { type Distribution, distributionOf, entropyOf, logprobsAt } from "../transformer/head.js";

/** Options that change the graph; those that only scale are tensors. */
export interface SelectOptions {
  readonly greedy: boolean;
  /** 0 switches it off. */
  readonly topK: number;
  readonly nucleus: boolean;
}

/** The sampling parameters that change the graph. */
export function selectOptions({ temperature, topP, topK }: SamplingParams): SelectOptions {
  return { greedy: temperature === 0, topK, nucleus: topP < 1 };
}

/** The nucleus is searched among so many top tokens first; a wider one is found by bisection. */
const NUCLEUS_WIDTH = 128;
/** Halvings of the logarithmic range of thresholds, e^16 or so: relative error 2^-16. */
const HALVINGS = 20;

/**
 * Returns [3, R] float32: token id, its log-prob, the entropy. Ids are exact in float32 up to 2^24.
 * `rows` [R] int32 holds 0 … R−1; `topP` is read only where `nucleus` is set.
 */
export function selectTokens(
  logits: Tensor, // [R, V], divided by the temperature
  uniforms: Tensor, // [R, 1], in (0, 1)
  rows: Tensor, // [R] int32
  options: SelectOptions & { readonly topP: Tensor },
): { readonly ids: Tensor; readonly report: Tensor } {
  return scope(() => {
    const all = distributionOf(logits);
    const entropies = reshape(entropyOf(all), [-1]); // [R]
    const ids = options.greedy ? tf.argMax(logits, -1) : draw(all, uniforms, options); // [R]
    const chosen = tf.cast(ids, "int32");
    const logprobs = logprobsAt(all, placesOf(rows, logits.shape[1] as number, chosen));
    return { ids: chosen, report: tf.stack([tf.cast(chosen, "float32"), logprobs, entropies]) };
  });
}

function draw(
  { weights }: Distribution,
  uniforms: Tensor, // [R, 1]
  { topK, nucleus, topP }: SelectOptions & { readonly topP: Tensor },
): Tensor {
  const vocabulary = weights.shape[1] as number;
  let mass = weights;
  if (topK > 0 && topK < vocabulary) {
    const { values } = tf.topk(mass as never, topK, true) as { values: Tensor };
    mass = atLeast(mass, slice(values, [0, topK - 1], [weights.shape[0] as number, 1]));
  }
  if (nucleus) mass = atLeast(mass, nucleusThreshold(mass, topP));
  return inverse(mass, uniforms);
}

/** Mass below a threshold [R, 1] set to zero. */
function atLeast(mass: Tensor, threshold: Tensor): Tensor {
  return mul(mass, tf.cast(tf.greaterEqual(mass, threshold), "float32"));
}

/** The largest mass m such that the tokens of mass ≥ m together have at least topP of the total: [R, 1]. */
function nucleusThreshold(mass: Tensor, topP: Tensor): Tensor {
  const [rows, vocabulary] = mass.shape as [number, number];
  const limit = mul(sumLast(mass, true), topP); // [R, 1]
  const width = recording() === null ? vocabulary : Math.min(NUCLEUS_WIDTH, vocabulary);
  const { values } = tf.topk(mass as never, width, true) as { values: Tensor };
  const cumulative = cumulativeSum(values);
  // A token stays while the mass before it is below the limit, so the first always does.
  const stays = tf.less(sub(cumulative, values), limit);
  const among = tf.min(select(stays, values, tf.onesLike(values)), -1, true); // [R, 1]
  if (width === vocabulary) return among;
  const found = slice(cumulative, [0, width - 1], [rows, 1]);
  return condition(
    tf.all(tf.greaterEqual(found, limit)),
    [among, mass, limit],
    ([threshold]) => threshold as Tensor,
    ([, all, wanted]) => bisected(all as Tensor, wanted as Tensor, topP),
  );
}

/** The same threshold for any width, by bisection between a mass low enough for certain and the largest one. */
function bisected(mass: Tensor, limit: Tensor, topP: Tensor): Tensor {
  const vocabulary = mass.shape[1] as number;
  // Tokens below (1 − p)·total/V have less than 1 − p of the mass together, so those above it suffice.
  const spare = tf.sub(tf.div(limit, topP), limit);
  let low = tf.div(spare, tf.scalar(vocabulary)) as Tensor;
  let high = maxLast(mass);
  for (let step = 0; step < HALVINGS; step += 1) {
    const middle = tf.sqrt(mul(low, high));
    const enough = tf.greaterEqual(sumLast(atLeast(mass, middle), true), limit);
    low = select(enough, middle, low);
    high = select(enough, high, middle);
  }
  return low;
}

/** First index whose cumulative mass exceeds u · total: [R, K] → [R] int32. Never an index of zero mass. */
function inverse(mass: Tensor, uniforms: Tensor): Tensor {
  const width = mass.shape[1] as number;
  const cumulative = cumulativeSum(mass);
  const total = slice(cumulative, [0, width - 1], [mass.shape[0] as number, 1]);
  const below = tf.cast(tf.lessEqual(cumulative, mul(total, uniforms)), "float32");
  return tf.cast(tf.minimum(sumLast(below, false), tf.scalar(width - 1)), "int32");
}

/** Flat indices row·width + column, in int32 throughout: float32 cannot represent them. */
function placesOf(rows: Tensor, width: number, columns: Tensor): Tensor {
  return tf.add(tf.mul(rows, tf.scalar(width, "int32")), columns);
}
