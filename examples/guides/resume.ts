// Goes on with a run from its last checkpoint. Usage: node out/resume.js RUN_FOLDER
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { type Config, createTrainingSystem } from "weir-rl";
import { cited } from "./reward.js";

const [folder] = process.argv.slice(2);
if (folder === undefined) throw new Error("usage: node out/resume.js RUN_FOLDER");

// The run keeps its configuration. What lies ahead may change: here the phase ends after 40 steps instead of 1,000.
const { config } = JSON.parse(await readFile(join(folder, "config.json"), "utf8")) as { config: Config };
const [phase] = config.phases;
if (phase === undefined) throw new Error("the run has no phase");

const system = createTrainingSystem(
  { ...config, phases: [{ ...phase, steps: 40 }] },
  { resume: folder, actors: { reward: cited } },
);
system.facts$.subscribe(({ type, step }) => {
  if (type === "run.resumed" || type === "config.changed") console.log(`${type} at step ${step}`);
});
await system.start();
const { status } = await system.done;
console.log(`${status}: ${folder}`);
