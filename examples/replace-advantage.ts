// Replaces the advantage actor: leave-one-out baselines, scaled by the group's best reward.
// Registered by name, so that a configuration can choose it; the same object could be passed by value.
// Usage: node replace-advantage.js CONFIG.yaml
import { type AdvantageActor, createTrainingSystem, loadConfig, type RewardActor } from "weir-rl";

const bestScaled: AdvantageActor = {
  kind: "best_scaled",
  specificationVersion: 1,
  handle({ rewards }) {
    const best = Math.max(...rewards.map(Math.abs), 1e-6);
    const sum = rewards.reduce((total, reward) => total + reward, 0);
    return rewards.map((reward) => (reward - (sum - reward) / (rewards.length - 1)) / best);
  },
};

// Any model can learn to be brief, so a small random one improves too.
const brevity: RewardActor = {
  kind: "brevity",
  specificationVersion: 1,
  handle: async ({ rollout }) => ({ kind: "scored", value: 1 / rollout.tokenIds.length, parts: {}, prediction: null }),
};

const [file] = process.argv.slice(2);
if (file === undefined) throw new Error("usage: node replace-advantage.js CONFIG.yaml");
const config = await loadConfig(file, ["advantage.actor=best_scaled"]);
const system = createTrainingSystem(config, { actors: { reward: brevity } });
system.register("advantage", "best_scaled", () => bestScaled);
system.metrics$.subscribe(({ step, values }) => {
  if (values["loss/policy"] !== undefined) console.log(`step ${step}: policy loss ${values["loss/policy"].toFixed(4)}`);
});
await system.start();
console.log((await system.done).status);
