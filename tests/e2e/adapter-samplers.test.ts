/** A trainer elsewhere that publishes adapters, and embedded samplers that merge them. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { createTrainingSystem } from "../../src/actors/run/training-system.js";
import type { EngineOptions } from "../../src/contracts/engine.js";
import type { PublishedPolicy } from "../../src/contracts/published-policy.js";
import type { Trainer } from "../../src/contracts/trainer.js";
import { startEngine } from "../../src/model/engine/host.js";
import { parityReward, tinyConfig } from "./tiny-run.js";

describe("samplers of a run that is trained elsewhere", () => {
  it.each([
    ["in processes of their own", 2],
    ["in one engine", 0],
  ])("%s draw from the adapters that the trainer publishes", { timeout: 120_000 }, async (_, engines) => {
    const base = await tinyConfig({});
    const config = await tinyConfig({
      model: { path: base.model.path, lora: { rank: 4 } },
      trainer: { actor: "elsewhere" },
      phases: [{ maxTokens: 300, steps: 3 }],
      rollout: { ...base.rollout, engines },
    });
    const lora = { rank: 4, alpha: 32, targets: ["q_proj", "v_proj"], seed: 5 } as const;
    const options: EngineOptions = {
      ...{ backend: "cpu", threads: 0, executor: "auto", precision: "float32", memoryGiB: 1, lora },
      ...{ requestTimeoutMs: 60_000, startTimeoutMs: 60_000, heartbeatMs: 5_000 },
    };
    const started: EngineOptions[] = [];
    const engine = await startEngine({ modelDir: base.model.path, options });
    const published: PublishedPolicy["artifact"]["kind"][] = [];
    const trainer: Trainer = {
      ...engine.trainer,
      kind: "elsewhere",
      capabilities: { ...engine.trainer.capabilities, publishes: ["checkpoint", "adapter"] },
      publish: (given) => {
        published.push(given.as);
        return engine.trainer.publish(given);
      },
    };
    const system = createTrainingSystem(config, {
      actors: {
        reward: parityReward,
        engine: (modelDir, given, signal) => {
          started.push(given);
          return startEngine({ modelDir, options: given, ...(signal ? { signal } : {}) });
        },
      },
    });
    system.register("trainer", "elsewhere", () => trainer);
    const mismatches: number[] = [];
    system.metrics$.subscribe(({ values }) => {
      if (values.mismatch_abs !== undefined) mismatches.push(values.mismatch_abs);
    });
    await system.start();
    const { runDirectory, report } = await system.done;
    await engine.close();
    expect(report).toMatchObject({ updates: { rl: 6 }, policy: { n: 3 } });
    expect(published.slice(0, 2)).toEqual(["adapter", "adapter"]);
    // The preflight's, and that of each step.
    expect(mismatches).toHaveLength(4);
    expect(Math.max(...mismatches)).toBeLessThan(1e-4);
    expect(started.map((given) => given.lora)).toEqual(Array.from({ length: Math.max(1, engines) }, () => null));
    const journal = (await readFile(join(runDirectory, "journal.ndjson"), "utf8")).trim().split("\n");
    const begun = journal.map((line) => JSON.parse(line)).find(({ type }) => type === "run.started");
    expect(begun.data.parts.policyStore).toEqual({ kind: "folder", source: "built-in" });
  });
});
