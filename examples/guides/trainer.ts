// A trainer around another: an engine of its own whose learning rate falls with the square root of the number of steps.
import { type Config, parseConfig, startEngine, type Trainer } from "weir-rl";

/** The engine's options as a configuration without any gives them. */
const { engine: OPTIONS }: Config = parseConfig({ model: { path: "model" }, data: { train: ["tasks.jsonl"] } });

export async function createSlowing(modelDir: string): Promise<Trainer> {
  const engine = await startEngine({ modelDir, options: { ...OPTIONS, lora: null } });
  const inner = engine.trainer;
  let version = 0;
  return {
    ...inner,
    kind: "slowing",
    capabilities: { ...inner.capabilities, publishes: ["checkpoint"], reusesActivations: false },
    async publish(options) {
      const policy = await inner.publish(options);
      version = policy.version.n;
      return policy;
    },
    async loadState(folder, options) {
      const loaded = await inner.loadState(folder, options);
      version = loaded.n;
      return loaded;
    },
    optimStep: (config, options) =>
      inner.optimStep({ ...config, learningRate: config.learningRate / Math.sqrt(version + 1) }, options),
    dispose: () => engine.close(),
  };
}
