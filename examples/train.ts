// Starts a training system from a program, watches it, and waits for its end.
// Usage: node train.js MODEL_FOLDER   (a small Hugging Face folder of the Qwen2, Qwen3 or Llama family)
import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ConfigInput, createTrainingSystem, type RewardActor } from "weir-rl";

const [modelFolder] = process.argv.slice(2);
if (modelFolder === undefined) throw new Error("usage: node train.js MODEL_FOLDER");

const folder = await mkdtemp(join(tmpdir(), "weir-example-"));
const data = join(folder, "tasks.jsonl");
const tasks = Array.from({ length: 16 }, (_, index) => ({
  data_source: "musique",
  prompt: [{ role: "user", content: `<text>\nBox ${index} holds a coin.\n</text>\n\nWhat does box ${index} hold?` }],
  reward_model: { style: "rule", ground_truth: "Therefore, the answer is a coin." },
  extra_info: { index },
}));
await writeFile(data, tasks.map((task) => JSON.stringify(task)).join("\n"));

// A custom reward, passed by value: a small random model can at least learn to be brief.
const brevity: RewardActor = {
  kind: "brevity",
  specificationVersion: 1,
  handle: async ({ rollout }) => ({ kind: "scored", value: 1 / rollout.tokenIds.length, parts: {}, prediction: null }),
};

const config: ConfigInput = {
  preset: "quickstart",
  run: { directory: join(folder, "runs") },
  model: { path: modelFolder },
  data: { train: [data] },
  phases: [{ maxTokens: 512, steps: 5 }],
};
const system = createTrainingSystem(config, { actors: { reward: brevity } });
system.metrics$.subscribe(({ step, values }) =>
  console.log(
    `step ${step}: reward ${values["reward/mean"]?.toFixed(3)}, kl ${values["kl/update"] ?? values["kl/old_k3"]}`,
  ),
);
await system.start();
const { status, runDirectory } = await system.done;
console.log(`${status}: ${runDirectory}`);
