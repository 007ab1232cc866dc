/**
 * The policy loss inside the engine: its gradient with respect to each token's log-prob and entropy on the device, and its
 * metrics on the host in float64 from the same log-probs. Both come from one formula (src/losses). A loss that needs whole
 * sequences, or is the caller's own, is evaluated on the host between the forward and the backward pass.
 * Aggregation is a weight per token from global denominators, so splitting a batch changes nothing (I6).
 */

import { K3_EXPONENT_CLAMP, klEstimate } from "../../algorithms/kl.js";
import type { LossEvaluation, LossSequence } from "../../contracts/loss.js";
import type { EvaluateLoss, PolicyBatch, PolicyLossConfig, PolicyMetrics } from "../../contracts/trainer.js";
import { WeirError } from "../../errors.js";
import { tokenWeight } from "../../losses/aggregation.js";
import { evaluateLoss } from "../../losses/evaluate.js";
import { policyLossNamed } from "../../losses/index.js";
import { LOG_RATIO_CLAMP, type PolicyLoss, type SettingOperands } from "../../losses/policy-loss.js";
import { LOSS_SETTINGS } from "../../losses/settings.js";
import { type Tensor, tf } from "../tensor/tf.js";
import type { TokenLoss } from "../transformer/head.js";
import type { PackedGroups } from "../transformer/packing.js";
import type { MicroBatchScores } from "./micro-batch.js";
import { traced } from "./traced-algebra.js";

/** Per target of a micro-batch, in their order. */
export interface MicroBatchTargets {
  readonly advantages: Float32Array; // [M]
  /** Null: the log-probs of this very forward pass. */
  readonly old: Float32Array | null; // [M]
  readonly reference: Float32Array | null; // [M]
  readonly weights: Float32Array; // [M]
}

/** Collects a micro-batch's per-token inputs. The reference is used only where every completion has one. */
export function microBatchTargets(batch: PolicyBatch, microBatch: PackedGroups): MicroBatchTargets {
  const count = microBatch.targets.length;
  const advantages = new Float32Array(count);
  const weights = new Float32Array(count);
  const sourceOf = ({ group, completion }: PackedGroups["origin"][number]) =>
    batch.groups[group]!.completions[completion]!;
  /** An array for what every completion has, else null. */
  const roomFor = (name: "oldLogprobs" | "refLogprobs") =>
    microBatch.origin.every((place) => sourceOf(place)[name] !== null) ? new Float32Array(count) : null;
  const old = roomFor("oldLogprobs");
  const reference = roomFor("refLogprobs");
  let at = 0;
  for (const place of microBatch.origin) {
    const { length } = place;
    const source = sourceOf(place);
    advantages.set(source.advantages, at);
    old?.set(source.oldLogprobs ?? [], at);
    reference?.set(source.refLogprobs ?? [], at);
    const counted = source.weights?.reduce((count, weight) => count + (weight === 0 ? 0 : 1), 0) ?? length;
    const weight = tokenWeight(batch.loss.aggregation, batch.denominators, counted, batch.loss.lossScale);
    for (let t = 0; t < length; t += 1) {
      const own = source.weights?.[t] ?? 1;
      weights[at + t] = own === 0 ? 0 : own * weight;
    }
    at += length;
  }
  return { advantages, old, reference, weights };
}

/** The whole sequences of a micro-batch's targets, as a loss sees them. */
export function lossSequences(
  microBatch: PackedGroups,
  targets: MicroBatchTargets,
  logprobs: Float32Array,
): LossSequence[] {
  let at = 0;
  return microBatch.origin.map(({ length }) => {
    const of = (values: Float32Array) => values.subarray(at, at + length);
    const sequence = {
      logprobs: of(logprobs),
      old: of(targets.old ?? logprobs),
      reference: targets.reference && of(targets.reference),
      advantages: of(targets.advantages),
      weights: of(targets.weights),
    };
    at += length;
    return sequence;
  });
}

/**
 * How the loss is evaluated on the host: by a built-in formula, or by the caller.
 * The caller's result is checked: WEIR_E_SHAPE where coefficients do not fit the sequences, WEIR_E_NON_FINITE where a number is
 * not finite.
 */
export function hostEvaluation(loss: PolicyLossConfig, evaluate: EvaluateLoss | null): EvaluateLoss {
  if (loss.name !== null) {
    const formula = policyLossNamed(loss.name);
    return (sequences) => evaluateLoss(formula, sequences, loss.settings);
  }
  if (evaluate === null)
    throw new WeirError(
      "WEIR_E_STATE",
      "the batch names no loss and none was given; name one of src/losses, or microBatch `evaluate`",
    );
  return async (sequences) => assertEvaluation(await evaluate(sequences), sequences);
}

