/** Whole runs that weir trains and a real vLLM samples. */
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createTrainingSystem } from "../../src/actors/run/training-system.js";
import { patientFetch } from "../../src/remote/patient-fetch.js";
import { parityReward, tinyConfig } from "../e2e/tiny-run.js";
import { FAST_BACKEND } from "../helpers/engines.js";
import type { ServerProcess } from "./server-process.js";
import { folderOfFile, notInstalled, vllmServer, writeTinyQwen3 } from "./servers.js";

/** Largest difference of log-probs between two engines in float32, nats. */
const TOLERANCE = 1e-3;
const folder = folderOfFile();

describe.skipIf(notInstalled("vllm")).each([
  ["adapters", { rank: 4 }, 0, 6],
  ["adapters, one version off", { rank: 4 }, 1, 6],
  ["whole folders", null, 0, 0],
] as const)("a run that vLLM samples: %s", (name, lora, maxLag, adapters) => {
  const model = join(folder, `model-${name.replaceAll(/\W+/g, "-")}`);
  let server: ServerProcess;
  beforeAll(async () => {
    await writeTinyQwen3(model, { changes: { tie_word_embeddings: lora !== null } });
    server = await vllmServer({ model, folder, adapters, maxTokens: 512 });
    await server.start();
  });
  afterAll(() => server?.end());

  it("trains on what the server drew, which has the trainer's log-probs, and leaves nothing there", async () => {
    const base = await tinyConfig();
    const system = createTrainingSystem(
      await tinyConfig({
        model: { path: model, ...(lora && { lora }) },
        engine: { backend: FAST_BACKEND },
        phases: [{ maxTokens: 300, steps: 3 }],
        sampler: { actor: "vllm", urls: [server.url] },
        rollout: { ...base.rollout, callsInFlight: 2 },
        async: { maxLag },
        ...(maxLag > 0 && { update: { ...base.update, correction: { importance: "token" } } }),
      }),
      { actors: { reward: parityReward } },
    );
    const mismatches: number[] = [];
    system.metrics$.subscribe(({ values }) => {
      if (values.mismatch_abs !== undefined) mismatches.push(values.mismatch_abs);
    });
    await system.start();
    const { report } = await system.done;
    expect(report).toMatchObject({ policy: { n: 3 } });
    // Measured on tokens of the trainer's own version: at the start, and in each step without lag.
    expect(mismatches.length).toBeGreaterThanOrEqual(maxLag > 0 ? 1 : 4);
    expect(Math.max(...mismatches)).toBeLessThan(TOLERANCE);
    const { data } = (await (await patientFetch(`${server.url}/v1/models`)).json()) as { data: { id: string }[] };
    expect(data.map(({ id }) => id)).toEqual(["policy"]);
  });
});
