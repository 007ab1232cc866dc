/** A phase that is ended and a rollback that is asked for while a run is under way hold over kill -9. */
import { mkdtemp, readdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { createTrainingSystem } from "../../src/actors/run/training-system.js";
import { readFacts } from "../../src/store/journal.js";
import { readRunRecord } from "../../src/store/run-record.js";
import { type DriverOrder, drive, KILL_AT, obeyed } from "./drive.js";
import { comparableFacts, endStates, parityReward, TINY_CHOICE, tinyConfig } from "./tiny-run.js";

/** Two phases of three steps; checkpoints where a phase ends and after rollbacks only. */
const CHOICE = { engine: { backend: "cpu" }, over: { checkpoint: { everySteps: 0 }, guard: { actor: "finite" } } };
const SKIP: DriverOrder = { afterStep: 2, path: null, value: null, command: "skipPhase" };
const BACK: DriverOrder = { afterStep: 4, path: null, value: null, command: "rollBack" };
const KNOB: DriverOrder = { afterStep: 3, path: "optimiser.learningRate", value: 5e-4 };

const facts = (run: string) => [...readFacts(join(run, "journal.ndjson"))];
const program = { kind: "program", name: "" };

describe("orders that a killed run was given", () => {
  it("are carried out again at their places: the end of a phase, a knob, a rollback that had no checkpoint yet", async () => {
    process.env[TINY_CHOICE] = JSON.stringify(CHOICE);
    try {
      const whole = createTrainingSystem(await tinyConfig(), { actors: { reward: parityReward } });
      const left = [SKIP, KNOB, BACK];
      whole.facts$.subscribe(({ type, step }) => {
        if (type === "step.committed" && left[0]?.afterStep === step) void obeyed(whole, left.shift() as DriverOrder);
      });
      await whole.start();
      const { runDirectory: unbroken } = await whole.done;
      const told = facts(unbroken);
      const skipped = told.flatMap((fact) => (fact.type === "phase.skipped" ? [[fact.step, fact.data]] : []));
      expect(skipped).toEqual([[2, { phase: 1, by: program, reason: null }]]);
      const back = told.flatMap(({ type, data }) => (type === "run.rolledBack" ? [data] : []));
      expect(back).toMatchObject([{ fromStep: 4, toStep: 3, by: program, count: 1 }]);

      const folder = await mkdtemp(join(tmpdir(), "weir-orders-"));
      await drive([folder], undefined, [SKIP], { [KILL_AT]: "phase.skipped" });
      const run = join(folder, "runs", (await readdir(join(folder, "runs")))[0] ?? "");
      await drive(["--resume", run], undefined, [KNOB, BACK], { [KILL_AT]: "run.rolledBack" });
      expect(facts(run).at(-1)?.type).toBe("run.rolledBack");
      await drive(["--resume", run]);
      const { orders } = await readRunRecord(run);
      expect(orders.map(({ order, by }) => [order.type, by])).toEqual([
        ["skipPhase", program],
        ["set", program],
        ["rollback", program],
      ]);
      expect(await comparableFacts(run)).toEqual(await comparableFacts(unbroken));
      expect(await endStates(run)).toEqual(await endStates(unbroken));
    } finally {
      delete process.env[TINY_CHOICE];
    }
  }, 240_000);
});
