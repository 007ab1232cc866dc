import type { LedgerEntry } from "../contracts/ledger.js";
import type { PolicyVersion } from "../contracts/policy-version.js";
import type { RewardOutcome } from "../contracts/reward.js";

/**
 * What really happened in a simulated run, over all its lives: which weights were published, which sequence was drawn from which
 * of them, how it was scored and whether it was trained on. Parts write it down as they answer; the control plane never sees it,
 * so that its own records can be checked against it. A sequence is known by its first token id.
 */

/** A broken invariant with its numbers. */
export interface Violation {
  /** `I1` … `I14`, or `error` for an error that no fault explains. */
  readonly invariant: string;
  readonly text: string;
  /** Virtual ms. */
  readonly time: number;
}

/** Weights that were published: their number, and a name that is theirs alone. */
export interface Identity {
  readonly index: number;
  readonly n: number;
}

/** Weights as the simulator knows them: by where they come from. */
export interface ScriptedWeights {
  readonly n: number;
  readonly changed: boolean;
  /** Weights published on the way here, by version; versions that rollbacks have undone are missing. */
  readonly lineage: readonly (Identity | undefined)[];
  /** Rollouts that an optimiser step on the way here was taken on. */
  readonly trained: readonly string[];
}

/** Which weights drew which part of a sequence, in simulated tokens. */
export interface TrueSpan {
  readonly identity: Identity;
  readonly tokens: number;
}

export interface TrueSequence {
  readonly spans: readonly TrueSpan[];
  /** Tokens; the arrays that parts exchange are cut to a few. */
  readonly length: number;
  /** Key that it was to be drawn with. */
  readonly seed: number;
  outcome: RewardOutcome["kind"] | null;
  rolloutId: string | null;
  /** Version that was trained on it, −1 before. */
  trainedAt: number;
}

const SHA_PREFIX = "simulated-";

/** The version of published weights as the control plane sees it. */
export const versionOf = ({ index, n }: Identity): PolicyVersion => ({ n, sha256: `${SHA_PREFIX}${index}` });

/** Longest array of token ids that parts exchange. */
const SHOWN_TOKENS = 4;
/** More are not kept: the first ones say it all. */
const MOST_VIOLATIONS = 20;

export class GroundTruth {
  readonly violations: Violation[] = [];
  readonly identities: Identity[] = [{ index: 0, n: 0 }];
  /** Tokens that were trained on, by lag. */
  readonly lags: number[] = [];
  /** The trainer's weights as they are now. */
  weights: ScriptedWeights | null = null;
  /** Optimiser steps that changed weights. */
  applied = 0;
  hangs = 0;
  hangsEnded = 0;
  private readonly sequences: TrueSequence[] = [];
  private readonly byRollout = new Map<string, TrueSequence>();

  constructor(private readonly now: () => number) {}

  broken(invariant: string, text: string): void {
    if (this.violations.length < MOST_VIOLATIONS) this.violations.push({ invariant, text, time: this.now() });
  }

  /** Names new weights with version n. */
  identity(n: number): Identity {
    const made = { index: this.identities.length, n };
    this.identities.push(made);
    return made;
  }

  identityOf({ sha256 }: PolicyVersion): Identity | undefined {
    return this.identities[Number(sha256.slice(SHA_PREFIX.length))];
  }

  /** Writes a drawn sequence down; resolves to the token ids that stand for it. */
  drawn(spans: readonly TrueSpan[], length: number, seed: number): number[] {
    const index = this.sequences.length;
    this.sequences.push({ spans, length, seed, outcome: null, rolloutId: null, trainedAt: -1 });
    return Array.from({ length: Math.max(spans.length, Math.min(SHOWN_TOKENS, length)) }, () => index);
  }

  sequenceOf(tokenIds: readonly number[]): TrueSequence | null {
    return this.sequences[tokenIds[0] ?? -1] ?? null;
  }

  scored(rolloutId: string, tokenIds: readonly number[], outcome: RewardOutcome["kind"]): void {
    const sequence = this.sequenceOf(tokenIds);
    if (sequence === null) {
      this.broken("I1", `rollout ${rolloutId} was scored and was never drawn`);
      return;
    }
    sequence.outcome = outcome;
    sequence.rolloutId = rolloutId;
    this.byRollout.set(rolloutId, sequence);
  }

  /** Key that a rollout was drawn with; null for one that was never scored. */
  seedOf(rolloutId: string): number | null {
    return this.byRollout.get(rolloutId)?.seed ?? null;
  }

  /** Looks at what the ledger is told: what it calls trained must have been trained on (I2). */
  entered({ rolloutId, state }: Pick<LedgerEntry, "rolloutId" | "state">): void {
    if (state !== "trained") return;
    const sequence = this.byRollout.get(rolloutId);
    if (sequence === undefined || sequence.trainedAt < 0)
      this.broken("I2", `the ledger calls rollout ${rolloutId} trained, the trainer never saw it`);
  }
}
