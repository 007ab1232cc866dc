import { mkdtemp, readdir, readFile, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { describe, expect, expectTypeOf, it } from "vitest";
import type { RunStore } from "../../src/actors/run/run-store.js";
import type { LedgerState } from "../../src/contracts/ledger.js";
import { RunFolder, runId } from "../../src/store/run-folder.js";
import { readRunRecord } from "../../src/store/run-record.js";
import { summariseFacts, summariseRun } from "../../src/store/run-summary.js";
import { readSavedBatch } from "../../src/store/saved-batch.js";
import { COMMITTED, RESUMED, STARTED } from "../helpers/facts.js";
import { ROOM_FOR_ONE, savedBatch } from "../helpers/saved-batch.js";
import { OUTCOMES, sampleTrace } from "./trace-sample.js";

const TIME = Date.UTC(2026, 0, 2, 3, 4, 5);

async function fresh(id: string | null = "run") {
  const root = await mkdtemp(join(tmpdir(), "weir-run-"));
  const notices: string[] = [];
  const options = { clock: () => TIME, say: (notice: string) => void notices.push(notice) };
  const make = () =>
    RunFolder.create({ root, id, seed: 7, config: { run: { seed: 7 } }, dataset: { fingerprint: "f" }, ...options });
  return { root, notices, make, open: (directory: string) => RunFolder.open(directory, options) };
}

function train(folder: RunFolder, step: number): void {
  const rollout = { rolloutId: `${step}`, groupId: "g", taskId: "t", phase: 1, step, policyVersion: step };
  for (const state of ["issued", "generated", "scored", "trained"] as const satisfies LedgerState[])
    folder.ledger({ ...rollout, state });
  folder.append("step.committed", step, COMMITTED);
}

const save = (content: string) => (directory: string) => writeFile(join(directory, "weights"), content);

describe("the run folder", () => {
  it("is what a run asks of its store", () => {
    expectTypeOf<RunFolder>().toExtend<RunStore>();
  });

  it("is named by date, time and seed, and never reuses a name", async () => {
    expect(runId(TIME, 7)).toBe("20260102-030405-seed7");
    const { make, root } = await fresh(null);
    await (await make()).close();
    await (await make()).close();
    expect((await readdir(root)).sort()).toEqual(["20260102-030405-seed7", "20260102-030405-seed7-2"]);
  });

  it("refuses an id that is taken, and a folder that is no run", async () => {
    const { make, open, root } = await fresh();
    await (await make()).close();
    await expect(make()).rejects.toMatchObject({ code: "WEIR_E_USAGE" });
    await expect(open(join(root, "none"))).rejects.toMatchObject({ code: "WEIR_E_FILE_MISSING" });
    await writeFile(join(root, "run", "config.json"), "{}");
    await expect(open(join(root, "run"))).rejects.toMatchObject({ code: "WEIR_E_RUN_FOLDER" });
  });

  it("has one writer", async () => {
    const { make, open } = await fresh();
    const folder = await make();
    await expect(open(folder.directory)).rejects.toMatchObject({ code: "WEIR_E_RUN_LOCKED" });
    await folder.close();
    await (await open(folder.directory)).close();
  });

  it("keeps the configuration and the data set's fingerprint", async () => {
    const { make } = await fresh();
    const folder = await make();
    await folder.close();
    expect(await readRunRecord(folder.directory)).toEqual({
      schema_version: 1,
      id: "run",
      config: { run: { seed: 7 } },
      dataset: { fingerprint: "f" },
      model: null,
      changes: [],
      orders: [],
      created: TIME,
    });
  });

  it("rolls journal, ledger and rollouts back to a checkpoint and keeps what came later aside", async () => {
    const { make, open, notices } = await fresh();
    const folder = await make();
    folder.append("run.started", 0, STARTED);
    train(folder, 1);
    await folder.rollouts(1, []);
    const path = await folder.checkpoint(1, save("one"), { progress: { step: 1 } });
    train(folder, 2);
    await folder.rollouts(2, [sampleTrace(1, OUTCOMES[0] as (typeof OUTCOMES)[number])]);
    await folder.close();

    const resumed = await open(folder.directory);
    const latest = await resumed.latest();
    expect(latest).toMatchObject({ directory: path, step: 1, state: { progress: { step: 1 } } });
    await resumed.rollBack(latest?.state ?? null);
    expect([...resumed.journal.read()].map((fact) => fact.type)).toEqual(["run.started", "step.committed"]);
    expect(resumed.ledgerCounts()).toEqual({
      issued: 0,
      generated: 0,
      scored: 0,
      trained: 1,
      dropped: 0,
      rolledBack: 0,
    });
    expect(await readdir(join(folder.directory, "rollouts"))).toEqual(["rolledback-1", "step-00001.parquet"]);
    expect(notices).toEqual([
      expect.stringMatching(/after step 1's checkpoint was moved to .*journal\.rolledback-1\.ndjson/),
      expect.stringMatching(/ledger\.rolledback-1\.ndjson/),
    ]);
    // The same rollout may be issued again: its first life is gone from the ledger.
    train(resumed, 2);
    expect(resumed.append("run.resumed", 2, RESUMED).seq).toBe(4);
    await resumed.close();
  });

  it("passes over a damaged checkpoint, says so, and takes it out of the row", async () => {
    const { make, open, notices } = await fresh();
    const folder = await make();
    train(folder, 1);
    await folder.checkpoint(1, save("one"), {});
    train(folder, 2);
    const second = await folder.checkpoint(2, save("two"), {});
    await folder.close();
    await truncate(join(second, "weights"), 1);

    const resumed = await open(folder.directory);
    const latest = await resumed.latest();
    expect(latest?.step).toBe(1);
    expect(notices[0]).toMatch(
      /WEIR_E_CHECKPOINT_DAMAGED: checkpoint step-00002 is damaged \(weights has 1 bytes, 3 were written\).*from step-00001/,
    );
    await resumed.rollBack(latest?.state ?? null);
    expect(resumed.ledgerCounts().trained).toBe(1);
    expect((await readdir(join(folder.directory, "checkpoints"))).sort()).toEqual([
      "damaged-step-00002-1",
      "step-00001",
    ]);
    await resumed.close();
  });

  it("rolls back to the beginning, where the fact of the start stays", async () => {
    const { make } = await fresh();
    const folder = await make();
    folder.append("run.started", 0, STARTED);
    train(folder, 1);
    expect(await folder.latest()).toBeNull();
    await folder.rollBack(null);
    expect([...folder.journal.read()].map((fact) => fact.type)).toEqual(["run.started"]);
    expect(folder.book.open()).toEqual([]);
    await folder.close();
  });

  it("refuses a state that is not of this folder, and a ledger that was cut from outside", async () => {
    const { make, open } = await fresh();
    const folder = await make();
    await expect(folder.rollBack({ step: 1 })).rejects.toMatchObject({ code: "WEIR_E_STATE" });
    await expect(folder.checkpoint(1, save("x"), null)).rejects.toMatchObject({ code: "WEIR_E_STATE" });
    train(folder, 1);
    await folder.checkpoint(1, save("one"), {});
    await folder.close();
    await truncate(join(folder.directory, "ledger.ndjson"), 0);
    const resumed = await open(folder.directory);
    const latest = await resumed.latest();
    await expect(resumed.rollBack(latest?.state ?? null)).rejects.toMatchObject({
      code: "WEIR_E_RUN_FOLDER",
      message: expect.stringMatching(/ledger\.ndjson: the checkpoint knows 4 entries/),
    });
    await resumed.close();
  });

  it("saves refused batches exactly, with their state while there is room, and the report", async () => {
    const { make } = await fresh();
    const folder = await make();
    const first = await folder.saveBatch(savedBatch(), ROOM_FOR_ONE);
    const second = await folder.saveBatch(savedBatch({ miniBatch: 1 }), ROOM_FOR_ONE);
    expect([first.withState, second.withState]).toEqual([true, false]);
    expect([first.path, second.path].map((path) => basename(path))).toEqual(["step-00003-1", "step-00003-2"]);
    const read = await readSavedBatch(first.path);
    expect(read.saved).toEqual(savedBatch());
    expect(await readFile(join(read.state as string, "weights"), "utf8")).toBe("0123456789");
    expect(await readSavedBatch(second.path)).toEqual({ saved: savedBatch({ miniBatch: 1 }), state: null });
    await expect(readSavedBatch(folder.directory)).rejects.toThrow(/WEIR_E_FILE_MISSING.*batches\/step-00007-1/);
    expect(JSON.parse(await readFile(await folder.writeReport({ done: true }), "utf8"))).toEqual({ done: true });
    await folder.close();
  });
});

describe("rollback", () => {
  it("sets the rollouts of undone steps aside, and knows which rollouts were trained on since", async () => {
    const { make } = await fresh();
    const folder = await make();
    for (const step of [1, 2, 3]) await folder.rollouts(step, []);
    const pass = (id: string, states: readonly ("issued" | "generated" | "scored" | "trained" | "rolledBack")[]) => {
      for (const state of states)
        folder.ledger({ ...{ rolloutId: id, groupId: "g", taskId: "t", phase: 1 }, step: 1, policyVersion: 0, state });
    };
    const whole = ["issued", "generated", "scored", "trained"] as const;
    pass("before", whole);
    const place = folder.ledgerPlace();
    pass("after", whole);
    pass("undone", [...whole, "rolledBack"]);
    pass("open", ["issued"]);
    expect(folder.trainedSince(place).map(({ rolloutId }) => rolloutId)).toEqual(["after"]);
    await folder.undone(1);
    expect(await readdir(join(folder.directory, "rollouts"))).toEqual(["rolledback-1", "step-00001.parquet"]);
    await folder.close();
  });

  it("removes batches that are not in the journal any more", async () => {
    const { make } = await fresh();
    const folder = await make();
    folder.append("run.started", 0, STARTED);
    const save = async (miniBatch: number) => {
      const { path } = await folder.saveBatch(savedBatch({ miniBatch }), ROOM_FOR_ONE);
      folder.append("batch.saved", 3, { path, miniBatch, reason: "not finite", replayable: true });
    };
    await save(0);
    await folder.checkpoint(3, async () => undefined, {});
    await save(1);
    await folder.rollBack((await folder.latest())?.state ?? null);
    expect(await readdir(join(folder.directory, "batches"))).toEqual(["step-00003-1"]);
    await folder.close();
  });
});

describe("run summary", () => {
  it("reads a run that another process writes to", async () => {
    const { make } = await fresh();
    const folder = await make();
    folder.append("run.started", 0, STARTED);
    folder.append("lifecycle.changed", 0, { machine: "lifecycle", value: "training" });
    folder.append("phase.entered", 1, { k: 1, minTokens: 0, maxTokens: 100, fromStep: 1 });
    train(folder, 1);
    folder.append("metrics.recorded", 1, { phase: 1, values: { "reward/mean": 0.5 } });
    folder.append("metrics.recorded", 1, { phase: 1, values: { "heldout/bucket_1": 0.25 } });
    await folder.checkpoint(1, save("one"), {});
    const summary = await summariseRun(folder.directory, { verify: true });
    expect(summary).toMatchObject({
      id: "run",
      writer: process.pid,
      lifecycle: "training",
      steps: 1,
      facts: 6,
      phases: [{ k: 1, maxTokens: 100 }],
      metrics: { step: 1, values: { "reward/mean": 0.5 } },
      ledger: { trained: 1, dropped: 0 },
      checkpoints: [{ name: "step-00001", damaged: null }],
      report: false,
      finished: null,
    });
    await folder.close();
    await writeFile(join(folder.directory, "checkpoints", "step-00001", "weights"), "xyz");
    const later = await summariseRun(folder.directory, { verify: true });
    expect(later.writer).toBeNull();
    expect(later.checkpoints[0]?.damaged).toMatch(/WEIR_E_CHECKPOINT_DAMAGED: .*does not have the content/);
  });

  it("of no facts is empty", () => {
    expect(summariseFacts([])).toMatchObject({ facts: 0, steps: 0, lifecycle: null, metrics: null });
  });
});
