// Where errors appear: in createTrainingSystem, in start(), or in done.
import { type AdvantageActor, createTrainingSystem, loadConfig, WeirError } from "weir-rl";
import { cited } from "./reward.js";

async function attempt(name: string, work: () => Promise<unknown>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!WeirError.isInstance(error)) throw error;
    console.log(`${name}: ${error.message}`);
  }
}

await attempt("configuration", () => loadConfig("config.yaml", ["rollout.groupsize=4"]));

await attempt("start", async () => {
  const config = await loadConfig("config.yaml", ["data.train.0=missing.jsonl"]);
  await createTrainingSystem(config).start();
});

const broken: AdvantageActor = {
  kind: "broken",
  specificationVersion: 1,
  handle: ({ rewards }) => rewards.map(() => Number.NaN),
};
await attempt("done", async () => {
  const config = await loadConfig("config.yaml");
  const system = createTrainingSystem(config, { actors: { reward: cited, advantage: broken } });
  await system.start();
  await system.done;
});
