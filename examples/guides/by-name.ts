// Parts of one's own in a program: some by value, two by name.
import { createTrainingSystem, loadConfig } from "weir-rl";
import { median } from "./advantage.js";
import { createShortestFirst } from "./curriculum.js";
import { createNormGuard } from "./guard.js";
import { createJudged, lenient } from "./judge.js";
import { cut } from "./loss.js";
import { createSharedStore } from "./policy-store.js";
import { createReplica } from "./sampler.js";

const config = await loadConfig("config.yaml", ["reward.actor=judged", "reward.judge.actor=lenient"]);

// By value: they are used whatever names the configuration gives.
const system = createTrainingSystem(config, {
  actors: {
    advantage: median,
    loss: cut,
    curriculum: createShortestFirst(),
    guard: createNormGuard(),
    sampler: createReplica("model"),
    policyStore: createSharedStore("shared"),
  },
});

// By name: the configuration above chooses these. A factory may ask for other parts, here for the judge.
system.register("judge", "lenient", () => lenient);
system.register("reward", "judged", (need) => createJudged(need));

await system.start();
const { status } = await system.done;
console.log(status);
