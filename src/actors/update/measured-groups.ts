import { murmur3 } from "../../algorithms/random.js";
import type { SampleGroup } from "../../contracts/group.js";

/** Chooses the groups on which the KL of an update is measured. */

/** A group as a trainer scores it. */
export interface GroupTokens {
  readonly promptIds: readonly number[];
  readonly completions: readonly (readonly number[])[];
}

export function tokensOf({ samples }: SampleGroup): GroupTokens {
  return {
    promptIds: samples[0]?.rollout.promptIds ?? [],
    completions: samples.map(({ rollout }) => rollout.tokenIds),
  };
}

/**
 * Positions of whole groups that make up about `share` of a mini-batch's groups, at least one; none where `share` is 0. Which ones
 * follows from their tokens alone, so that neither the order of calls nor the number of engines has a say (I12).
 */
export function measuredGroups(groups: readonly GroupTokens[], share: number): number[] {
  if (share === 0 || groups.length === 0) return [];
  const wanted = Math.max(1, Math.round(share * groups.length));
  const keyed = groups.map((group, p) => ({ p, key: keyOf(group) }));
  keyed.sort((a, b) => a.key - b.key || a.p - b.p);
  return keyed
    .slice(0, wanted)
    .map(({ p }) => p)
    .sort((a, b) => a - b);
}

/** Hash of the responses' tokens. */
function keyOf({ completions }: GroupTokens): number {
  return completions.reduce(
    (key, ids) => murmur3(new Uint8Array(Int32Array.from(ids).buffer), key),
    completions.length,
  );
}
