/** Refuses configurations that are certain to train nothing (I14). Each error names the option and what to change. */
import type { Config } from "../../config/schema.js";
import type { AdvantagePart } from "../../contracts/advantage.js";
import { WeirError } from "../../errors.js";

/** True where the configuration asks for RL; 0 steps in every phase leave it out on purpose. */
export function wantsRl(config: Config): boolean {
  return config.phases.some((phase) => phase.steps > 0);
}

/** Errors: WEIR_E_CONFIG with the path of the option. */
export function assertCanTrain(config: Config, advantage: Pick<AdvantagePart, "kind" | "minGroupSize">): void {
  const { warmup, rollout, dynamicSampling, optimiser } = config;
  const refuse = (path: string, text: string): never => {
    throw new WeirError("WEIR_E_CONFIG", `option "${path}": ${text}`, { path });
  };
  if (warmup.data.length > 0 && warmup.learningRate === 0)
    refuse("warmup.learningRate", "a rate of 0 trains nothing; give one above 0, or no warmup.data");
  if (!wantsRl(config)) {
    if (warmup.data.length === 0)
      refuse(
        "phases",
        "every phase has 0 steps and warmup.data is empty, so nothing would be trained; give phases[].steps or warmup.data (`weir eval` only evaluates)",
      );
    return;
  }
  const { groupSize } = rollout;
  const least = advantage.minGroupSize ?? 1;
  if (groupSize < least)
    refuse(
      "rollout.groupSize",
      `the advantage "${advantage.kind}" compares the responses to one prompt and needs at least ${least}, got ${groupSize}; raise rollout.groupSize (paper: 8), or give an advantage part of your own that needs fewer`,
    );
  if (dynamicSampling.enabled && dynamicSampling.filter === "variance" && groupSize === 1)
    refuse(
      "dynamicSampling.enabled",
      "a group of one response has no variance, so every group would be dropped; set it to false, or raise rollout.groupSize",
    );
  if (optimiser.learningRate === 0)
    refuse(
      "optimiser.learningRate",
      "a rate of 0 trains nothing; give one above 0, or set phases[].steps to 0 to leave RL out",
    );
}
