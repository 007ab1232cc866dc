/**
 * Runs packed micro-batches through the model, forward for scores or forward and backward for gradients.
 * Each call is one synchronous tensor scope: everything but the gradient sums is freed when it returns.
 */
import { scope, type Tensor, tf } from "../engine/tf.js";
import type { GradientStore } from "../transformer/gradients.js";
import {
  headForwardBackward,
  rowOffsets,
  scoreRows,
  type TokenLossGradient,
  type TokenScores,
} from "../transformer/head.js";
import { gatherRows, scatterAddRows } from "../transformer/kernels.js";
import type { Transformer } from "../transformer/model.js";
import { groupedSegment, type Prefix, plainSegment, prefixMask, type Segment } from "../transformer/segment.js";
import type { PackedGroups, PackedRows } from "./pack.js";

/** Scores of a pass's targets, on the host. */
export interface PassScores {
  readonly logprobs: Float32Array; // [M]
  /** Empty where they were not asked for. */
  readonly entropies: Float32Array; // [M]
}

/** What is wanted of the targets' distributions. */
export interface ScoreOptions {
  readonly temperature: number;
  readonly entropies: boolean;
}

/** Where gradients are wanted as well: the loss's, and where to add the parameters'. */
export interface Learning {
  readonly gradients: GradientStore;
  readonly gradient: TokenLossGradient;
}

/** Activations of one pass above which layers are run again in the backward pass instead of being kept. */
const ACTIVATION_BUDGET_BYTES = 3 * 1024 ** 3;

function mustRecompute(model: Transformer, tokens: number): boolean {
  const { hiddenSize, intermediateSize, heads, headDim, layers } = model.config;
  const perToken = 4 * (5 * hiddenSize + 5 * intermediateSize + 4 * heads * headDim);
  return tokens * perToken * layers > ACTIVATION_BUDGET_BYTES;
}

function finish(
  model: Transformer,
  hidden: Tensor, // [N, d]
  pass: { readonly places: Int32Array; readonly targets: Int32Array },
  options: ScoreOptions,
  learning: Learning | null,
): TokenScores & { readonly dx: Tensor | null } {
  const places = tf.tensor1d(pass.places, "int32");
  const targets = tf.tensor1d(pass.targets, "int32");
  const offsets = rowOffsets(model, pass.targets.length);
  const input = { hidden: gatherRows(hidden, places), targets, offsets, ...options };
  if (learning === null) return { ...scoreRows(model, input), dx: null };
  const scores = headForwardBackward(model, input, learning.gradient, learning.gradients);
  const dx = scatterAddRows(scores.dHidden, places, hidden.shape[0] as number);
  return { logprobs: scores.logprobs, entropies: scores.entropies, dx };
}

function read({ logprobs, entropies }: TokenScores): PassScores {
  return {
    logprobs: logprobs.dataSync<"float32">().slice(),
    entropies: entropies === null ? new Float32Array(0) : entropies.dataSync<"float32">().slice(),
  };
}

/** One pass over whole sequences. */
export function runRows(
  model: Transformer,
  pass: PackedRows,
  options: ScoreOptions,
  learning: Learning | null,
): PassScores {
  let scores: PassScores | null = null;
  scope(() => {
    const segment = plainSegment(pass.rows, pass.length, model.tables);
    const recompute = mustRecompute(model, pass.paddedTokens);
    const { x, state } = model.forwardRows(segment, null, { save: learning !== null, recompute });
    const out = finish(model, x, pass, options, learning);
    if (learning !== null && out.dx !== null) {
      x.dispose();
      model.backwardRows(segment, null, state, out.dx, learning.gradients);
    }
    scores = read(out);
  });
  return scores as unknown as PassScores;
}

/** Prefix keys and values of a pass (null where no prompt has any), and what their backward pass needs. */
export function runPrefix(
  model: Transformer,
  pass: { readonly prefixes: readonly (readonly number[])[]; readonly prefixLength: number },
  options: { readonly save: boolean; readonly recompute: boolean },
) {
  if (pass.prefixLength === 0) return null;
  const segment: Segment = plainSegment(pass.prefixes, pass.prefixLength, model.tables);
  const { layers, state } = model.forwardKeys(segment, options);
  const mask = prefixMask(
    pass.prefixes.map((prefix) => prefix.length),
    pass.prefixLength,
  );
  const prefix: Prefix = { length: pass.prefixLength, layers, mask };
  return { segment, prefix, state };
}

/** One pass over prompts and their completions; each prompt runs once, forward and backward. */
export function runGroups(
  model: Transformer,
  pass: PackedGroups,
  options: ScoreOptions,
  learning: Learning | null,
): PassScores {
  let scores: PassScores | null = null;
  scope(() => {
    const keep = { save: learning !== null, recompute: mustRecompute(model, pass.paddedTokens) };
    const shared = runPrefix(model, pass, keep);
    const segment = groupedSegment(pass.rows, pass.group, pass.length, pass.starts, model.tables);
    const prefix = shared?.prefix ?? null;
    const { x, state } = model.forwardRows(segment, prefix, keep);
    const out = finish(model, x, pass, options, learning);
    if (learning !== null && out.dx !== null) {
      x.dispose();
      const dPrefix = model.backwardRows(segment, prefix, state, out.dx, learning.gradients);
      if (shared !== null && dPrefix !== null) {
        model.backwardKeys(shared.segment, shared.state, dPrefix, learning.gradients);
      }
    }
    scores = read(out);
  });
  return scores as unknown as PassScores;
}
