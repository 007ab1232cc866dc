import { accumulateRound, emptyAccumulation, exhaustedError } from "../algorithms/dynamic-sampling.js";
import type { Group, ShortStepRule } from "../contracts/group.js";

/**
 * Dynamic sampling over rounds: keeps groups of non-zero reward variance and asks for the missing ones, within a
 * bound (DAPO; QwenLong-L1 §2.2). Pure: rounds come from a function.
 */

/** `group_too_small`, `surplus`, or what the filter said, such as `zero_variance`. */
export type DropReason = string;

export interface CollectOptions {
  /** Groups wanted. */
  readonly wanted: number;
  /** For each group null to keep it, or why it is dropped. */
  readonly filter: (groups: readonly Group[]) => Promise<readonly (string | null)[]>;
  /** Scored members that a group needs (I1). */
  readonly minScored: number;
  readonly maxRounds: number;
  readonly onExhausted: ShortStepRule;
}

export interface Collected {
  /** Kept groups in issue order, at most `wanted`. */
  readonly kept: readonly Group[];
  readonly dropped: readonly { readonly group: Group; readonly reason: DropReason }[];
  readonly rounds: number;
  /** True when the bound was reached with fewer groups than wanted. */
  readonly exhausted: boolean;
}

/** Stand in for the metrics of groups that the filter keeps, and drops. */
const INFORMATIVE = [0, 1];
const UNINFORMATIVE: readonly number[] = [];

/**
 * The metric of dynamic sampling: unshaped rewards of the scored members (release: metric `acc`), so that an overlong
 * penalty alone does not make a group worth training on.
 */
export function unshapedRewards(group: Group): number[] {
  return group.members.flatMap((member) => (member.outcome.kind === "scored" ? [member.outcome.value] : []));
}

/**
 * Runs rounds until `wanted` groups are kept or the maximum of rounds is reached.
 * `round(n, index)` generates groups for n missing ones and resolves to them in issue order.
 * Errors: WEIR_E_DYNAMIC_SAMPLING_EXHAUSTED at the bound when `onExhausted` is `fail`.
 */
export async function collectGroups(
  round: (count: number, index: number) => Promise<readonly Group[]>,
  options: CollectOptions,
): Promise<Collected> {
  const bounds = { groupsPerStep: options.wanted, maxRounds: options.maxRounds };
  const dropped: { group: Group; reason: DropReason }[] = [];
  const drop = (groups: readonly Group[], reason: DropReason) => {
    for (const group of groups) dropped.push({ group, reason });
  };
  let state = emptyAccumulation<Group>();
  let missing = options.wanted;
  for (;;) {
    const groups = await round(missing, state.rounds);
    const viable = groups.filter((group) => unshapedRewards(group).length >= options.minScored);
    const verdicts = await options.filter(viable);
    const reasons = new Map(viable.map((group, p) => [group, verdicts[p] ?? null] as const));
    const reasonOf = (group: Group) => reasons.get(group) ?? null;
    const exit = accumulateRound(
      state,
      viable,
      (group) => (reasonOf(group) === null ? INFORMATIVE : UNINFORMATIVE),
      bounds,
    );
    drop(
      groups.filter((group) => !viable.includes(group)),
      "group_too_small",
    );
    for (const group of viable) {
      const reason = reasonOf(group);
      if (reason !== null) drop([group], reason);
    }
    state = exit.state;
    if (exit.kind === "complete") {
      drop(exit.surplus, "surplus");
      return { kept: exit.trained, dropped, rounds: state.rounds, exhausted: false };
    }
    missing = exit.missing;
    if (exit.kind === "exhausted") {
      if (options.onExhausted === "fail") throw exhaustedError(exit, bounds);
      return { kept: state.kept, dropped, rounds: state.rounds, exhausted: true };
    }
  }
}

/** How often each value occurs. */
export function countBy(values: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const value of values) counts[value] = (counts[value] ?? 0) + 1;
  return counts;
}
