/** Runs on real servers whose servers and control plane are killed and stopped at random moments; WEIR_CHAOS_KILLS says how often. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { ConfigInput } from "../../src/config/schema.js";
import type { TinyChoice } from "../e2e/tiny-run.js";
import { chaos } from "./chaos.js";
import { ServerProcess } from "./server-process.js";
import { folderOfFile, natsServer, notInstalled, skyRlServer, vllmServer, writeTinyQwen3 } from "./servers.js";

/** Of each pairing. */
const KILLS = Number(process.env.WEIR_CHAOS_KILLS ?? 3);
const SEED = Number(process.env.WEIR_CHAOS_SEED ?? 1);
const STEPS = 6;
const PROMPTS = 3;
const GROUP = 4;
/** Shorter than most absences, so that runs pause; longer than a server needs that only hangs for a moment. */
const PATIENCE_MS = 3_000;

const folder = folderOfFile();
const model = join(folder, "qwen3");
beforeAll(async () => {
  await writeTinyQwen3(model);
});

function choice(over: Partial<ConfigInput>): TinyChoice {
  return {
    engine: { backend: "cpu", requestTimeoutMs: 120_000 },
    over: {
      model: { path: model, lora: { rank: 8, alpha: 32 } },
      phases: [{ maxTokens: 300, steps: STEPS }],
      rollout: { groupSize: GROUP, promptsPerStep: PROMPTS, promptsPerCall: 1, maxTokens: 6, temperature: 1, topP: 1 },
      dynamicSampling: { maxRounds: 20 },
      update: { miniBatchPrompts: 3, microBatchTokens: 512, oldLogprobs: "recompute" },
      loss: { klCoefficient: 0, monitorKl: false },
      optimiser: { learningRate: 1e-4, maxGradNorm: null },
      checkpoint: { everySteps: 2 },
      evaluation: { initial: false, tasksPerBucket: 2 },
      ...over,
    },
  };
}

const vllmAt = (server: ServerProcess): Partial<ConfigInput> => ({
  sampler: { actor: "vllm", urls: [server.url], patienceMs: PATIENCE_MS },
});
const trainedAt = (server: ServerProcess): Partial<ConfigInput> => ({
  trainer: { actor: "tinker", url: server.url, patienceMs: PATIENCE_MS },
});

const startVllm = async () => {
  const server = await vllmServer({ model, folder, maxTokens: 512 });
  await server.start();
  return server;
};
/** A control plane that is killed leaves its model behind, until the server finds that nobody asks for it any more. */
const startSkyRl = async (name: string) => {
  const own = join(folder, name);
  mkdirSync(own, { recursive: true });
  const server = await skyRlServer({ model, folder: own, backend: { max_lora_adapters: 16 } });
  await server.start();
  return server;
};

async function survives(victims: Readonly<Record<string, ServerProcess>>, over: Partial<ConfigInput>): Promise<void> {
  const result = await chaos({
    choice: choice(over),
    victims,
    kills: KILLS,
    seed: SEED,
    rollouts: STEPS * PROMPTS * GROUP,
    folder,
    say: (line) => process.stdout.write(`${line}\n`),
  });
  process.stdout.write(`${JSON.stringify(result)}\n`);
  expect(result.blows).toHaveLength(KILLS);
  expect(result.runs).toBeGreaterThan(0);
}

const TIMEOUT_MS = 600_000 + KILLS * 120_000;

/** The reward of these runs, as a worker loads it. */
const PARTS = join(folder, "parity.mjs");
writeFileSync(
  PARTS,
  `export default { reward: { parity: {
     kind: "parity", specificationVersion: 1,
     handle: async ({ rollout }) => {
       const value = rollout.tokenIds.reduce((sum, id) => sum + id, 0) % 2;
       return { kind: "scored", value, parts: { parity: value }, prediction: null };
     } } } };`,
);
const startWorker = async (name: string, url: string) => {
  const main = ["--import", "tsx", resolve("src/cli/main.ts")];
  const worker = new ServerProcess({
    name,
    command: process.execPath,
    args: [...main, "worker", "--queue", url, "--parts", PARTS, "--policies", join(folder, name)],
    url,
    log: join(folder, `${name}.log`),
    ready: (log) => /waiting for|works for/.test(log),
    startMs: 300_000,
  });
  await worker.start();
  return worker;
};

describe.skipIf(notInstalled("nats"))("weir trains, workers draw and score over NATS", () => {
  const running: Record<string, ServerProcess> = {};
  let nats: ServerProcess;
  beforeAll(async () => {
    nats = await natsServer({ folder });
    await nats.start();
    for (const name of ["worker-1", "worker-2"]) running[name] = await startWorker(name, nats.url);
  });
  afterAll(async () => {
    for (const worker of Object.values(running)) await worker.end();
    await nats?.end();
  });
  it(
    "survives kills of NATS, of workers and of the control plane",
    () =>
      survives(
        { nats, ...running },
        {
          reward: { actor: "parity" },
          workQueue: { actor: "nats", url: nats.url, leaseMs: 3_000, maxTasks: 8, maxAttempts: 9 },
        },
      ),
    TIMEOUT_MS,
  );
});

describe.skipIf(notInstalled("vllm"))("weir trains, vLLM samples", () => {
  let vllm: ServerProcess;
  beforeAll(async () => {
    vllm = await startVllm();
  });
  afterAll(() => vllm?.end());
  it("survives kills of vLLM and of the control plane", () => survives({ vllm }, vllmAt(vllm)), TIMEOUT_MS);
});

describe.skipIf(notInstalled("skyrl"))("SkyRL trains and samples", () => {
  let skyrl: ServerProcess;
  beforeAll(async () => {
    skyrl = await startSkyRl("alone");
  });
  afterAll(() => skyrl?.end());
  it(
    "survives kills of SkyRL and of the control plane",
    () => survives({ skyrl }, { ...trainedAt(skyrl), sampler: { actor: "tinker" } }),
    TIMEOUT_MS,
  );
});

describe.skipIf(notInstalled("skyrl") || notInstalled("vllm"))("SkyRL trains, vLLM samples", () => {
  let skyrl: ServerProcess;
  let vllm: ServerProcess;
  beforeAll(async () => {
    skyrl = await startSkyRl("split");
    vllm = await startVllm();
  });
  afterAll(async () => {
    await skyrl?.end();
    await vllm?.end();
  });
  it(
    "survives kills of either and of the control plane",
    () => survives({ skyrl, vllm }, { ...trainedAt(skyrl), ...vllmAt(vllm) }),
    TIMEOUT_MS,
  );
});