function assertEvaluation(found: LossEvaluation, sequences: readonly LossSequence[]): LossEvaluation {
  const lengths = sequences.map(({ logprobs }) => logprobs.length);
  const given = found.coefficients.map((row) => row.length);
  if (given.length !== lengths.length || given.some((length, i) => length !== lengths[i])) {
    throw new WeirError(
      "WEIR_E_SHAPE",
      `the loss must give one coefficient per token of ${lengths.length} sequences (${lengths.slice(0, 8).join(", ")} …), got ${given.length} (${given.slice(0, 8).join(", ")} …)`,
    );
  }
  const numbers = [found.value, found.clipped, found.clippedLower];
  if (![...numbers, ...found.coefficients.flatMap((row) => Array.from(row))].every(Number.isFinite))
    throw new WeirError(
      "WEIR_E_NON_FINITE",
      "the loss gave a value or a coefficient that is not finite; nothing was changed",
    );
  return found;
}

/** True where the loss's gradient is traced into the graph: a built-in whose tokens are independent of one another. */
export function isTraced(loss: PolicyLossConfig): boolean {
  return loss.name !== null && policyLossNamed(loss.name).scope === "token";
}

/**
 * The policy loss of a micro-batch's targets, by its gradient with respect to log-probs and entropies. `coefficients`: the policy
 * term's, where it was evaluated on the host; null traces the formula.
 */
export function policyTokenLoss(
  loss: PolicyLossConfig,
  targets: MicroBatchTargets,
  coefficients: Float32Array | null,
): TokenLoss {
  const withKl = targets.reference !== null && loss.klCoefficient !== 0;
  const { advantages, old, weights, reference } = targets;
  const formula = coefficients === null ? policyLossNamed(loss.name as string) : null;
  const clamp = loss.klClamp ?? null;
  const set = LOSS_SETTINGS.filter((name) => formula !== null && loss.settings[name] !== null);
  return {
    key: [
      `policy ${formula?.name ?? "host"} ${set.join(",")} old=${old !== null}`,
      `kl=${withKl ? loss.klEstimator : "none"} clamp=${clamp !== null} entropy=${loss.entropyCoefficient !== 0}`,
    ].join(" "),
    scalars: {
      ...Object.fromEntries(set.map((name) => [name, loss.settings[name] as number])),
      klCoefficient: loss.klCoefficient,
      klClamp: clamp ?? 0,
      entropySlope: -loss.entropyCoefficient,
    },
    perToken: {
      weights,
      ...(coefficients === null ? { advantages } : { coefficients }),
      ...(coefficients === null && old !== null ? { old } : {}),
      ...(withKl && reference !== null ? { reference } : {}),
    },
    gradient(scalars, perToken, logprobs) {
      const of = (name: string) => perToken[name] as Tensor;
      const policy = formula === null ? of("coefficients") : tracedSlope(formula, scalars, perToken, logprobs);
      let slope = policy;
      if (withKl) {
        const bound = clamp === null ? null : (scalars.klClamp as Tensor);
        const kl = klSlope(tf.sub(logprobs, of("reference")), loss, bound);
        slope = tf.add(policy, tf.mul(tf.mul(kl, scalars.klCoefficient as Tensor), of("weights")));
      }
      return {
        dLogprobs: slope,
        dEntropies: loss.entropyCoefficient === 0 ? null : tf.mul(of("weights"), scalars.entropySlope as Tensor),
      };
    },
  };
}

/** weight·dℓ/d(log π) of each token. [m] */
function tracedSlope(
  formula: PolicyLoss,
  scalars: Readonly<Record<string, Tensor>>,
  perToken: Readonly<Record<string, Tensor>>,
  logprobs: Tensor,
): Tensor {
  if (formula.scope !== "token")
    throw new TypeError(`the loss ${formula.name} needs whole sequences and cannot be traced`);
  const settings = Object.fromEntries(
    LOSS_SETTINGS.map((name) => [name, scalars[name] ?? null]),
  ) as SettingOperands<Tensor>;
  const advantages = perToken.advantages as Tensor;
  const weights = perToken.weights as Tensor;
  const { slope } = formula.terms(traced, { logprobs, old: perToken.old ?? logprobs, advantages }, settings);
  // Not 0·slope: a token that rejection left out may have any ratio.
  return traced.select(tf.equal(weights, 0), 0, tf.mul(slope, weights));
}

