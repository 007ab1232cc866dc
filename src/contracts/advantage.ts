/** Rewards and lengths of the scored members of one group, in sample order. */
export interface AdvantageInput {
  readonly rewards: readonly number[]; // [G]
  /** Response lengths in tokens. */
  readonly lengths: readonly number[]; // [G]
}

/**
 * Turns the rewards of a group into advantages: one number per member (broadcast over its tokens)
 * or one array per member (per token, of the member's length).
 */
export interface AdvantageActor {
  readonly kind: string;
  readonly specificationVersion: 1;
  /**
   * Fewest responses to a prompt with which the part can give other advantages than 0; a smaller `rollout.groupSize` is refused at
   * the start. Left out: 1.
   */
  readonly minGroupSize?: number;
  handle(input: AdvantageInput): readonly (number | readonly number[])[]; // [G] or [G][T]
}
