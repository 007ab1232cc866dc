/**
 * Final norm, output matrix and what is wanted of the logits: log-prob of each row's target, entropy of its
 * distribution, and their gradients. Rows are taken in chunks, so [rows, V] never exists at once for a large vocabulary.
 * The one-hot part of the gradient is a gather and a scatter over rows of the output matrix, never a [rows, V] tensor.
 */
import { scope, type Tensor, tf } from "../engine/tf.js";
import type { GradientStore } from "./gradients.js";
import {
  add,
  concat,
  constant,
  divide,
  exp,
  gatherRows,
  matmul,
  maxLast,
  mul,
  reshape,
  scatterAddRows,
  slice,
  sub,
  sumLast,
} from "./kernels.js";
import type { Transformer } from "./model.js";
import { rmsNorm, rmsNormBackward } from "./norm.js";

/** Logits in one chunk (64 MiB of float32). */
const CHUNK_LOGITS = 16 * 1024 * 1024;

export interface TokenScores {
  /** log π(target) of logits / temperature. */
  readonly logprobs: Tensor; // [M]
  /** Null where they were not asked for. */
  readonly entropies: Tensor | null; // [M]
}

/** dLoss/dlogprob and dLoss/dentropy of a chunk of rows [start, end); null where the loss has no entropy term. */
export type TokenLossGradient = (
  logprobs: Tensor,
  start: number,
  end: number,
) => { readonly dLogprobs: Tensor; readonly dEntropies: Tensor | null };

/** Rows whose targets are scored. `offsets` holds row·V for the rows of one chunk at least. */
export interface ScoreInput {
  readonly hidden: Tensor; // [M, d]
  readonly targets: Tensor; // [M] int32
  readonly offsets: Tensor; // [≥ min(M, chunk)] int32
  readonly temperature: number;
  readonly entropies: boolean;
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

/** log π of given places row·V + id in [m, V]: [m]. */
export function logprobsAt({ shifted, total }: Distribution, places: Tensor): Tensor {
  return scope(() => sub(gatherRows(reshape(shifted, [-1]), places), reshape(tf.log(total), [-1])));
}

/** Normed rows divided by the temperature: the sampler and the trainer scale the same way. */
function scaled(normed: Tensor, temperature: number): Tensor {
  return temperature === 1 ? normed : mul(normed, constant(1 / temperature));
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

function chunksOf(model: Transformer, rows: number): [number, number][] {
  const size = chunkRows(model);
  const result: [number, number][] = [];
  for (let start = 0; start < rows; start += size) result.push([start, Math.min(start + size, rows)]);
  return result;
}

function rowsOf(x: Tensor, start: number, end: number): Tensor {
  if (start === 0 && end === x.shape[0]) return x;
  return x.rank === 1 ? slice(x, [start], [end - start]) : slice(x, [start, 0], [end - start, x.shape[1] as number]);
}

function join(parts: readonly (Tensor | null)[]): Tensor | null {
  return parts.some((part) => part === null) ? null : concat(parts as Tensor[], 0);
}

/** Scores of hidden rows and their targets. */
export function scoreRows(model: Transformer, input: ScoreInput): TokenScores {
  return scope(() => {
    const { parameters, config } = model;
    const { y } = rmsNorm(input.hidden, parameters.get(model.finalNormName), config.rmsNormEps);
    const rows = scaled(y, input.temperature);
    const head = parameters.get(model.headName);
    const parts = chunksOf(model, rows.shape[0] as number).map(([start, end]) =>
      scope(() => {
        const all = distributionOf(matmul(rowsOf(rows, start, end), head, false, true));
        const places = add(rowsOf(input.offsets, 0, end - start), rowsOf(input.targets, start, end));
        return {
          logprobs: logprobsAt(all, places),
          entropies: input.entropies ? reshape(entropyOf(all), [-1]) : null,
        };
      }),
    );
    return {
      logprobs: join(parts.map((part) => part.logprobs)) as Tensor,
      entropies: join(parts.map((part) => part.entropies)),
    };
  });
}

/** Host-made row offsets for `ScoreInput`. */
export function rowOffsets(model: Transformer, rows: number): Tensor {
  const count = Math.min(rows, chunkRows(model));
  return tf.tensor1d(
    Int32Array.from({ length: count }, (_, row) => row * model.config.vocabSize),
    "int32",
  );
}

/**
 * Scores and, chunk by chunk, the gradient of the loss at the hidden rows; parameters' gradients into `gradients`.
 * With p = w/Z: dlogits = p·(−dℓ − dH·(log p + H)) + dℓ·onehot(target).
 */
export function headForwardBackward(
  model: Transformer,
  input: ScoreInput,
  gradient: TokenLossGradient,
  gradients: GradientStore,
): TokenScores & { readonly dHidden: Tensor } {
  return scope(() => {
    const { parameters, config } = model;
    const norm = parameters.get(model.finalNormName);
    const { y, r } = rmsNorm(input.hidden, norm, config.rmsNormEps);
    const rows = scaled(y, input.temperature);
    const parts = chunksOf(model, rows.shape[0] as number).map(([start, end]) =>
      scope(() => chunkBackward(model, rows, input, start, end, gradient, gradients)),
    );
    const dRows = join(parts.map((part) => part.dRows)) as Tensor;
    const dTargets = join(parts.map((part) => part.dTarget)) as Tensor; // [M, 1]
    gradients.add(model.headName, scatterAddRows(mul(rows, dTargets), input.targets, config.vocabSize));
    const { dx, dw } = rmsNormBackward(scaled(dRows, input.temperature), input.hidden, r, norm);
    gradients.add(model.finalNormName, dw);
    return {
      logprobs: join(parts.map((part) => part.logprobs)) as Tensor,
      entropies: join(parts.map((part) => part.entropies)),
      dHidden: dx,
    };
  });
}

function chunkBackward(
  model: Transformer,
  allRows: Tensor, // [M, d]
  input: ScoreInput,
  start: number,
  end: number,
  gradient: TokenLossGradient,
  gradients: GradientStore,
): { readonly logprobs: Tensor; readonly entropies: Tensor | null; readonly dRows: Tensor; readonly dTarget: Tensor } {
  const head = model.parameters.get(model.headName);
  const rows = rowsOf(allRows, start, end); // [m, d]
  const ids = rowsOf(input.targets, start, end); // [m]
  const all = distributionOf(matmul(rows, head, false, true)); // [m, V]
  const logprobs = logprobsAt(all, add(rowsOf(input.offsets, 0, end - start), ids)); // [m]
  const { dLogprobs, dEntropies } = gradient(logprobs, start, end);
  const entropy = input.entropies || dEntropies !== null ? entropyOf(all) : null; // [m, 1]
  const dTarget = reshape(dLogprobs, [-1, 1]); // [m, 1]
  let factor = tf.neg(dTarget);
  if (dEntropies !== null && entropy !== null) {
    const spread = add(all.shifted, sub(entropy, tf.log(all.total))); // log p + H
    factor = sub(factor, mul(spread, reshape(dEntropies, [-1, 1])));
  }
  const dLogits = mul(all.weights, divide(factor, all.total)); // [m, V] without the one-hot part
  gradients.add(model.headName, matmul(dLogits, rows, true));
  const dRows = add(matmul(dLogits, head), mul(gatherRows(head, ids), dTarget));
  return { logprobs, entropies: entropy === null ? null : reshape(entropy, [-1]), dRows, dTarget };
}
