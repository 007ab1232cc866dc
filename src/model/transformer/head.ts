/**
 * Final norm, output matrix and what is wanted of the logits: log-prob of each row's target, entropy of its
 * distribution, and their gradients. Rows are taken in chunks, so [rows, V] never exists at once for a large vocabulary.
 * The one-hot part of the gradient is a gather and a scatter over rows of the output matrix, never a [rows, V] tensor.
 */
import { scope, type Tensor, tf } from "../engine/tf.js";
import type { GradientStore } from "./gradients.js";
import { gatherRows, logSoftmax, matmul, scatterAddRows } from "./kernels.js";
import type { Transformer } from "./model.js";
import { rmsNorm, rmsNormBackward } from "./norm.js";

/** Logits in one chunk (32 MiB of float32). */
const CHUNK_LOGITS = 8 * 1024 * 1024;

export interface TokenScores {
  /** log π(target) of logits / temperature. */
  readonly logprobs: Tensor; // [M]
  readonly entropies: Tensor; // [M]
}

/** dLoss/dlogprob and dLoss/dentropy of a chunk of rows [start, end); null where the loss has no entropy term. */
export type TokenLossGradient = (
  scores: TokenScores,
  start: number,
  end: number,
) => { readonly dLogprobs: Tensor; readonly dEntropies: Tensor | null };

/** Normed rows divided by the temperature: the sampler and the trainer scale the same way. */
function scaled(normed: Tensor, temperature: number): Tensor {
  return temperature === 1 ? normed : tf.mul(normed, 1 / temperature);
}

/** Logits / temperature of hidden rows: [M, d] → [M, V]. */
export function headLogits(model: Transformer, hidden: Tensor, temperature: number): Tensor {
  return scope(() => {
    const { parameters, config } = model;
    const { y } = rmsNorm(hidden, parameters.get(model.finalNormName), config.rmsNormEps);
    return matmul(scaled(y, temperature), parameters.get(model.headName), false, true);
  });
}

function chunkRows(model: Transformer): number {
  return Math.max(16, Math.floor(CHUNK_LOGITS / model.config.vocabSize));
}

/** H = −Σ p·log p; terms with p = 0 are 0 · finite. */
function entropyOf(logp: Tensor, p: Tensor): Tensor {
  return tf.neg(tf.sum(tf.mul(p, logp), -1));
}

function chunksOf(model: Transformer, rows: number): [number, number][] {
  const size = chunkRows(model);
  const result: [number, number][] = [];
  for (let start = 0; start < rows; start += size) result.push([start, Math.min(start + size, rows)]);
  return result;
}

function rowsOf(x: Tensor, start: number, end: number): Tensor {
  if (start === 0 && end === x.shape[0]) return x;
  return x.rank === 1
    ? tf.slice(x, [start], [end - start])
    : tf.slice(x, [start, 0], [end - start, x.shape[1] as number]);
}

/** Flat place of each row's target in [rows, V]: row·V + id. */
function targetPlaces(offsets: Tensor, ids: Tensor): Tensor {
  return tf.add(offsets, ids);
}

function join(parts: readonly Tensor[]): Tensor {
  return parts.length === 1 ? (parts[0] as Tensor) : tf.concat([...parts], 0);
}

/**
 * Scores of hidden rows and their targets. `offsets` holds row·V for the rows of one chunk and more, [≥ chunk] int32.
 */
export function scoreRows(
  model: Transformer,
  hidden: Tensor, // [M, d]
  targets: Tensor, // [M] int32
  offsets: Tensor, // [≥ min(M, chunk)] int32
  temperature: number,
): TokenScores {
  return scope(() => {
    const { parameters, config } = model;
    const { y } = rmsNorm(hidden, parameters.get(model.finalNormName), config.rmsNormEps);
    const input = scaled(y, temperature);
    const head = parameters.get(model.headName);
    const parts = chunksOf(model, hidden.shape[0] as number).map(([start, end]) =>
      scope(() => {
        const logp = logSoftmax(matmul(rowsOf(input, start, end), head, false, true)); // [m, V]
        const places = targetPlaces(rowsOf(offsets, 0, end - start), rowsOf(targets, start, end));
        return {
          logprobs: gatherRows(tf.reshape(logp, [-1]), places),
          entropies: entropyOf(logp, tf.exp(logp)),
        };
      }),
    );
    return { logprobs: join(parts.map((p) => p.logprobs)), entropies: join(parts.map((p) => p.entropies)) };
  });
}

/** Host-made row offsets for `scoreRows`. */
export function rowOffsets(model: Transformer, rows: number): Tensor {
  const count = Math.min(rows, chunkRows(model));
  return tf.tensor1d(
    Int32Array.from({ length: count }, (_, row) => row * model.config.vocabSize),
    "int32",
  );
}

/**
 * Scores and, chunk by chunk, the gradient of the loss at the hidden rows; parameters' gradients into `gradients`.
 * dlogits = p·(−dℓ − dH·(log p + H)) + dℓ·onehot(target).
 */
export function headForwardBackward(
  model: Transformer,
  hidden: Tensor, // [M, d]
  targets: Tensor, // [M] int32
  offsets: Tensor, // [≥ min(M, chunk)] int32
  temperature: number,
  gradient: TokenLossGradient,
  gradients: GradientStore,
): TokenScores & { readonly dHidden: Tensor } {
  return scope(() => {
    const { parameters, config } = model;
    const norm = parameters.get(model.finalNormName);
    const { y, r } = rmsNorm(hidden, norm, config.rmsNormEps);
    const input = scaled(y, temperature);
    const head = parameters.get(model.headName);
    const parts = chunksOf(model, hidden.shape[0] as number).map(([start, end]) =>
      scope(() => {
        const rows = rowsOf(input, start, end); // [m, d]
        const ids = rowsOf(targets, start, end); // [m]
        const logp = logSoftmax(matmul(rows, head, false, true)); // [m, V]
        const p = tf.exp(logp);
        const entropies = entropyOf(logp, p);
        const logprobs = gatherRows(tf.reshape(logp, [-1]), targetPlaces(rowsOf(offsets, 0, end - start), ids));
        const { dLogprobs, dEntropies } = gradient({ logprobs, entropies }, start, end);
        const dTarget = tf.reshape(dLogprobs, [-1, 1]); // [m, 1]
        let factor = tf.neg(dTarget);
        if (dEntropies !== null) {
          const spread = tf.add(logp, tf.reshape(entropies, [-1, 1]));
          factor = tf.sub(factor, tf.mul(spread, tf.reshape(dEntropies, [-1, 1])));
        }
        const dLogits = tf.mul(p, factor); // [m, V] without the one-hot part
        gradients.add(model.headName, matmul(dLogits, rows, true));
        gradients.add(model.headName, scatterAddRows(tf.mul(rows, dTarget), ids, config.vocabSize));
        const dRows = tf.add(matmul(dLogits, head), tf.mul(gatherRows(head, ids), dTarget));
        return { logprobs, entropies, dRows };
      }),
    );
    const dInput = join(parts.map((part) => part.dRows));
    const { dx, dw } = rmsNormBackward(scaled(dInput, temperature), hidden, r, norm);
    gradients.add(model.finalNormName, dw);
    return {
      logprobs: join(parts.map((part) => part.logprobs)),
      entropies: join(parts.map((part) => part.entropies)),
      dHidden: dx,
    };
  });
}
