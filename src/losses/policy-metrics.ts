/** Sums the metrics of a policy batch over its tokens, in float64. */
import { klEstimate } from "../algorithms/kl.js";
import type { LossEvaluation } from "../contracts/loss.js";
import type { PolicyLossConfig, PolicyMetrics } from "../contracts/trainer.js";
import { WeirError } from "../errors.js";
import { LOG_RATIO_CLAMP } from "./policy-loss.js";

/** What is summed of some of a batch's tokens. */
export interface MeasuredTokens {
  readonly logprobs: ArrayLike<number>; // [M]
  /** Null: the log-probs themselves. */
  readonly old: ArrayLike<number> | null; // [M]
  readonly reference: ArrayLike<number> | null; // [M]
  readonly weights: ArrayLike<number>; // [M]
  /** Null where they are not known. */
  readonly entropies: ArrayLike<number> | null; // [M]
}

/** Sums metrics over the tokens that count; `finish` makes the reply of them. */
export class PolicyMetricSums {
  private policy = 0;
  private klLoss = 0;
  private entropyLoss = 0;
  private klRef = 0;
  private klOldK1 = 0;
  private klOldK3 = 0;
  private entropy: number | null = 0;
  private clipped = 0;
  private clippedLower = 0;
  private ratioMax = 0;
  private tokens = 0;
  private withReference = 0;
  private padded = 0;
  private microBatches = 0;

  constructor(private readonly loss: PolicyLossConfig) {}

  /** `paddedTokens`: what the micro-batch of these tokens took. */
  add(given: MeasuredTokens, evaluation: LossEvaluation, paddedTokens: number): void {
    this.padded += paddedTokens;
    this.microBatches += 1;
    this.policy += evaluation.value;
    this.clipped += evaluation.clipped;
    this.clippedLower += evaluation.clippedLower;
    if (given.entropies === null) this.entropy = null;
    for (let i = 0; i < given.logprobs.length; i += 1) {
      const weight = given.weights[i] as number;
      // A token that rejection left out counts in no mean, whatever its numbers are.
      if (weight !== 0) this.token(given, i, weight);
    }
  }

  private token({ logprobs, old, reference, entropies }: MeasuredTokens, i: number, weight: number): void {
    const logprob = logprobs[i] as number;
    const before = old === null ? logprob : (old[i] as number);
    const difference = logprob - before;
    const ratio = Math.exp(Math.min(Math.max(difference, -LOG_RATIO_CLAMP), LOG_RATIO_CLAMP));
    this.klOldK1 -= difference;
    this.klOldK3 += klEstimate(before, logprob, "k3", false);
    this.ratioMax = Math.max(this.ratioMax, ratio);
    if (Number.isNaN(ratio)) this.ratioMax = Number.NaN;
    this.tokens += 1;
    if (this.entropy !== null && entropies !== null) {
      this.entropy += entropies[i] as number;
      this.entropyLoss += weight * (entropies[i] as number);
    }
    if (reference === null) return;
    const kl = klEstimate(logprob, reference[i] as number, this.loss.klEstimator, this.loss.klClamp ?? null);
    this.klRef += kl;
    this.klLoss += weight * kl;
    this.withReference += 1;
  }

  /** The reply; `logprobs` is the caller's. Not checked for finiteness here. */
  finish(logprobs: PolicyMetrics["logprobs"]): PolicyMetrics {
    const mean = (sum: number) => (this.tokens === 0 ? 0 : sum / this.tokens);
    const { klCoefficient, entropyCoefficient } = this.loss;
    return {
      loss: this.policy + klCoefficient * this.klLoss - entropyCoefficient * this.entropyLoss,
      pgLoss: this.policy,
      klRef: this.withReference === 0 ? 0 : this.klRef / this.withReference,
      klOldK1: mean(this.klOldK1),
      klOldK3: mean(this.klOldK3),
      entropy: this.entropy === null ? null : mean(this.entropy),
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

/** Refuses a gradient whose metrics are not finite (I7). Errors: WEIR_E_NON_FINITE. */
export function assertFiniteMetrics(numbers: Readonly<Record<string, number | null>>): void {
  for (const [name, value] of Object.entries(numbers)) {
    if (value === null || Number.isFinite(value)) continue;
    throw new WeirError(
      "WEIR_E_NON_FINITE",
      `${name} of the batch is ${value}; its gradient was dropped and the weights were not touched. Inspect the batch, lower the learning rate`,
      { metric: name, value: String(value) },
    );
  }
}
