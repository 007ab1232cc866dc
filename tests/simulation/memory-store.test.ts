import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import type { RunStore } from "../../src/actors/run/run-store.js";
import type { LedgerEntry } from "../../src/contracts/ledger.js";
import { GroundTruth } from "../../src/simulation/ground-truth.js";
import { MemoryDisk, MemoryStore } from "../../src/simulation/memory-store.js";
import { RunFolder } from "../../src/store/index.js";
import { STARTED } from "../helpers/facts.js";

const entry = (rolloutId: string, state: LedgerEntry["state"], reason?: string) => ({
  ...{ rolloutId, groupId: "g", taskId: "t", phase: 1, step: 1, policyVersion: 0, state },
  ...(reason === undefined ? {} : { reason }),
});

async function onDisk(): Promise<RunStore> {
  const root = await mkdtemp(join(tmpdir(), "weir-store-"));
  return RunFolder.create({ root, id: "run", seed: 1, config: {}, dataset: {}, keep: 2, clock: () => 0 });
}

async function inMemory(): Promise<RunStore> {
  return new MemoryStore(new MemoryDisk(), { keep: 2, now: () => 0, alive: () => true, onEntry: () => undefined });
}

// The simulator finds what a run folder would do only as long as both do the same.
describe.each([
  ["a run folder on disk", onDisk],
  ["a run folder in memory", inMemory],
])("%s", (_, open) => {
  let store: RunStore;
  beforeEach(async () => {
    store = await open();
  });
  const types = () => [...store.facts()].map(({ seq, type }) => `${seq} ${type}`);
  const begin = () => {
    store.append("run.started", 0, STARTED);
    store.ledger(entry("r1", "issued"));
  };
  const checkpoint = (step: number, more: readonly "phase-end"[] = []) =>
    store.checkpoint(step, async () => undefined, { at: step }, more);

  it("cuts off what came after a checkpoint, and counts on from there", async () => {
    begin();
    await checkpoint(1);
    store.append("run.finished", 1, { status: "stopped" });
    store.ledger(entry("r1", "dropped", "aborted"));
    store.ledger(entry("r2", "issued"));
    const latest = await store.latest();
    expect(latest).toMatchObject({ step: 1, state: { at: 1 } });
    await store.rollBack(latest?.state ?? null);
    expect(types()).toEqual(["1 run.started"]);
    expect(store.ledgerCounts()).toMatchObject({ issued: 1, dropped: 0 });
    store.ledger(entry("r2", "issued"));
    expect(store.append("run.finished", 1, { status: "stopped" }).seq).toBe(2);
  });

  it("takes its marks when a checkpoint begins: what happens while it is written comes later", async () => {
    begin();
    await store.checkpoint(
      1,
      async () => {
        store.append("run.finished", 1, { status: "stopped" });
        store.ledger(entry("r2", "issued"));
      },
      {},
    );
    expect(types()).toHaveLength(2);
    await store.rollBack((await store.latest())?.state ?? null);
    expect(types()).toEqual(["1 run.started"]);
    expect(store.ledgerCounts()).toMatchObject({ issued: 1 });
  });

  it("keeps the first fact when it goes back to the beginning", async () => {
    begin();
    store.append("run.finished", 1, { status: "stopped" });
    await store.rollBack(null);
    expect(types()).toEqual(["1 run.started"]);
    expect(store.ledgerCounts()).toMatchObject({ issued: 0 });
  });

  it("publishes nothing of a checkpoint that cannot be written", async () => {
    begin();
    await checkpoint(1);
    const fault = new Error("no room");
    await expect(store.checkpoint(2, () => Promise.reject(fault), {})).rejects.toBe(fault);
    expect(await store.latest()).toMatchObject({ step: 1 });
  });

  it("keeps the newest checkpoints and those of phase ends, and gives the newest of a step that was repeated", async () => {
    begin();
    await checkpoint(1, ["phase-end"]);
    for (const step of [2, 3]) await checkpoint(step);
    await store.checkpoint(3, async () => undefined, { at: "again" });
    expect(await store.latest()).toMatchObject({ step: 3, state: { at: "again" } });
  });

  it("I2: refuses a state that does not follow", async () => {
    begin();
    expect(() => store.ledger(entry("r1", "trained"))).toThrow(/WEIR_E_LEDGER/);
    expect(() => store.ledger(entry("r9", "dropped", "stale"))).toThrow(/WEIR_E_LEDGER/);
    expect(store.ledgerCounts()).toMatchObject({ issued: 1, trained: 0, dropped: 0 });
  });

  it("refuses a checkpoint that knows more than there is", async () => {
    begin();
    await checkpoint(1);
    const latest = await store.latest();
    await store.rollBack(null);
    await expect(store.rollBack(latest?.state ?? null)).rejects.toThrow(/WEIR_E_RUN_FOLDER/);
  });
});

describe("a view of a simulated disk", () => {
  it("changes nothing once its process is gone", async () => {
    let alive = true;
    const disk = new MemoryDisk();
    const store = new MemoryStore(disk, { keep: 2, now: () => 0, alive: () => alive, onEntry: () => undefined });
    store.append("run.started", 0, STARTED);
    const late = store.checkpoint(
      1,
      async () => {
        alive = false;
      },
      {},
    );
    await expect(late).rejects.toThrow(/is gone/);
    expect(() => store.ledger(entry("r1", "issued"))).toThrow(/is gone/);
    expect(() => store.append("run.started", 0, STARTED)).toThrow(/is gone/);
    expect([disk.checkpoints, disk.entries, disk.journal.length]).toEqual([[], [], 1]);
  });
});

describe("the record of what really happened", () => {
  it("I2: finds a rollout that the ledger calls trained and that no update had", () => {
    const truth = new GroundTruth(() => 1);
    const tokenIds = truth.drawn([], 3, 1);
    truth.scored("r1", tokenIds, "scored");
    truth.entered(entry("r1", "trained"));
    expect(truth.violations).toEqual([
      { invariant: "I2", text: "the ledger calls rollout r1 trained, the trainer never saw it", time: 1 },
    ]);
  });

  it("I1: finds a reward for a response that was never drawn", () => {
    const truth = new GroundTruth(() => 1);
    truth.scored("r1", [7], "scored");
    expect(truth.violations).toMatchObject([{ invariant: "I1" }]);
  });
});
