/** What workers and evaluations build of a configuration: its parts and sampler engines, without a trainer. */
import { startJudgeEngine } from "../actors/judge/local-judge.js";
import { createRegistry } from "../actors/parts/built-ins.js";
import { registerParts } from "../actors/parts/parts-file.js";
import type { PartRegistry } from "../actors/parts/registry.js";
import type { SamplerPool } from "../actors/rollout/sampler-pool.js";
import { createSamplerEngines, judgeMemory } from "../actors/run/sampler-engines.js";
import type { Config } from "../config/schema.js";
import type { WeirError } from "../errors.js";
import { startEngine } from "../model/engine/host.js";
import { memoryBudget } from "../model/transformer/memory-plan.js";
import { note } from "./output.js";

const BYTES_PER_GIB = 1024 ** 3;

/**
 * The sampler engines of a configuration, at least one, not started yet; null where a server samples. `weights` gets the digest of what
 * they load.
 */
export function enginesWithoutTrainer(config: Config, weights: { sha256: string }): SamplerPool | null {
  const engines = Math.max(1, config.rollout.engines);
  return createSamplerEngines(
    { ...config, rollout: { ...config.rollout, engines } },
    async (modelDir, options, signal) => {
      const engine = await startEngine({ modelDir, options, ...(signal ? { signal } : {}) });
      weights.sha256 = engine.version().sha256;
      return engine;
    },
    memoryBudget(judgeMemory(config, false).rest) / BYTES_PER_GIB / engines,
    // An adapter is a small part of what a checkpoint would be to fetch.
    false,
  );
}

/** The parts of a configuration and those of the user's files; `refusal` is the error of a part that needs a trainer. */
export async function registryWithoutTrainer(
  config: Config,
  pool: SamplerPool | null,
  files: readonly string[],
  refusal: () => WeirError,
): Promise<PartRegistry> {
  const alone = (): never => {
    throw refusal();
  };
  const registry = createRegistry(
    config,
    { publish: () => undefined, report: (error) => note(error.message), callTimeoutMs: config.engine.requestTimeoutMs },
    {
      parts: alone,
      samplers: pool,
      judge: { start: startJudgeEngine, memoryGiB: judgeMemory(config, false).judge },
      policyPlace: alone,
    },
  );
  await registerParts(registry, files);
  return registry;
}
