/**
 * Runs micro-batches through the model: forward for scores, forward and backward for gradients.
 * Each call is one tensor scope: everything but the gradient sums is freed when it returns.
 */

import type { BatchPrefixes } from "../activations/prefix-cache.js";
import { concat, gatherRows, scatterAddRows } from "../tensor/kernels.js";
import { asyncScope, scope, type Tensor, tf } from "../tensor/tf.js";
import type { GradientStore } from "../transformer/gradients.js";
import { chunkLengths, type TokenLoss } from "../transformer/head.js";
import { type MicroBatchSize, planMemory } from "../transformer/memory-plan.js";
import type { Transformer } from "../transformer/model.js";
import { normScale } from "../transformer/norm.js";
import type { PackedGroups, PackedRows } from "../transformer/packing.js";
import { groupedSegment, type KeyValue, plainSegment } from "../transformer/segment.js";

/** Scores of a micro-batch's targets, on the host. */
export interface MicroBatchScores {
  readonly logprobs: Float32Array; // [M]
  /** Empty unless requested. */
  readonly entropies: Float32Array; // [M]
}

/** What to compute of the targets' distributions. */
export interface ScoreOptions {
  readonly temperature: number;
  readonly entropies: boolean;
}

/** For gradients: the loss, and where to add the parameters' gradients. */
export interface Learning {
  readonly gradients: GradientStore;
  readonly loss: TokenLoss;
}

/** Layers that save their activations; null where there is no backward pass. */
function countSavedLayers(model: Transformer, size: MicroBatchSize, learning: Learning | null): number | null {
  return learning && planMemory(model.config, model.runner.form, size, model.memoryBudget).savedLayers;
}

/** Size of a micro-batch of whole sequences. */
function sizeOfRows(microBatch: PackedRows): MicroBatchSize {
  return {
    prefixTokens: microBatch.paddedTokens,
    rowTokens: 0,
    prefixSlots: microBatch.rows.length * microBatch.length,
    targets: microBatch.targets.length,
  };
}

/** Scores of a micro-batch's targets, chunk by chunk, and with a loss the gradient at `hidden`. Chunks are padded with row 0. */
function finish(
  model: Transformer,
  hidden: Tensor, // [N, d]
  microBatch: { readonly places: Int32Array; readonly targets: Int32Array },
  options: ScoreOptions,
  learning: Learning | null,
): { readonly scores: readonly ChunkScores[]; readonly dx: Tensor | null } {
  const { config, parameters } = model;
  const names = { head: model.headName, norm: model.finalNormName };
  const norm = normScale(parameters.get(names.norm), config);
  const loss = learning?.loss ?? null;
  const scalars = Object.fromEntries(Object.entries(loss?.scalars ?? {}).map(([name, x]) => [name, tf.scalar(x)]));
  const scores: ChunkScores[] = [];
  const gradients: Tensor[] = [];
  const used: Int32Array[] = [];
  let start = 0;
  for (const length of chunkLengths(microBatch.targets.length, config.vocabSize)) {
    const end = Math.min(start + length, microBatch.targets.length);
    const places = padded(microBatch.places.subarray(start, end), new Int32Array(length));
    const tokens = Object.entries(loss?.perToken ?? {}).map(([name, values]): [string, Tensor] => [
      name,
      tf.tensor1d(padded(values.subarray(start, end), new Float32Array(length))),
    ]);
    const chunk = {
      hidden: gatherRows(hidden, tf.tensor1d(places, "int32")),
      targets: tf.tensor1d(padded(microBatch.targets.subarray(start, end), new Int32Array(length)), "int32"),
      norm,
      head: parameters.get(names.head),
      inverseTemperature: options.temperature === 1 ? null : tf.scalar(1 / options.temperature),
      loss: loss === null ? null : { scalars, perToken: Object.fromEntries(tokens) },
    };
    const { dHidden, ...own } = model.runner.head(
      chunk,
      {
        key: loss?.key ?? "none",
        epsilon: config.rmsNormEps,
        entropies: options.entropies,
        gradient: loss === null ? null : loss.gradient.bind(loss),
      },
      names,
      learning?.gradients ?? null,
    );
    scores.push({ ...own, count: end - start });
    if (dHidden !== null) gradients.push(dHidden);
    used.push(places);
    start = end;
  }
  if (gradients.length === 0) return { scores, dx: null };
  const places = tf.tensor1d(Int32Array.from(used.flatMap((part) => [...part])), "int32");
  return { scores, dx: scatterAddRows(concat(gradients, 0), places, hidden.shape[0] as number) };
}

