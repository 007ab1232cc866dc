// Two advantages: the reward minus the group's median, and the reward minus the group's mean, weighted by token entropy.
import type { AdvantageActor, BatchAdvantageActor, PartDefinitions } from "weir-rl";

export const median: AdvantageActor = {
  kind: "median",
  specificationVersion: 1,
  minGroupSize: 2,
  handle({ rewards }) {
    const sorted = [...rewards].sort((a, b) => a - b);
    const middle = sorted.length / 2;
    const median = ((sorted[Math.ceil(middle) - 1] ?? 0) + (sorted[Math.floor(middle)] ?? 0)) / 2;
    return rewards.map((reward) => reward - median);
  },
};

/** Version 2 sees the whole batch. A token weighs as much as its entropy over the batch's mean entropy. */
export const entropy: BatchAdvantageActor = {
  kind: "entropy",
  specificationVersion: 2,
  minGroupSize: 2,
  handle(groups) {
    const all = groups.flatMap(({ members }) => members.flatMap(({ entropies }) => entropies ?? []));
    const mean = all.reduce((sum, value) => sum + value, 0) / Math.max(1, all.length);
    return groups.map(({ members }) => {
      const baseline = members.reduce((sum, { reward }) => sum + reward, 0) / members.length;
      return members.map(({ reward, tokenIds, entropies }) =>
        tokenIds.map((_, t) => {
          const weight = mean > 0 ? (entropies?.[t] ?? mean) / mean : 1;
          return (reward - baseline) * weight;
        }),
      );
    });
  },
};

export const parts: PartDefinitions = { advantage: { median, entropy } };
