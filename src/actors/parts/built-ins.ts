import { createBuiltInLoss } from "../../losses/built-in.js";
import { LOSS_NAMES } from "../../losses/index.js";
import { lossSettings } from "../../losses/settings.js";
import { ADVANTAGE_ACTORS } from "../advantage/advantage.js";
import { createPhasedCurriculum } from "../curriculum/curriculum.js";
import { createHybridReward, createRuleReward, hybridPolicies, ruleRewardOptions } from "../reward/reward.js";
import * as benchmarks from "./lists/benchmarks.js";
import * as filters from "./lists/filters.js";
import * as guards from "./lists/guards.js";
import * as judges from "./lists/judges.js";
import * as policyStores from "./lists/policy-stores.js";
import * as samplers from "./lists/samplers.js";
import type { BuiltInSource, EmbeddedSource, PartConfig } from "./lists/source.js";
import * as trainers from "./lists/trainers.js";
import * as workQueues from "./lists/work-queues.js";
import type { PartKind, Parts } from "./part-kinds.js";
import { PartRegistry, type PartSurroundings } from "./registry.js";

/** The parts that weir brings, registered by the names that a configuration uses. */
export function createRegistry(
  config: PartConfig,
  surroundings?: PartSurroundings,
  embedded: EmbeddedSource | null = null,
  foreign: BuiltInSource["foreign"] = () => null,
): PartRegistry {
  const registry = new PartRegistry(surroundings);
  for (const [name, create] of Object.entries(ADVANTAGE_ACTORS))
    registry.register("advantage", name, () => create(config.advantage));
  const { clipLow, clipHigh, dualClip, largestRatio, tauPositive, tauNegative } = config.loss;
  const asked = { clipLow, clipHigh, dualClip, largestRatio, tauPositive, tauNegative };
  for (const name of LOSS_NAMES)
    registry.register("loss", name, () => createBuiltInLoss(name, lossSettings(name, asked)));
  const { reward } = config;
  registry.register("reward", "rule", () => createRuleReward(ruleRewardOptions(reward)));
  registry.register("reward", "hybrid", (need) =>
    createHybridReward({ ...ruleRewardOptions(reward), policyOf: hybridPolicies(reward), judge: need("judge") }),
  );
  registry.register("curriculum", "phased", () =>
    createPhasedCurriculum({ ...config.curriculum, correctAt: config.reward.correctAt }),
  );
  const source: BuiltInSource = { config, embedded, foreign };
  const list = <K extends PartKind>(kind: K, creators: Readonly<Record<string, (from: BuiltInSource) => Parts[K]>>) => {
    for (const [name, create] of Object.entries(creators)) registry.register(kind, name, () => create(source));
  };
  list("benchmark", benchmarks);
  list("judge", judges);
  list("filter", filters);
  list("guard", guards);
  list("sampler", samplers);
  list("trainer", trainers);
  list("policyStore", policyStores);
  list("workQueue", workQueues);
  return registry.markBuiltIns();
}