/** Scores of one chunk, of which the first `count` are wanted. */
interface ChunkScores {
  readonly logprobs: Tensor; // [m]
  readonly entropies: Tensor | null; // [m]
  readonly count: number;
}

function padded<T extends Int32Array | Float32Array>(values: T, into: T): T {
  into.set(values);
  return into;
}

function read(scores: readonly ChunkScores[]): MicroBatchScores {
  const join = (pick: (chunk: ChunkScores) => Tensor | null): Float32Array => {
    const parts = scores.map((chunk) => pick(chunk)?.dataSync<"float32">().subarray(0, chunk.count) ?? []);
    const all = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of parts) {
      all.set(part, at);
      at += part.length;
    }
    return all;
  };
  return { logprobs: join(({ logprobs }) => logprobs), entropies: join(({ entropies }) => entropies) };
}

/** One micro-batch of whole sequences. */
export function runRows(
  model: Transformer,
  microBatch: PackedRows,
  options: ScoreOptions,
  learning: Learning | null,
): MicroBatchScores {
  let scores: MicroBatchScores | null = null;
  scope(() => {
    const segment = plainSegment(microBatch.rows, microBatch.length, model.tables, microBatch.tokens);
    const savedLayers = countSavedLayers(model, sizeOfRows(microBatch), learning);
    const { x, state } = model.forwardRows(segment, null, { savedLayers });
    const out = finish(model, x, microBatch, options, learning);
    if (learning !== null && out.dx !== null) {
      x.dispose();
      model.backwardRows(segment, null, state, out.dx, learning.gradients);
    }
    scores = read(out.scores);
  });
  return scores as unknown as MicroBatchScores;
}

/** Gradients of a loss that is evaluated on the host once the log-probs are known, between forward and backward. */
export interface HostLearning {
  readonly gradients: GradientStore;
  readonly lossOf: (scores: MicroBatchScores) => Promise<TokenLoss>;
}

/**
 * One of a batch's micro-batches, in their order: the completions of its prompts, forward and with a loss backward. A loss that
 * the host evaluates runs the output head twice: once for the log-probs, once for the gradient.
 */
export function runGroups(
  model: Transformer,
  microBatch: PackedGroups,
  prefixes: BatchPrefixes,
  options: ScoreOptions,
  learning: Learning | HostLearning | null,
): Promise<MicroBatchScores> {
  return asyncScope(async () => {
    const { prefix, savedLayers } = prefixes.enter(microBatch);
    const segment = groupedSegment(
      microBatch.rows,
      microBatch.group,
      microBatch.length,
      microBatch.starts,
      model.tables,
      microBatch.rowTokens,
    );
    const decoded = prefixes.takeCompletions(microBatch);
    try {
      const { x, state } = decoded?.forward() ?? model.forwardRows(segment, prefix, { savedLayers });
      let own: Learning | null = null;
      if (learning !== null && "lossOf" in learning) {
        const scores = read(finish(model, x, microBatch, options, null).scores);
        own = { gradients: learning.gradients, loss: await learning.lossOf(scores) };
      } else own = learning;
      const out = finish(model, x, microBatch, options, own);
      let dPrefix: readonly KeyValue[] | null = null;
      if (own !== null && out.dx !== null) {
        x.dispose();
        dPrefix = model.backwardRows(segment, prefix, state, out.dx, own.gradients);
      }
      prefixes.leave(microBatch, dPrefix);
      return read(out.scores);
    } finally {
      decoded?.release();
    }
  });
}
