/** A run with a real engine whose guard asks for rollbacks: what it comes to, also when it is killed on the way. */
import { readdir, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { createTrainingSystem, type RunResult } from "../../src/actors/run/training-system.js";
import type { ConfigInput } from "../../src/config/schema.js";
import { readFacts } from "../../src/store/journal.js";
import { readSavedBatch } from "../../src/store/saved-batch.js";
import { describeKills } from "./rollback-kills.js";
import { rollingGuard } from "./rolling-guard.js";
import { endStates, parityReward, tinyConfig } from "./tiny-run.js";

async function run(over: Partial<ConfigInput>, times: Readonly<Record<number, number>>): Promise<RunResult> {
  const system = createTrainingSystem(await tinyConfig(over), {
    actors: { reward: parityReward, guard: rollingGuard(times) },
  });
  await system.start();
  return system.done;
}

const facts = (directory: string) => [...readFacts(join(directory, "journal.ndjson"))];

describe("a rollback", () => {
  it("brings weights back bit for bit under another number, and trains on from there with other responses", async () => {
    const { runDirectory } = await run(
      { checkpoint: { everySteps: 0, keep: 20 }, guard: { afterRollback: { learningRate: 1, skipBatch: false } } },
      { 3: 1 },
    );
    const told = facts(runDirectory);
    const committed = told.flatMap(({ type, data }) => (type === "step.committed" ? [data] : []));
    const second = committed[1];
    // Its own checkpoint names the restored weights.
    const [written] = told.flatMap(({ type, data }) => (type === "checkpoint.written" ? [data.path] : []));
    const { policy } = JSON.parse(await readFile(join(written as string, "state.json"), "utf8"));
    expect(policy).toEqual({ n: (second?.policyVersion ?? 0) + 1, sha256: second?.sha256 });
    expect(committed[2]?.policyVersion).toBe(policy.n + 1);
    const versions = committed.map(({ policyVersion }) => policyVersion);
    expect(new Set(versions).size).toBe(6);
    const { runDirectory: plain } = await run({}, {});
    const unbroken = facts(plain).flatMap(({ type, data }) => (type === "step.committed" ? [data.sha256] : []));
    expect(committed.slice(0, 2).map(({ sha256 }) => sha256)).toEqual(unbroken.slice(0, 2));
    expect(committed[2]?.sha256).not.toBe(unbroken[2]);
    expect(new Set((await endStates(runDirectory)).values())).toContain("rolledBack");
    expect(
      (await readdir(join(runDirectory, "rollouts"))).filter((name) => name.startsWith("rolledback")),
    ).toHaveLength(1);
  }, 120_000);

  it("saves the batch that it threw away with the weights of its gradient", async () => {
    const { runDirectory } = await run({}, { 2: 1 });
    const [saved] = facts(runDirectory).flatMap(({ type, data }) => (type === "batch.saved" ? [data] : []));
    expect(saved).toMatchObject({ miniBatch: 0, reason: "step 2, time 1", replayable: true });
    const { saved: batch, state } = await readSavedBatch(saved?.path as string);
    expect(batch).toMatchObject({ step: 2, cause: "guard", policyVersion: 1, loss: expect.any(Number) });
    expect(batch.batch.groups.length).toBe(batch.groups.length);
    expect(await readdir(state as string)).toContain("model.safetensors");
  }, 120_000);

  it("with overlap ends what is in flight, and draws it again", async () => {
    const { runDirectory, status } = await run(
      {
        phases: [{ maxTokens: 300, steps: 6 }],
        async: { maxLag: 2 },
        update: { miniBatchPrompts: 2, microBatchTokens: 512, correction: { importance: "token" } },
        guard: { afterRollback: { maxLag: 1 } },
      },
      { 3: 2, 5: 1 },
    );
    expect(status).toBe("completed");
    const told = facts(runDirectory);
    expect(told.filter(({ type }) => type === "run.rolledBack")).toHaveLength(3);
    const ends = await endStates(runDirectory);
    expect(new Set(ends.values())).toContain("rolledBack");
    const lags = told.flatMap(({ type, step, data }) =>
      type === "metrics.recorded" && step === 6 ? (data.values["lag/max"] ?? []) : [],
    );
    expect(lags).toHaveLength(1);
    expect(lags[0]).toBeLessThanOrEqual(1);
  }, 120_000);
});

describeKills(2, tmpdir());

describe("the folder of snapshots", () => {
  it("is in the run folder where it is asked for, and gone at the end of the run", async () => {
    const seen: string[][] = [];
    const config = await tinyConfig({ guard: { snapshots: { place: "disk", keep: 2 } } });
    const system = createTrainingSystem(config, { actors: { reward: parityReward, guard: rollingGuard({ 4: 1 }) } });
    const listing: Promise<void>[] = [];
    system.facts$.subscribe(({ type }) => {
      if (type !== "step.committed") return;
      const folder = join(system.runDirectory as string, "snapshots");
      listing.push(readdir(folder).then((names) => void seen.push(names)));
    });
    await system.start();
    const { runDirectory } = await system.done;
    await Promise.all(listing);
    for (const names of seen) {
      expect(names.length).toBeGreaterThan(0);
      // Those of the run and those of its newest checkpoint.
      expect(names.length).toBeLessThanOrEqual(4);
    }
    expect(await readdir(join(runDirectory, "snapshots"))).toEqual([]);
  }, 120_000);
});
