import { createTrainingSystem } from "../../src/actors/run/training-system.js";
import { configOfRun } from "../../src/cli/commands/train.js";
import { parityReward, tinyConfig } from "./tiny-run.js";

/**
 * A control process for the kill tests: `driver.ts FOLDER` starts a tiny run there, `driver.ts --resume RUN` continues one.
 * Tells its facts to the parent, one line each.
 */
const [first = "", second = ""] = process.argv.slice(2);
const resume = first === "--resume" ? second : undefined;
const config = resume === undefined ? await tinyConfig({}, first) : await configOfRun(resume, []);
const system = createTrainingSystem(config, {
  actors: { reward: parityReward },
  ...(resume === undefined ? {} : { resume }),
});
system.facts$.subscribe((fact) => process.stdout.write(`${fact.type} ${fact.step}\n`));
await system.start();
const result = await system.done;
process.stdout.write(`done ${result.runDirectory}\n`);
