/**
 * Final norm, output matrix, and what is computed of the logits: log-prob of each row's target, entropy of its
 * distribution, and their gradients. Rows are processed in chunks, so [rows, V] never exists at once for a large vocabulary.
 * The one-hot part of the gradient is a gather and a scatter over rows of the output matrix, never a [rows, V] tensor.
 */

import type { ModelConfig } from "../io/config.js";
import {
  add,
  constant,
  divide,
  exp,
  gatherRows,
  matmul,
  maxLast,
  mul,
  narrow,
  range,
  reshape,
  scatterAddRows,
  sub,
  sumLast,
} from "../tensor/kernels.js";
import { scope, type Tensor, tf } from "../tensor/tf.js";
import { normScale, rmsNorm, rmsNormBackward } from "./norm.js";
import type { ParameterStore } from "./parameters.js";

/** Logits in one chunk (64 MiB of float32). */
const CHUNK_LOGITS = 16 * 1024 * 1024;

export interface TokenScores {
  /** log π(target) of logits / temperature. */
  readonly logprobs: Tensor; // [M]
  /** Null unless requested. */
  readonly entropies: Tensor | null; // [M]
}

/**
 * A loss over target tokens, given by its gradient. Numbers and values per token are inputs of the graph, so one graph serves
 * every learning rate, clip bound and batch; `key` names what changes the graph itself.
 */
export interface TokenLoss {
  readonly key: string;
  readonly scalars: Readonly<Record<string, number>>;
  readonly perToken: Readonly<Record<string, Float32Array>>; // [M] each
  /** dLoss/dlogprob and dLoss/dentropy; null where the loss has no entropy term. */
  gradient(
    scalars: Readonly<Record<string, Tensor>>,
    perToken: Readonly<Record<string, Tensor>>, // [m] each
    logprobs: Tensor, // [m]
  ): { readonly dLogprobs: Tensor; readonly dEntropies: Tensor | null };
}

/** Rows of one chunk, the weights of the head and the loss's numbers. */
export interface HeadChunk {
  readonly hidden: Tensor; // [m, d]
  readonly targets: Tensor; // [m] int32
  /** What the final norm multiplies by; see `normScale`. */
  readonly norm: Tensor; // [d]
  readonly head: Tensor; // [V, d]
  /** Null where the temperature is 1. */
  readonly inverseTemperature: Tensor | null;
  readonly loss: {
    readonly scalars: Readonly<Record<string, Tensor>>;
    readonly perToken: Readonly<Record<string, Tensor>>; // [m] each
  } | null;
}

export interface HeadOptions {
  readonly epsilon: number;
  readonly entropies: boolean;
  readonly gradient: TokenLoss["gradient"] | null;
  /** Whether the output matrix is trained. */
  readonly headTrained: boolean;
}

export interface ChunkResult extends TokenScores {
  readonly learned: {
    readonly dHidden: Tensor;
    /** Null where the output matrix is frozen. */
    readonly dHead: Tensor | null;
    readonly dNorm: Tensor;
  } | null;
}

/** Parts of a distribution over the vocabulary, from which everything else follows. */
export interface Distribution {
  /** Logit minus the row's largest. */
  readonly shifted: Tensor; // [m, V]
  /** e^shifted. */
  readonly weights: Tensor; // [m, V]
  /** Σ weights. */
  readonly total: Tensor; // [m, 1]
}

/** Stable parts of softmax(logits). */
export function distributionOf(logits: Tensor): Distribution {
  return scope(() => {
    const shifted = sub(logits, maxLast(logits));
    const weights = exp(shifted);
    return { shifted, weights, total: sumLast(weights, true) };
  });
}

/** H = log Z − Σ w·s / Z; terms with w = 0 are 0 · finite. [m, 1] */
export function entropyOf({ shifted, weights, total }: Distribution): Tensor {
  return scope(() => sub(tf.log(total), divide(sumLast(mul(weights, shifted), true), total)));
}

/** log π at flat indices row·V + id of [m, V]: [m]. */
export function logprobsAt({ shifted, total }: Distribution, places: Tensor): Tensor {
  return scope(() => sub(gatherRows(reshape(shifted, [-1]), places), reshape(tf.log(total), [-1])));
}

