/**
 * The policy loss inside the engine: its gradient with respect to each token's log-prob and entropy on the device,
 * and its metrics on the host in float64 from the same log-probs (formulas of src/algorithms, tested there).
 * Aggregation is a weight per token from global denominators, so splitting a batch changes nothing (I6).
 */
import { K3_EXPONENT_CLAMP, klEstimate } from "../../algorithms/kl.js";
import { LOG_RATIO_CLAMP, tokenPolicyLoss } from "../../algorithms/policy-loss.js";
import type {
  CheckedCompletion,
  LossDenominators,
  PolicyBatch,
  PolicyLossConfig,
  PolicyMetrics,
} from "../../contracts/trainer.js";
import { type Tensor, tf } from "../engine/tf.js";
import type { TokenLoss } from "../transformer/head.js";
import type { PackedGroups } from "./pack.js";
import type { PassScores } from "./passes.js";

/** Weight of one token's loss in the batch's loss; `length` is its completion's. */
export function tokenWeight(loss: PolicyLossConfig, denominators: LossDenominators, length: number): number {
  switch (loss.aggregation) {
    case "token-mean":
      return 1 / denominators.tokens;
    case "seq-mean-token-mean":
      return 1 / (denominators.sequences * length);
    case "seq-mean-token-sum":
      return 1 / denominators.sequences;
    case "seq-mean-token-sum-norm":
      return 1 / loss.sumNormTokens;
  }
}

/** Per target of a pass, in its order. */
export interface PassTargets {
  readonly advantages: Float32Array; // [M]
  /** Null: the log-probs of the pass itself. */
  readonly old: Float32Array | null; // [M]
  readonly reference: Float32Array | null; // [M]
  readonly weights: Float32Array; // [M]
}

/** Collects a pass's per-token inputs. The reference is used only where every completion of the pass has one. */
export function passTargets(batch: PolicyBatch, pass: PackedGroups): PassTargets {
  const count = pass.targets.length;
  const advantages = new Float32Array(count);
  const weights = new Float32Array(count);
  const sourceOf = ({ group, completion }: PackedGroups["origin"][number]) =>
    batch.groups[group]!.completions[completion]!;
  /** Room for what every completion of the pass has, else null. */
  const roomFor = (name: "oldLogprobs" | "refLogprobs") =>
    pass.origin.every((place) => sourceOf(place)[name] !== null) ? new Float32Array(count) : null;
  const old = roomFor("oldLogprobs");
  const reference = roomFor("refLogprobs");
  let at = 0;
  for (const place of pass.origin) {
    const { length } = place;
    const source = sourceOf(place);
    advantages.set(source.advantages, at);
    old?.set(source.oldLogprobs ?? [], at);
    reference?.set(source.refLogprobs ?? [], at);
    weights.fill(tokenWeight(batch.loss, batch.denominators, length), at, at + length);
    at += length;
  }
  return { advantages, old, reference, weights };
}

/** The policy loss of a pass's targets, by its gradient with respect to log-probs and entropies. */
export function policyTokenLoss(loss: PolicyLossConfig, targets: PassTargets): TokenLoss {
  const withKl = targets.reference !== null && loss.klCoefficient !== 0;
  const { advantages, old, weights, reference } = targets;
  const clamp = loss.klClamp ?? null;
  return {
    key: `policy old=${old !== null} dual=${loss.dualClip !== null} kl=${withKl ? loss.klEstimator : "none"} clamp=${clamp !== null} entropy=${loss.entropyCoefficient !== 0}`,
    scalars: {
      low: 1 - loss.clipLow,
      high: 1 + loss.clipHigh,
      dualClip: loss.dualClip ?? 0,
      klCoefficient: loss.klCoefficient,
      klClamp: clamp ?? 0,
      entropySlope: -loss.entropyCoefficient,
    },
    perToken: {
      advantages,
      weights,
      ...(old !== null ? { old } : {}),
      ...(withKl && reference !== null ? { reference } : {}),
    },
    gradient(scalars, perToken, logprobs) {
      const scalar = (name: string) => scalars[name] as Tensor;
      const of = (name: string) => perToken[name] as Tensor;
      const difference = tf.sub(logprobs, old === null ? logprobs : of("old"));
      const bounded = tf.clipByValue(difference, -LOG_RATIO_CLAMP, LOG_RATIO_CLAMP);
      const ratio = tf.exp(bounded);
      const gain = tf.neg(of("advantages"));
      const unclipped = tf.mul(gain, ratio);
      const clipped = tf.mul(gain, tf.minimum(tf.maximum(ratio, scalar("low")), scalar("high")));
      let active = tf.logicalAnd(tf.greaterEqual(unclipped, clipped), tf.equal(bounded, difference));
      if (loss.dualClip !== null) {
        const held = tf.logicalAnd(
          tf.greater(gain, tf.zerosLike(gain)),
          tf.greater(tf.maximum(unclipped, clipped), tf.mul(gain, scalar("dualClip"))),
        );
        active = tf.logicalAnd(active, tf.logicalNot(held));
      }
      let slope: Tensor = tf.mul(unclipped, tf.cast(active, "float32"));
      if (withKl) {
        const kl = klSlope(tf.sub(logprobs, of("reference")), loss, clamp === null ? null : scalar("klClamp"));
        slope = tf.add(slope, tf.mul(kl, scalar("klCoefficient")));
      }
      return {
        dLogprobs: tf.mul(slope, of("weights")),
        dEntropies: loss.entropyCoefficient === 0 ? null : tf.mul(of("weights"), scalar("entropySlope")),
      };
    },
  };
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

/** Sums metrics over passes; `finish` turns them into the reply. */
export class PolicyMetricSums {
  private pg = 0;
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
  private passes = 0;
  private readonly loss: PolicyLossConfig;

  constructor(loss: PolicyLossConfig) {
    this.loss = loss;
  }

  add(pass: PackedGroups, targets: PassTargets, scores: PassScores): void {
    this.padded += pass.paddedTokens;
    this.passes += 1;
    for (let i = 0; i < scores.logprobs.length; i += 1) {
      const logprob = scores.logprobs[i]!;
      const weight = targets.weights[i]!;
      const old = targets.old === null ? logprob : targets.old[i]!;
      const difference = logprob - old;
      const ratio = Math.exp(Math.min(Math.max(difference, -LOG_RATIO_CLAMP), LOG_RATIO_CLAMP));
      const token = tokenPolicyLoss(ratio, targets.advantages[i]!, this.loss);
      this.pg += weight * token.loss;
      this.clipped += token.countedClipped;
      this.clippedLower += token.countedClippedLower;
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
  finish(logprobs: PolicyMetrics["logprobs"], checked: CheckedCompletion | null): PolicyMetrics {
    const mean = (sum: number) => (this.tokens === 0 ? 0 : sum / this.tokens);
    const { klCoefficient, entropyCoefficient } = this.loss;
    return {
      loss: this.pg + klCoefficient * this.klLoss - entropyCoefficient * this.entropyLoss,
      pgLoss: this.pg,
      klRef: this.withReference === 0 ? 0 : this.klRef / this.withReference,
      klOldK1: mean(this.klOldK1),
      klOldK3: mean(this.klOldK3),
      entropy: mean(this.entropy),
      clipFraction: mean(this.clipped),
      clipFractionLower: mean(this.clippedLower),
      ratioMax: this.ratioMax,
      tokens: this.tokens,
      paddedTokens: this.padded,
      microBatches: this.passes,
      logprobs,
      checked,
    };
  }
}
