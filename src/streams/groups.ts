import type { Group } from "../contracts/group.js";

/**
 * The metric of dynamic sampling: unshaped rewards of the scored members (release: metric `acc`), so that an overlong
 * penalty alone does not make a group worth training on.
 */
export function unshapedRewards(group: Group): number[] {
  return group.members.flatMap((member) => (member.outcome.kind === "scored" ? [member.outcome.value] : []));
}

/** How often each value occurs. */
export function countBy(values: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const value of values) counts[value] = (counts[value] ?? 0) + 1;
  return counts;
}
