/** Runs that sample in processes of their own. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createTrainingSystem, type RunResult } from "../../src/actors/run/training-system.js";
import type { ConfigInput } from "../../src/config/schema.js";
import type { Fact } from "../../src/contracts/fact.js";
import { FAST_BACKEND } from "../helpers/engines.js";
import { comparableFacts, endStates, parityReward, TINY_CHOICE, tinyConfig } from "./tiny-run.js";

const shaOf = (result: RunResult) => (result.report as { policy: { sha256: string } }).policy.sha256;

async function run(engines: number, over: Partial<ConfigInput> = {}): Promise<RunResult> {
  const config = await tinyConfig({ evaluation: { initial: false, tasksPerBucket: 4, everySteps: 2 }, ...over });
  const system = createTrainingSystem(
    { ...config, rollout: { ...config.rollout, promptsPerCall: 1, engines } },
    { actors: { reward: parityReward } },
  );
  await system.start();
  return system.done;
}

describe("a run with two sampler engines", () => {
  let one: RunResult;
  let two: RunResult;
  beforeAll(async () => {
    process.env[TINY_CHOICE] = JSON.stringify({ engine: { backend: FAST_BACKEND } });
    one = await run(0);
    two = await run(2);
  });
  afterAll(() => {
    delete process.env[TINY_CHOICE];
  });

  it("draws the same sequences from the same versions, and ends with the same weights", async () => {
    expect(await endStates(two.runDirectory)).toEqual(await endStates(one.runDirectory));
    expect(await comparableFacts(two.runDirectory)).toEqual(await comparableFacts(one.runDirectory));
    expect(shaOf(two)).toBe(shaOf(one));
  });
});

async function factsOf(directory: string): Promise<Fact[]> {
  const text = await readFile(join(directory, "journal.ndjson"), "utf8");
  return text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Fact);
}
