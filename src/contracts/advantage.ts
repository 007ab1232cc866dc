import type { FinishReason } from "./rollout.js";

/** Rewards and lengths of the scored members of one group, in sample order. */
export interface AdvantageInput {
  readonly rewards: readonly number[]; // [G]
  /** Response lengths in tokens. */
  readonly lengths: readonly number[]; // [G]
}

/** One number per member of a group, broadcast over its tokens, or one array per member, of the member's length. */
export type GroupAdvantages = readonly (number | readonly number[])[]; // [G] or [G][T]

interface AdvantagePartFacts {
  readonly kind: string;
  /**
   * Fewest responses to a prompt for which advantages can differ from 0; a smaller `rollout.groupSize` is refused at the start.
   * Default: 1.
   */
  readonly minGroupSize?: number;
}

/** Turns the rewards of one group into advantages. */
export interface AdvantageActor extends AdvantagePartFacts {
  readonly specificationVersion: 1;
  handle(input: AdvantageInput): GroupAdvantages;
}

/** A scored response in the form that batch-aware advantages receive. */
export interface AdvantageMember {
  /** After length shaping (Eq. 7). */
  readonly reward: number;
  readonly unshaped: number;
  /** Components of the reward by name (`rule`, `judge` …). */
  readonly parts: Readonly<Record<string, number>>;
  readonly tokenIds: readonly number[]; // [T]
  /** Of the distribution that each token was drawn from, nats; null where the sampler gives none. */
  readonly entropies: readonly number[] | null; // [T]
  readonly samplerLogprobs: readonly number[]; // [T]
  readonly finish: FinishReason;
}

/** The scored members of one group. */
export interface AdvantageGroup {
  readonly taskId: string;
  readonly source: string;
  readonly phase: number;
  readonly members: readonly AdvantageMember[]; // [G]
}

/** Turns the rewards of a whole batch into advantages; it sees all groups with their tokens, entropies, lengths and sources. */
export interface BatchAdvantageActor extends AdvantagePartFacts {
  readonly specificationVersion: 2;
  handle(
    groups: readonly AdvantageGroup[], // [P]
    options: { readonly signal: AbortSignal },
  ): readonly GroupAdvantages[] | Promise<readonly GroupAdvantages[]>; // [P]
}

export type AdvantagePart = AdvantageActor | BatchAdvantageActor;