/** Normed rows divided by the temperature: the sampler and the trainer scale the same way. */
function scaled(normed: Tensor, temperature: number): Tensor {
  return temperature === 1 ? normed : mul(normed, constant(1 / temperature));
}

/** What the head needs of a model. */
export interface HeadOwner {
  readonly config: ModelConfig;
  readonly parameters: ParameterStore;
  readonly headName: string;
  readonly finalNormName: string;
}

/** Logits / temperature of hidden rows: [M, d] → [M, V]. */
export function headLogits(model: HeadOwner, hidden: Tensor, temperature: number): Tensor {
  return scope(() => {
    const { parameters, config } = model;
    const { y } = rmsNorm(hidden, normScale(parameters.get(model.finalNormName), config), config.rmsNormEps);
    return matmul(scaled(y, temperature), parameters.get(model.headName), false, true);
  });
}

/** Rows of one chunk at most. */
export function chunkRows(vocabSize: number): number {
  return Math.max(16, 2 ** Math.floor(Math.log2(CHUNK_LOGITS / vocabSize)));
}

/** Rows rounded up to 16, 24, 32, 48, 64, …: few shapes, and at most a third of padding. */
export function roundRows(rows: number): number {
  let size = 16;
  while (size < rows) size *= 2;
  const between = (size / 4) * 3;
  return between >= rows && between >= 16 ? between : size;
}

/** Lengths of the chunks for `rows` rows; the last one may be longer than the remainder. */
export function chunkLengths(rows: number, vocabSize: number): number[] {
  const full = chunkRows(vocabSize);
  const lengths = new Array<number>(Math.floor(rows / full)).fill(full);
  if (rows % full > 0) lengths.push(roundRows(rows % full));
  return lengths;
}

/**
 * Scores of a chunk's targets and, with a loss, the gradients at its hidden rows, the output matrix and the norm.
 * With p = w/Z: dlogits = p·(−dℓ − dH·(log p + H)) + dℓ·onehot(target).
 */
export function headChunk(chunk: HeadChunk, options: HeadOptions): ChunkResult {
  return scope(() => {
    const { targets, head, loss, inverseTemperature } = chunk;
    const [vocabulary] = head.shape as [number, number];
    const scale = (x: Tensor) => (inverseTemperature === null ? x : mul(x, inverseTemperature));
    const { y, r } = rmsNorm(chunk.hidden, chunk.norm, options.epsilon);
    const rows = scale(y); // [m, d]
    const all = distributionOf(matmul(rows, head, false, true)); // [m, V]
    const logprobs = logprobsAt(all, rowPlaces(targets, vocabulary)); // [m]
    const flat = (x: Tensor | null) => (x === null ? null : reshape(x, [-1]));
    if (options.gradient === null || loss === null) {
      return { logprobs, entropies: options.entropies ? flat(entropyOf(all)) : null, learned: null };
    }
    const { dLogprobs, dEntropies } = options.gradient(loss.scalars, loss.perToken, logprobs);
    const entropy = options.entropies || dEntropies !== null ? entropyOf(all) : null; // [m, 1]
    const dTarget = reshape(dLogprobs, [-1, 1]); // [m, 1]
    let factor = tf.neg(dTarget);
    if (dEntropies !== null && entropy !== null) {
      const spread = add(all.shifted, sub(entropy, tf.log(all.total))); // log p + H
      factor = sub(factor, mul(spread, reshape(dEntropies, [-1, 1])));
    }
    const dLogits = narrow(mul(all.weights, divide(factor, all.total))); // [m, V] without the one-hot part
    const dHead = options.headTrained
      ? add(matmul(dLogits, rows, true), scatterAddRows(mul(rows, dTarget), targets, vocabulary))
      : null;
    const dRows = add(matmul(dLogits, head), mul(gatherRows(head, targets), dTarget));
    const { dx, dw } = rmsNormBackward(scale(dRows), chunk.hidden, r, chunk.norm);
    return { logprobs, entropies: flat(entropy), learned: { dHidden: dx, dHead, dNorm: dw } };
  });
}

/** Flat indices row·V + id into [m, V]. */
function rowPlaces(ids: Tensor, vocabulary: number): Tensor {
  const count = ids.shape[0] as number;
  return add(tf.mul(range(count), tf.scalar(vocabulary, "int32")), ids);
}
