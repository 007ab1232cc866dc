// Parts of one's own in a program: one by value, one by name.
import { createTrainingSystem, loadConfig } from "weir-rl";
import { median } from "./advantage.js";
import { createJudged, lenient } from "./judge.js";

const config = await loadConfig("config.yaml", ["reward.actor=judged", "reward.judge.actor=lenient"]);

// By value: it is used whatever name the configuration gives.
const system = createTrainingSystem(config, { actors: { advantage: median } });

// By name: the configuration above chooses these. A factory may ask for other parts, here for the judge.
system.register("judge", "lenient", () => lenient);
system.register("reward", "judged", (need) => createJudged(need));

await system.start();
const { status } = await system.done;
console.log(status);
