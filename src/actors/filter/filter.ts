import { hasVariance } from "../../algorithms/dynamic-sampling.js";
import type { GroupFilter } from "../../contracts/filter.js";

/**
 * Drops groups whose unshaped rewards are all equal, which have no advantage (DAPO; QwenLong-L1 §2.2). The metric is the release's
 * `acc`, so that an overlong penalty alone does not make a group worth training on.
 */
export function createVarianceFilter(): GroupFilter {
  return {
    kind: "variance",
    specificationVersion: 1,
    filter: (groups) =>
      groups.map(({ members }) => (hasVariance(members.map(({ unshaped }) => unshaped)) ? null : "zero_variance")),
  };
}

/** Keeps every group. */
export function createKeepAllFilter(): GroupFilter {
  return { kind: "none", specificationVersion: 1, filter: (groups) => groups.map(() => null) };
}
