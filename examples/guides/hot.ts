// Replaces a part of a run that is under way.
import { createTrainingSystem, loadConfig, WeirError } from "weir-rl";
import { median } from "./advantage.js";
import { lenient } from "./judge.js";
import { cited } from "./reward.js";

const config = await loadConfig("config.yaml", ["phases.0.steps=1000"]);
const system = createTrainingSystem(config, { actors: { reward: cited } });
system.facts$.subscribe(({ type, step }) => {
  if (type === "part.replaced") console.log(`replaced after step ${step}`);
});
const secondStep = new Promise<void>((resolve) => {
  system.metrics$.subscribe(({ step }) => step >= 2 && resolve());
});
await system.start();
await Promise.race([secondStep, system.done]);

await system.replace("advantage", median);

try {
  await system.replace("judge", lenient);
} catch (error) {
  if (!WeirError.isInstance(error)) throw error;
  console.log(error.message);
}
const { status } = await system.stop();
console.log(status);
