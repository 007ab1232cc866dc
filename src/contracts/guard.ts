import type { MetricName, MetricValues } from "./metrics.js";
import type { Json } from "./task.js";

/** An estimate of a KL divergence from sampled tokens. */
export interface KlMeasure {
  /** Token mean of k3, not clamped, nats. */
  readonly k3: number;
  /** Token mean of k1, nats. */
  readonly k1: number;
  /** Standard error of `k3` with whole responses as the units of sampling, nats; null for fewer than two responses. */
  readonly standardError: number | null;
  /** Largest k3 of a token, nats. */
  readonly max: number;
  readonly tokens: number;
}

/** What a guard judges: one gradient that has not been applied for good. What was not measured is null, never 0 (I1). */
export interface Evidence {
  readonly stage: "warmup" | "rl";
  /** RL step, or step of the warm-up, 1-based. */
  readonly step: number;
  /** 0 in the warm-up. */
  readonly phase: number;
  /** Which optimiser step of this RL step, from 0, counted over mini-batches and epochs. */
  readonly miniBatch: number;
  /** The policy that sampled, as published. */
  readonly policyVersion: number;
  readonly learningRate: number;
  /** Names of the numbers below that are not finite. A gradient with any of them is never applied, whatever the verdict. */
  readonly nonFinite: readonly string[];
  /** Loss with all its terms; null where it is not finite. */
  readonly loss: number | null;
  /** Global L2 norm before clipping; null where the trainer does not tell it before the step, or it is not finite. */
  readonly gradNorm: number | null;
  /** Of the gradient. 0 for an RL step without any, since no group was kept: only `rollback` has an effect then. */
  readonly tokens: number;
  /** Of the update's policy loss; null in the warm-up and where the loss is not finite. */
  readonly policy: {
    readonly klRef: number | null;
    readonly klOldK3: number;
    /** Null where the trainer gives none. */
    readonly entropy: number | null;
    readonly clipFraction: number;
    readonly ratioMax: number;
  } | null;
  /**
   * KL of the policy after this optimiser step against the policy before it, on tokens of the mini-batch, from a trial step that can
   * still be undone; null without a trial (`guard.trial`), in the warm-up, and where the gradient is not finite.
   */
  readonly trial: KlMeasure | null;
  /**
   * Metrics of the RL step that are known before its gradient is applied, by registered name: rewards, lengths, entropy, mismatch, lag
   * and what parts published; empty in the warm-up.
   */
  readonly values: MetricValues;
  /** Groups of the mini-batch; empty in the warm-up. */
  readonly groups: readonly {
    readonly groupId: string;
    readonly taskId: string;
    readonly rewards: readonly number[]; // [G]
    readonly meanLength: number;
  }[];
}

/** Why a verdict is not commit: the rule that was broken, and the number that broke it. */
export interface Objection {
  readonly reason: string;
  /** The detector's rule, such as `kl_limit`; left out by guards that have none. */
  readonly rule?: string;
  readonly metric?: MetricName;
  readonly value?: number;
}

/**
 * `commit` applies the gradient; `shrink` applies `scale` (0 < scale < 1) of the weights' change; `skip` throws it away and goes on;
 * `rollback` throws it away and takes the run back to its last good snapshot.
 */
export type Verdict =
  | { readonly action: "commit" }
  | ({ readonly action: "shrink"; readonly scale: number } & Objection)
  | ({ readonly action: "skip" } & Objection)
  | ({
      readonly action: "rollback";
      /** Last RL step before anything was wrong, where what is wrong began before this one; left out: the step before this one. */
      readonly lastGoodStep?: number;
    } & Objection);

/** What a guard is told before the gradients of an RL step are computed. */
export interface BatchEvidence {
  readonly step: number;
  readonly phase: number;
  readonly policyVersion: number;
  /** As in `Evidence.values`. */
  readonly values: MetricValues;
  /** In use now, before the guard changes it. */
  readonly entropyCoefficient: number;
}

/** How an RL step is to be trained. */
export interface Preparation {
  /** Leave every response with a negative advantage out of the loss (AEPO, arXiv 2512.12967 Eq. 11). */
  readonly maskNegatives: boolean;
  /** In place of `loss.entropyCoefficient`; null leaves it. */
  readonly entropyCoefficient: number | null;
  /** Why, for the journal; null where nothing changes. */
  readonly reason: string | null;
}

/** Judges each gradient between its computation and the moment from which it can no longer be undone. */
export interface Guard {
  readonly kind: string;
  readonly specificationVersion: 1;
  judge(evidence: Evidence, options: { readonly signal: AbortSignal }): Verdict | Promise<Verdict>;
  /** Asked once per RL step, before the first gradient; a guard without it changes nothing. */
  prepare?(batch: BatchEvidence, options: { readonly signal: AbortSignal }): Preparation | Promise<Preparation>;
  /** State that goes into checkpoints and over to a replacement; give both or neither. */
  snapshot?(): Json;
  restore?(snapshot: Json): void;
  /** Name of the state of its statechart, such as `watching`; changes are journalled as those of the machine `guard`. */
  state?(): string;
  dispose?(): Promise<void> | void;
}