/** Weighted negative log-prob of each target. */
export function supervisedTokenLoss(weights: Float32Array): TokenLoss {
  return {
    key: "supervised",
    scalars: {},
    perToken: { weights },
    gradient: (_, perToken) => ({ dLogprobs: tf.neg(perToken.weights as Tensor), dEntropies: null }),
  };
}

/**
 * Derivative of the estimator: 1, d, 1 − e^(−d), and 0 where k3's clamp holds (algorithms/kl.ts). The exponent is bounded before
 * exp, so that the product with 0 stays finite (I7).
 */
function klSlope(d: Tensor, loss: PolicyLossConfig, clamp: Tensor | null): Tensor {
  switch (loss.klEstimator) {
    case "k1":
      return tf.onesLike(d);
    case "k2":
      return d;
    case "k3": {
      const power = tf.exp(tf.minimum(tf.neg(d), K3_EXPONENT_CLAMP));
      const slope = tf.sub(1, power);
      if (clamp === null) return slope;
      const estimate = tf.sub(tf.add(power, d), 1);
      return tf.mul(slope, tf.cast(tf.greaterEqual(clamp, estimate), "float32"));
    }
  }
}

/** Sums metrics over the tokens of micro-batches that count; `finish` makes the reply of them. */
export class PolicyMetricSums {
  private policy = 0;
  private klLoss = 0;
  private entropyLoss = 0;
  private klRef = 0;
  private klOldK1 = 0;
  private klOldK3 = 0;
  private entropy = 0;
  private clipped = 0;
  private clippedLower = 0;
  private ratioMax = 0;
  private tokens = 0;
  private withReference = 0;
  private padded = 0;
  private microBatches = 0;
  private readonly loss: PolicyLossConfig;

  constructor(loss: PolicyLossConfig) {
    this.loss = loss;
  }

  add(
    microBatch: PackedGroups,
    targets: MicroBatchTargets,
    scores: MicroBatchScores,
    evaluation: LossEvaluation,
  ): void {
    this.padded += microBatch.paddedTokens;
    this.microBatches += 1;
    this.policy += evaluation.value;
    this.clipped += evaluation.clipped;
    this.clippedLower += evaluation.clippedLower;
    for (let i = 0; i < scores.logprobs.length; i += 1) {
      const logprob = scores.logprobs[i]!;
      const weight = targets.weights[i]!;
      // A token that rejection left out counts in no mean, whatever its numbers are.
      if (weight === 0) continue;
      const old = targets.old === null ? logprob : targets.old[i]!;
      const difference = logprob - old;
      const ratio = Math.exp(Math.min(Math.max(difference, -LOG_RATIO_CLAMP), LOG_RATIO_CLAMP));
      this.klOldK1 -= difference;
      this.klOldK3 += klEstimate(old, logprob, "k3", false);
      this.entropy += scores.entropies[i]!;
      this.entropyLoss += weight * scores.entropies[i]!;
      this.ratioMax = Math.max(this.ratioMax, ratio);
      if (Number.isNaN(ratio)) this.ratioMax = Number.NaN;
      this.tokens += 1;
      if (targets.reference !== null) {
        const kl = klEstimate(logprob, targets.reference[i]!, this.loss.klEstimator, this.loss.klClamp ?? null);
        this.klRef += kl;
        this.klLoss += weight * kl;
        this.withReference += 1;
      }
    }
  }

  /** The reply; `logprobs` is filled by the caller. Not checked for finiteness here. */
  finish(logprobs: PolicyMetrics["logprobs"]): PolicyMetrics & { readonly entropy: number } {
    const mean = (sum: number) => (this.tokens === 0 ? 0 : sum / this.tokens);
    const { klCoefficient, entropyCoefficient } = this.loss;
    return {
      loss: this.policy + klCoefficient * this.klLoss - entropyCoefficient * this.entropyLoss,
      pgLoss: this.policy,
      klRef: this.withReference === 0 ? 0 : this.klRef / this.withReference,
      klOldK1: mean(this.klOldK1),
      klOldK3: mean(this.klOldK3),
      entropy: mean(this.entropy),
      clipFraction: mean(this.clipped),
      clipFractionLower: mean(this.clippedLower),
      ratioMax: this.ratioMax,
      tokens: this.tokens,
      paddedTokens: this.padded,
      microBatches: this.microBatches,
      logprobs,
    };
  }
}
