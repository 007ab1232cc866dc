import { createTrainingSystem } from "../../src/actors/run/training-system.js";
import { configOfRun } from "../../src/cli/commands/train.js";
import { type DriverOrder, KILL_AT, ORDERS, obeyed, ROLLING } from "./drive.js";
import { rollingGuard } from "./rolling-guard.js";
import { parityReward, tinyConfig } from "./tiny-run.js";

/**
 * A control process for the kill tests: `driver.ts FOLDER` starts a tiny run there, `driver.ts --resume RUN` continues one.
 * Tells its facts to the parent, one line each. ORDERS in the environment are given once their steps have been committed.
 */
const orders: readonly DriverOrder[] = JSON.parse(process.env[ORDERS] ?? "[]");
const given = new Set<DriverOrder>();
const give = (order: DriverOrder) => {
  if (given.has(order)) return;
  given.add(order);
  void obeyed(system, order).catch((error) => {
    throw error;
  });
};

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
  if (fact.type === process.env[KILL_AT]) process.kill(process.pid, "SIGKILL");
  if (fact.type === "step.committed") for (const order of orders) if (order.afterStep === fact.step) give(order);
});
await system.start();
const result = await system.done;
process.stdout.write(`done ${result.runDirectory}\n`);
