import type { Json } from "./task.js";

/** What a guard judges: one gradient that has not been applied yet. What was not measured is null, never 0 (I1). */
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
  readonly tokens: number;
  /** Of the update's policy loss; null in the warm-up and where the loss is not finite. */
  readonly policy: {
    readonly klRef: number | null;
    readonly klOldK3: number;
    readonly entropy: number;
    readonly clipFraction: number;
    readonly ratioMax: number;
  } | null;
  /** Groups of the mini-batch; empty in the warm-up. */
  readonly groups: readonly {
    readonly groupId: string;
    readonly taskId: string;
    readonly rewards: readonly number[]; // [G]
    readonly meanLength: number;
  }[];
}

/**
 * `commit` applies the gradient; `skip` throws it away and goes on; `rollback` throws it away and takes the run back to its
 * last checkpoint.
 */
export type Verdict = { readonly action: "commit" } | { readonly action: "skip" | "rollback"; readonly reason: string };

/** Judges each gradient between its computation and the optimiser step. */
export interface Guard {
  readonly kind: string;
  readonly specificationVersion: 1;
  judge(evidence: Evidence, options: { readonly signal: AbortSignal }): Verdict | Promise<Verdict>;
  /** State that goes into checkpoints and over to a replacement; give both or neither. */
  snapshot?(): Json;
  restore?(snapshot: Json): void;
  dispose?(): Promise<void> | void;
}
