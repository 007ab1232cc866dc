// A sampler in a process of its own: a second engine, which takes the weights that the trainer publishes.
import {
  type Config,
  type Engine,
  type PartDefinitions,
  parseConfig,
  type Sampler,
  startEngine,
  WeirError,
} from "weir-rl";

/** The engine's options as a configuration without any gives them. */
const { engine: OPTIONS }: Config = parseConfig({ model: { path: "model" }, data: { train: ["tasks.jsonl"] } });

/** Starts the engine at the first policy that it is given. `modelDir`: a model of the same shape as the one that is trained. */
export function createReplica(modelDir: string): Sampler {
  let engine: Promise<Engine> | null = null;
  const started = () => {
    if (engine === null) throw new WeirError("WEIR_E_POLICY_VERSION", "the replica was asked before it got a policy");
    return engine;
  };
  return {
    kind: "replica",
    specificationVersion: 2,
    capabilities: {
      logprobBasis: "scaled",
      seeds: "per-sequence",
      tokenVersions: false,
      adopts: ["checkpoint"],
      heldVersions: 1,
      entropies: true,
      abort: true,
    },
    async adopt(policy, options) {
      engine ??= startEngine({ modelDir, options: { ...OPTIONS, lora: null } });
      await (await engine).sampler.adopt(policy, options);
    },
    async sample(request, options) {
      options.signal.throwIfAborted();
      return (await started()).sampler.sample(request, options);
    },
    release: async () => undefined,
    async load(options) {
      if (engine === null) return { running: 0, waiting: 0, cacheUse: null, versions: [] };
      return (await engine).sampler.load(options);
    },
    async dispose() {
      await (await engine)?.close();
    },
  };
}

export const parts: PartDefinitions = { sampler: { replica: () => createReplica("model") } };
