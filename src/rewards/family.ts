/** Chooses the rule of a task's data source. */
import type { RewardFamily } from "../contracts/reward.js";
import { WeirError } from "../errors.js";

/** Substrings of verl's `data_source`, in the order of the release: the first that occurs decides. */
const SOURCES: readonly (readonly [string, RewardFamily])[] = [
  ["long_toc_choices", "multiple-choice"],
  ["docmath", "numeric"],
  ["multihoprag", "qa"],
  ["musique", "qa"],
];

/** Names of the evaluation sets that the release does not train on; all of them ask for short answers. */
const EVALUATION_SOURCES: readonly (readonly [string, RewardFamily])[] = [
  ["frames", "qa"],
  ["2wikimqa", "qa"],
  ["hotpotqa", "qa"],
  ["narrativeqa", "qa"],
  ["qasper", "qa"],
  ["longbench", "qa"],
];

const ALL_SOURCES = [...SOURCES, ...EVALUATION_SOURCES];

/** The family of a data source; WEIR_E_REWARD_SOURCE names the source and the known ones. */
export function rewardFamily(source: string): RewardFamily {
  for (const [part, family] of ALL_SOURCES) if (source.includes(part)) return family;
  const known = ALL_SOURCES.map(([part]) => part);
  throw new WeirError(
    "WEIR_E_REWARD_SOURCE",
    `expected a data source that contains one of ${known.join(", ")}, got ${JSON.stringify(source)}; ` +
      "rename the data source or use a custom reward part",
    { source, known },
  );
}
