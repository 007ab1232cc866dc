/**
 * From weir's losses to the server's. A loss that the server has is sent as it is: the clipped surrogate of GRPO, DAPO and Dr. GRPO as
 * `ppo`, CISPO as `cispo`. Every other one, the caller's own too, is evaluated here and sent by its gradient: with log-probs of the
 * present weights the ratio is 1, the gradient of −ρ·A is −A·∇log π, and A = −coefficient makes it the loss's. That is exact for
 * any loss, since a gradient needs no more than the coefficients at the present weights.
 */
import type { LossEvaluation, LossSequence } from "../../contracts/loss.js";
import type { PolicyLossConfig, ServerLossScale, SftAggregation } from "../../contracts/trainer.js";
import { clippedRatio } from "../../losses/clipped-ratio.js";
import { policyLossNamed } from "../../losses/index.js";
import { LOG_RATIO_CLAMP } from "../../losses/policy-loss.js";
import { gradientRows, type Sequence, type SequenceGradient, supervisedRow } from "./rows.js";
import type { Pass } from "./server-model.js";

interface ServerLoss {
  readonly lossFn: string;
  readonly config: Readonly<Record<string, number>>;
}

/** Gradients that wait for the optimiser step. */
export interface QueuedGradient {
  readonly loss: ServerLoss;
  readonly gradients: readonly SequenceGradient[];
  /** The rows of a supervised batch, by their masks; null for a policy's. */
  readonly supervised: { readonly aggregation: SftAggregation; readonly masks: readonly (readonly number[])[] } | null;
}

const BY_COEFFICIENTS: ServerLoss = { lossFn: "importance_sampling", config: {} };

/** The gradient of a policy loss. `hasOld`: π_old are other weights than the present ones. */
export function policyGradient(
  loss: PolicyLossConfig,
  sequences: readonly Sequence[],
  seen: readonly LossSequence[],
  { coefficients }: LossEvaluation,
  hasOld: boolean,
): QueuedGradient {
  const named = hasOld ? serverLoss(loss, seen) : null;
  const gradients = sequences.map((sequence, i): SequenceGradient => {
    const { logprobs, old, advantages, weights } = seen[i] as LossSequence;
    const weight = (t: number) => weights[t] as number;
    if (named !== null) {
      const weighted = sequence.tokenIds.map((_, t) => (weight(t) === 0 ? 0 : (advantages[t] as number) * weight(t)));
      return { sequence, counted: sequence.tokenIds.map((_, t) => weight(t) !== 0), logprobs: old, weighted };
    }
    const weighted = Array.from(coefficients[i] as ArrayLike<number>, (coefficient) => -coefficient);
    const counted = weighted.map((value, t) => value !== 0 || weight(t) !== 0);
    return { sequence, counted, logprobs, weighted };
  });
  return { loss: named ?? BY_COEFFICIENTS, gradients, supervised: null };
}

/** The server's own form of a loss; null where it has none that is the same on these tokens. */
function serverLoss({ name, settings }: PolicyLossConfig, seen: readonly LossSequence[]): ServerLoss | null {
  if (name === null || !seen.every(withinClamp)) return null;
  const config = { clip_low_threshold: 1 - settings.clipLow, clip_high_threshold: 1 + settings.clipHigh };
  if (name === "cispo") return { lossFn: "cispo", config };
  const plain = settings.dualClip === null && settings.largestRatio === null;
  return plain && policyLossNamed(name).terms === clippedRatio ? { lossFn: "ppo", config } : null;
}

/** weir bounds the log-ratio before exp, servers do not. */
function withinClamp({ logprobs, old, weights }: LossSequence): boolean {
  return Array.from(weights).every(
    (weight, t) => weight === 0 || Math.abs((logprobs[t] as number) - (old[t] as number)) <= LOG_RATIO_CLAMP,
  );
}

/** The gradient of supervised rows: `masks` as given, `weights` in the batch's loss; both without the first token of a row. */
export function supervisedGradient(
  aggregation: SftAggregation,
  rows: readonly {
    readonly sequence: Sequence;
    readonly logprobs: readonly number[];
    readonly mask: readonly number[];
    readonly weights: readonly number[];
  }[],
): QueuedGradient {
  return {
    loss: BY_COEFFICIENTS,
    gradients: rows.map(({ sequence, logprobs, weights }) => ({
      sequence,
      counted: weights.map((weight) => weight !== 0),
      logprobs,
      weighted: weights,
    })),
    supervised: { aggregation, masks: rows.map(({ mask }) => mask) },
  };
}

/** The passes whose gradients sum up to that of everything queued. */
export function passesOf(queue: readonly QueuedGradient[], scale: ServerLossScale): Pass[] {
  const plain = supervisedPass(queue, scale);
  if (plain !== null) return [plain];
  const rows = gradientRows(
    queue.flatMap(({ gradients }) => gradients),
    scale,
  );
  let at = 0;
  return queue.flatMap(({ loss, gradients }) => {
    const own = rows.slice(at, at + gradients.length).filter((row) => row !== null);
    at += gradients.length;
    return own.length === 0 ? [] : [{ ...loss, rows: own }];
  });
}

/** The server's supervised loss, where it is that of what is queued: a row-mean server's is `seq-mean` of one batch. */
function supervisedPass(queue: readonly QueuedGradient[], scale: ServerLossScale): Pass | null {
  const batches = queue.map(({ supervised }) => supervised);
  const [first] = batches;
  if (batches.includes(null) || first === undefined) return null;
  if (scale === "row-mean" && (batches.length > 1 || first?.aggregation !== "seq-mean")) return null;
  const rows = queue.flatMap(({ gradients, supervised }) =>
    gradients.flatMap(({ sequence, counted, weighted }, i) => {
      if (!counted.some(Boolean)) return [];
      const weights = scale === "sum" ? Array.from(weighted) : (supervised?.masks[i] ?? []);
      return [supervisedRow(sequence, weights)];
    }),
  );
  return { lossFn: "cross_entropy", config: {}, rows };
}
