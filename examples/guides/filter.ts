// A filter: drops groups that are too easy or too hard by their mean reward, besides those without any difference.
import type { GroupFilter, PartDefinitions } from "weir-rl";

export function createMiddle(low: number, high: number): GroupFilter {
  return {
    kind: "middle",
    specificationVersion: 1,
    filter: (groups) =>
      groups.map(({ members }) => {
        const mean = members.reduce((sum, { unshaped }) => sum + unshaped, 0) / members.length;
        if (members.every(({ unshaped }) => unshaped === members[0]?.unshaped)) return "zero_variance";
        if (mean > high) return "too_easy";
        return mean < low ? "too_hard" : null;
      }),
  };
}

export const parts: PartDefinitions = { filter: { middle: () => createMiddle(0.05, 0.95) } };
