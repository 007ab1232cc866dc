import type { AdvantageGroup } from "./advantage.js";

/** A finished group as a filter is given it: its scored members, and how many it has in all. */
export interface FilterGroup extends AdvantageGroup {
  readonly groupId: string;
  /** G, scored or not. */
  readonly size: number;
}

/**
 * Says which groups are trained on. Groups of which a smaller share than `dynamicSampling.minScoredShare` was scored do not come
 * here (I1); others are drawn in the place of those that are dropped.
 */
export interface GroupFilter {
  readonly kind: string;
  readonly specificationVersion: 1;
  /** For each group null to keep it, or why it is dropped, in a word of [a-z0-9_]; the word is the ledger's reason. */
  filter(
    groups: readonly FilterGroup[], // [P]
    options: { readonly signal: AbortSignal },
  ): readonly (string | null)[] | Promise<readonly (string | null)[]>; // [P]
  dispose?(): Promise<void> | void;
}
