// Steers a run from the program that started it: turns a knob, goes back to a snapshot, and has a batch skipped.
import { createTrainingSystem, loadConfig, WeirError } from "weir-rl";
import { cited } from "./reward.js";

const config = await loadConfig("config.yaml", ["run.id=steered", "phases.0.steps=1000"]);
const system = createTrainingSystem(config, { actors: { reward: cited } });
system.facts$.subscribe(({ type, data }) => {
  if (type === "knob.turned") console.log(`${data.path}: ${data.old} is now ${data.new}, by ${data.by.kind}`);
  if (type === "run.rolledBack") console.log(`went back to the end of step ${data.toStep}: ${data.reason}`);
  if (type === "guard.judged") console.log(`${data.verdict}: ${data.reason}`);
});
const reached = (test: (lifecycle: string) => boolean) =>
  new Promise<void>((resolve) => {
    system.state$.subscribe(({ lifecycle }) => test(lifecycle) && resolve());
  });
const stepDone = () =>
  new Promise<void>((resolve) => {
    system.metrics$.subscribe(({ step }) => step >= 2 && resolve());
  });

// `done` rejects when the run fails: without it, these would wait for ever.
const second = stepDone();
await system.start();
await Promise.race([second, system.done]);
const paused = reached((lifecycle) => lifecycle === "paused");
system.pause();
await Promise.race([paused, system.done]);

// A paused run obeys at once, any other between two steps.
await system.setKnob("optimiser.learningRate", 1e-5, { reason: "a trial" });
for (const { path, value, min, max } of system.knobs) console.log(`${path} = ${value} (${min} to ${max})`);
// The last step is undone, and with it what was turned since.
await system.rollBack({ reason: "the trial is over" });
await system.skipBatch({ reason: "not this one" });
const again = stepDone();
system.resume();
await Promise.race([again, system.done]);

try {
  await system.setKnob("optimiser.learningRate", 5);
} catch (error) {
  if (!WeirError.isInstance(error)) throw error;
  console.log(error.message);
}
const { status } = await system.stop();
console.log(status);
