import type { Group } from "../contracts/group.js";
import { WeirError } from "../errors.js";

/**
 * Dynamic sampling over rounds: keeps groups of non-zero reward variance, asks for as many more as are missing, within
 * a bound (DAPO; QwenLong-L1 §2.2). Pure: rounds come from a function.
 */

export type DropReason = "zero_variance" | "group_too_small" | "surplus";

export interface CollectOptions {
  /** Groups wanted. */
  readonly wanted: number;
  readonly dropZeroVariance: boolean;
  /** Scored members that a group needs to stay viable (I1). */
  readonly minScored: number;
  readonly maxRounds: number;
  readonly onExhausted: "proceed" | "fail";
}

export interface Collected {
  /** Kept groups in issue order, at most `wanted`. */
  readonly kept: readonly Group[];
  readonly dropped: readonly { readonly group: Group; readonly reason: DropReason }[];
  readonly rounds: number;
  /** True when the bound was met with fewer groups than wanted. */
  readonly exhausted: boolean;
}

/**
 * Why a group does not enter the batch, or null when it does. The variance is that of the *unshaped* reward
 * (release: metric `acc`), so an overlong penalty alone does not make a group worth training on.
 */
export function dropReason(
  group: Group,
  options: Pick<CollectOptions, "dropZeroVariance" | "minScored">,
): DropReason | null {
  const rewards = group.members.flatMap((member) => (member.outcome.kind === "scored" ? [member.outcome.value] : []));
  if (rewards.length < options.minScored) return "group_too_small";
  const first = rewards[0];
  return options.dropZeroVariance && rewards.every((reward) => reward === first) ? "zero_variance" : null;
}

/**
 * Runs rounds until `wanted` groups are kept or the bound of rounds is met.
 * `round(n, index)` generates n groups and resolves to them in issue order.
 * Errors: WEIR_E_DYNAMIC_SAMPLING_EXHAUSTED at the bound when `onExhausted` is `fail`.
 */
export async function collectGroups(
  round: (count: number, index: number) => Promise<readonly Group[]>,
  options: CollectOptions,
): Promise<Collected> {
  const kept: Group[] = [];
  const dropped: { group: Group; reason: DropReason }[] = [];
  let rounds = 0;
  while (kept.length < options.wanted && rounds < options.maxRounds) {
    const groups = await round(options.wanted - kept.length, rounds);
    rounds++;
    for (const group of groups) {
      const reason = kept.length < options.wanted ? dropReason(group, options) : "surplus";
      if (reason === null) kept.push(group);
      else dropped.push({ group, reason });
    }
  }
  const exhausted = kept.length < options.wanted;
  if (exhausted && options.onExhausted === "fail") {
    const reasons = countBy(dropped.map((drop) => drop.reason));
    throw new WeirError(
      "WEIR_E_DYNAMIC_SAMPLING_EXHAUSTED",
      `expected ${options.wanted} groups of non-zero variance within ${options.maxRounds} rounds, got ${kept.length} (dropped: ${JSON.stringify(reasons)}); ` +
        "make the tasks easier or harder, raise dynamicSampling.maxRounds, or set dynamicSampling.onExhausted to proceed",
      { kept: kept.length, reasons },
    );
  }
  return { kept, dropped, rounds, exhausted };
}

/** How often each value occurs. */
export function countBy(values: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const value of values) counts[value] = (counts[value] ?? 0) + 1;
  return counts;
}
