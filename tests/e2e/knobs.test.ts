/** Knobs that are turned while a run is under way hold over a kill, a lost engine and a resume. */
import { mkdtemp, readdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { createTrainingSystem, type TrainingSystem } from "../../src/actors/run/training-system.js";
import { configOfRun } from "../../src/cli/commands/train.js";
import type { Engine } from "../../src/contracts/engine.js";
import { startEngine } from "../../src/model/engine/host.js";
import { readFacts } from "../../src/store/journal.js";
import { readRunRecord } from "../../src/store/run-record.js";
import { type DriverOrder, drive } from "./drive.js";
import { comparableFacts, parityReward, TINY_CHOICE, tinyConfig } from "./tiny-run.js";

/** The policy of a few thousand weights moves far in a step; what a guard does about it is for other tests. */
const UNJUDGED = { actor: "finite" } as const;
/** Six steps, checkpoints after every third. */
const CHOICE = { engine: { backend: "cpu" }, over: { checkpoint: { everySteps: 3 }, guard: UNJUDGED } } as const;
/** Three before the second checkpoint, two after it. */
const ORDERS: readonly DriverOrder[] = [
  { afterStep: 1, path: "rollout.temperature", value: 1.4 },
  { afterStep: 2, path: "optimiser.learningRate", value: 3e-3 },
  { afterStep: 2, path: "rollout.groupSize", value: 5 },
  { afterStep: 3, path: null, value: null },
  { afterStep: 4, path: "optimiser.learningRate", value: 1e-4 },
  { afterStep: 4, path: "loss.clipHigh", value: 0.05 },
];

const folderOf = async () => mkdtemp(join(tmpdir(), "weir-knobs-"));
const runIn = async (folder: string) => join(folder, "runs", (await readdir(join(folder, "runs")))[0] ?? "");
const turnsOf = (run: string) =>
  [...readFacts(join(run, "journal.ndjson"))].flatMap(({ type, step, data }) =>
    type === "knob.turned" ? [[step, (data as { path: string }).path, (data as { new: unknown }).new]] : [],
  );
const shaOf = (run: string) =>
  [...readFacts(join(run, "journal.ndjson"))].flatMap(({ type, data }) =>
    type === "step.committed" ? [(data as { sha256: string }).sha256] : [],
  );

function give(system: TrainingSystem, orders: readonly DriverOrder[]): void {
  system.facts$.subscribe((fact) => {
    if (fact.type !== "step.committed") return;
    for (const { afterStep, path, value } of orders)
      if (afterStep === fact.step) void (path === null ? system.skipBatch() : system.setKnob(path, value));
  });
}

const TURNS = [
  [1, "rollout.temperature", 1.4],
  [2, "optimiser.learningRate", 3e-3],
  [2, "rollout.groupSize", 5],
  [4, "optimiser.learningRate", 1e-4],
  [4, "loss.clipHigh", 0.05],
];

describe("turned knobs", () => {
  it("are turned again at the same steps after kill -9, and the run ends with the same weights as one that was not killed", async () => {
    process.env[TINY_CHOICE] = JSON.stringify(CHOICE);
    try {
      const whole = createTrainingSystem(await tinyConfig(), { actors: { reward: parityReward } });
      give(whole, ORDERS);
      await whole.start();
      const { runDirectory: unbroken } = await whole.done;
      expect(turnsOf(unbroken)).toEqual(TURNS);

      // Killed as soon as the turns after step 2 are told, and once more in step 5: neither has a checkpoint of its own.
      const folder = await folderOf();
      await drive([folder], (line, child) => line === "knob.turned 2" && child.kill("SIGKILL"), ORDERS);
      const run = await runIn(folder);
      expect(turnsOf(run).map(([step]) => step)).toContain(2);
      const later = ORDERS.filter(({ afterStep }) => afterStep > 2);
      // What was not in the run folder when the process died was never answered: it is asked for again.
      const recorded = (await readRunRecord(run)).orders.length;
      expect(recorded).toBeGreaterThanOrEqual(2);
      const lost = recorded < 3 ? ORDERS.filter(({ path }) => path === "rollout.groupSize") : [];
      await drive(["--resume", run], (line, child) => line === "step.committed 5" && child.kill("SIGKILL"), [
        ...lost,
        ...later,
      ]);
      await drive(["--resume", run]);
      expect(turnsOf(run)).toEqual(TURNS);
      expect(shaOf(run)).toEqual(shaOf(unbroken));
      expect(await comparableFacts(run)).toEqual(await comparableFacts(unbroken));
    } finally {
      delete process.env[TINY_CHOICE];
    }
  }, 240_000);

  it("hold where the engine is lost and the run goes back to a checkpoint from before they were turned", async () => {
    const engines: Engine[] = [];
    const orders = ORDERS.filter(({ afterStep }) => afterStep > 3);
    const system = createTrainingSystem(await tinyConfig({ checkpoint: { everySteps: 3 }, guard: UNJUDGED }), {
      actors: {
        reward: parityReward,
        engine: async (modelDir, options) => {
          const engine = await startEngine({ modelDir, options });
          engines.push(engine);
          return engine;
        },
      },
    });
    give(system, orders.slice(0, 1));
    let turned = false;
    system.facts$.subscribe((fact) => {
      if (fact.type !== "knob.turned" || turned) return;
      turned = true;
      process.kill(engines[0]?.info.pid as number, "SIGKILL");
    });
    await system.start();
    const { runDirectory } = await system.done;
    expect(engines).toHaveLength(2);
    expect(turnsOf(runDirectory)).toEqual([[4, "optimiser.learningRate", 1e-4]]);
    expect(system.knobs.find(({ path }) => path === "optimiser.learningRate")).toMatchObject({ value: 1e-4 });
  }, 240_000);

  it("hold after a resume, and give way to an option that is changed with it", async () => {
    const first = createTrainingSystem(await tinyConfig({ guard: UNJUDGED }), { actors: { reward: parityReward } });
    give(first, ORDERS.slice(0, 3));
    first.facts$.subscribe((fact) => {
      if (fact.type === "step.committed" && fact.step === 3) void first.stop();
    });
    await first.start();
    const { runDirectory: run } = await first.done;
    const config = await configOfRun(run, ["optimiser.learningRate=0.005"]);
    const second = createTrainingSystem(config, { actors: { reward: parityReward }, resume: run });
    const rates: unknown[] = [];
    second.metrics$.subscribe(({ values }) => rates.push(...[values["optimiser/learning_rate"] ?? []].flat()));
    await second.start();
    const values = Object.fromEntries(second.knobs.map(({ path, value }) => [path, value]));
    expect(values).toMatchObject({
      "rollout.temperature": 1.4,
      "rollout.groupSize": 5,
      "optimiser.learningRate": 0.005,
    });
    await second.done;
    expect(rates).toEqual([0.005, 0.005, 0.005]);
  }, 240_000);
});
