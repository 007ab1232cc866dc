/** Owns which rule a task's data source asks for. */
import { WeirError } from "../errors.js";

export type RewardFamily = "multiple-choice" | "numeric" | "qa";

/** Substrings of verl's `data_source`, in the order of the release: the first that occurs decides. */
const SOURCES: readonly (readonly [string, RewardFamily])[] = [
  ["long_toc_choices", "multiple-choice"],
  ["docmath", "numeric"],
  ["multihoprag", "qa"],
  ["musique", "qa"],
];

/** The family of a data source; WEIR_E_REWARD_SOURCE names the source and the known ones. */
export function rewardFamily(source: string): RewardFamily {
  for (const [part, family] of SOURCES) if (source.includes(part)) return family;
  const known = SOURCES.map(([part]) => part);
  throw new WeirError(
    "WEIR_E_REWARD_SOURCE",
    `expected a data source that contains one of ${known.join(", ")}, got ${JSON.stringify(source)}; ` +
      "rename the data source or give a reward part of your own",
    { source, known },
  );
}
