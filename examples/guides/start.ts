// Starts a run, listens to it, pauses it and goes on, writes a checkpoint, and stops it before its last step.
import { createTrainingSystem, loadConfig } from "weir-rl";
import { cited } from "./reward.js";

const config = await loadConfig("config.yaml", ["run.id=first", "phases.0.steps=1000"]);
const system = createTrainingSystem(config, {
  actors: { reward: cited },
  onRemark: (error) => console.warn(`${error.code}: ${error.message}`),
});

system.state$.subscribe(({ lifecycle, phase }) => console.log(`${lifecycle}, phase ${phase}`));
system.metrics$.subscribe(({ step, values }) => {
  const reward = values["reward/mean"];
  if (reward !== undefined && step <= 3) console.log(`step ${step}: reward ${reward.toFixed(3)}`);
});
system.alerts$.subscribe((alert) => console.log(`${alert.level}: ${alert.text}`));

const secondStep = new Promise<void>((resolve) => {
  system.metrics$.subscribe(({ step }) => step >= 2 && resolve());
});
await system.start();
console.log(`watch it at ${system.monitorUrl}`);
// `done` rejects when the run fails: without it, this would wait for ever.
await Promise.race([secondStep, system.done]);

const paused = new Promise<void>((resolve) => {
  system.state$.subscribe(({ lifecycle }) => lifecycle === "paused" && resolve());
});
system.pause();
await Promise.race([paused, system.done]);
system.resume();

system.checkpoint();
const { status, runDirectory } = await system.stop();
console.log(`${status}: ${runDirectory}`);
