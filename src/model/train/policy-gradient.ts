/**
 * The policy loss inside the engine: its gradient with respect to each token's log-prob and entropy on the device; its metrics come
 * from the same log-probs and the same formula (src/losses), on the host in float64. A loss that needs whole sequences, or is the
 * caller's own, is evaluated on the host between the forward and the backward pass.
 * Aggregation is a weight per token from global denominators, so splitting a batch changes nothing (I6).
 */

import { K3_EXPONENT_CLAMP } from "../../algorithms/kl.js";
import type { LossSequence } from "../../contracts/loss.js";
import type { PolicyBatch, PolicyLossConfig } from "../../contracts/trainer.js";
import { completionWeights } from "../../losses/host-evaluation.js";
import { policyLossNamed } from "../../losses/index.js";
import type { PolicyLoss, SettingOperands } from "../../losses/policy-loss.js";
import { LOSS_SETTINGS } from "../../losses/settings.js";
import { type Tensor, tf } from "../tensor/tf.js";
import type { TokenLoss } from "../transformer/head.js";
import type { PackedGroups } from "../transformer/packing.js";
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
    weights.set(completionWeights(batch, source), at);
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
