/** Phase k of the curriculum: tasks with minTokens < promptTokens ≤ maxTokens (Eq. 9). */
export interface Phase {
  /** 1-based. */
  readonly k: number;
  readonly minTokens: number;
  readonly maxTokens: number;
  /** Number of RL steps this phase may take. */
  readonly steps: number;
}
