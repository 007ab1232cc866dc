import { createTrainingSystem } from "../../src/actors/run/training-system.js";
import { configOfRun } from "../../src/cli/commands/train.js";
import { type DriverOrder, ORDERS, ROLLING } from "./drive.js";
import { rollingGuard } from "./rolling-guard.js";
import { parityReward, tinyConfig } from "./tiny-run.js";

/**
 * A control process for the kill tests: `driver.ts FOLDER` starts a tiny run there, `driver.ts --resume RUN` continues one.
 * Tells its facts to the parent, one line each. ORDERS in the environment are given once their steps have been committed.
 */
const orders: readonly DriverOrder[] = JSON.parse(process.env[ORDERS] ?? "[]");
const give = ({ path, value }: DriverOrder) =>
  void (path === null ? system.skipBatch() : system.setKnob(path, value)).catch((error) => {
    throw error;
  });

const rolling = process.env[ROLLING];
const [first = "", second = ""] = process.argv.slice(2);
const resume = first === "--resume" ? second : undefined;
const config = resume === undefined ? await tinyConfig({}, first) : await configOfRun(resume, []);
const system = createTrainingSystem(config, {
  actors: { reward: parityReward, ...(rolling === undefined ? {} : { guard: rollingGuard(JSON.parse(rolling)) }) },
  ...(resume === undefined ? {} : { resume }),
});
system.facts$.subscribe((fact) => {
  process.stdout.write(`${fact.type} ${fact.step}\n`);
  if (fact.type === "step.committed") for (const order of orders) if (order.afterStep === fact.step) give(order);
});
await system.start();
const result = await system.done;
process.stdout.write(`done ${result.runDirectory}\n`);
