import type { Config } from "../../config/schema.js";
import { createBuiltInLoss } from "../../losses/built-in.js";
import { LOSS_NAMES } from "../../losses/index.js";
import { lossSettings } from "../../losses/settings.js";
import { createFolderPolicyStore } from "../../store/policy-folder.js";
import { ADVANTAGE_ACTORS } from "../advantage/advantage.js";
import { createPhasedCurriculum } from "../curriculum/curriculum.js";
import { createFiniteGuard } from "../guard/guard.js";
import { createConfiguredJudge, createHybridReward, createRuleReward } from "../reward/reward.js";
import type { Parts } from "./part-kinds.js";
import { PartRegistry, type PartSurroundings } from "./registry.js";

/** Where parts come from that are built on the embedded engine or the run folder. */
export interface EmbeddedSource {
  /** Asking for them says that the run needs the engine. */
  parts(): Pick<Parts, "sampler" | "trainer" | "policyStore">;
  /** Errors: WEIR_E_STATE before the run folder is there. */
  runDirectory(): string;
}

/** The parts that weir brings, registered by the names that a configuration uses. */
export function createRegistry(
  config: Pick<Config, "advantage" | "loss" | "reward" | "curriculum" | "run">,
  surroundings?: PartSurroundings,
  embedded?: EmbeddedSource,
): PartRegistry {
  const registry = new PartRegistry(surroundings);
  for (const [name, create] of Object.entries(ADVANTAGE_ACTORS))
    registry.register("advantage", name, () => create(config.advantage));
  const { clipLow, clipHigh, dualClip, largestRatio, tauPositive, tauNegative } = config.loss;
  const asked = { clipLow, clipHigh, dualClip, largestRatio, tauPositive, tauNegative };
  for (const name of LOSS_NAMES)
    registry.register("loss", name, () => createBuiltInLoss(name, lossSettings(name, asked)));
  const rules = { mode: config.reward.mode, requireThink: config.reward.requireThink };
  registry.register("reward", "rule", () => createRuleReward(rules));
  registry.register("reward", "hybrid", (need) => createHybridReward({ ...rules, judge: need("judge") }));
  registry.register("judge", "openai", () => createConfiguredJudge(config.reward, config.run.seed));
  registry.register("curriculum", "phased", () =>
    createPhasedCurriculum({ ...config.curriculum, correctAt: config.reward.correctAt }),
  );
  registry.register("guard", "finite", createFiniteGuard);
  if (embedded) {
    registry.register("sampler", "engine", () => embedded.parts().sampler);
    registry.register("trainer", "engine", () => embedded.parts().trainer);
    registry.register("policyStore", "engine", () => embedded.parts().policyStore);
    registry.register("policyStore", "folder", () => createFolderPolicyStore(embedded.runDirectory));
  }
  return registry.markBuiltIns();
}
