/** I14: a run that trained nothing does not end completed. */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { nothingTrained } from "../../src/actors/run/nothing-trained.js";
import { freshProgress, restoredProgress } from "../../src/actors/run/progress.js";
import { changesOf } from "../../src/actors/run/rl-step.js";
import { createTrainingSystem } from "../../src/actors/run/training-system.js";
import { exitCodeOf } from "../../src/cli/output.js";
import type { Trainer } from "../../src/contracts/trainer.js";
import { createFakeEngine, fakeVersion } from "../../src/testing.js";
import { tinyConfig } from "../e2e/tiny-run.js";
import { failure } from "../helpers/errors.js";
import { demonstrations, fakeRun, rewardOf } from "./fake-run.js";

const equal = rewardOf(() => 0);
const parity = rewardOf(({ rollout }) => rollout.sampleIndex % 2);
const onePhase = (steps: number) => ({ phases: [{ maxTokens: 300, steps }] });
/** An optimiser step whose gradient was exactly 0. */
const zeroGradient: Trainer["optimStep"] = async () => ({
  applied: true,
  gradNorm: 0,
  gradNormByTensor: null,
  version: fakeVersion(1),
});
const workload = {
  warmupSteps: 0,
  trainingSteps: 2,
  heldoutTasks: 0,
  tasks: { read: 24, dropped: 0, outsidePhases: 0, truncated: 0 },
  evaluation: { initial: false },
};

async function reportOf(directory: string) {
  return JSON.parse(await readFile(join(directory, "report.json"), "utf8"));
}

describe("a run whose RL stage changed no weight", () => {
  it("I14: ends failed with the reason, its own exit code, a report that says so, and no model", async () => {
    const { system, alerts } = await fakeRun({ ...onePhase(7), guard: { noUpdateSteps: 3 } }, equal);
    const facts: Record<string, unknown>[] = [];
    system.facts$.subscribe(({ type, data }) => type === "run.finished" && facts.push(data));
    await system.start();
    const error = await failure(() => system.done, "WEIR_E_NOTHING_TRAINED");
    expect(error.message).toMatch(/RL stage took 7 steps and none .*equal rewards.*warmup\.data/);
    expect(exitCodeOf(error)).toBe(5);
    expect(facts).toEqual([{ status: "failed", error: error.message }]);
    const directory = system.runDirectory as string;
    expect(existsSync(join(directory, "model"))).toBe(false);
    expect(await reportOf(directory)).toMatchObject({
      failure: { code: "WEIR_E_NOTHING_TRAINED" },
      steps: { rl: 7 },
      updates: { warmup: 0, rl: 0 },
    });
    // No update from step 3 on, the same reward everywhere from step 5 on: each is told once.
    expect(alerts.map(({ rule, step }) => [rule, step])).toEqual([
      ["preflight", 0],
      ["no_update", 3],
      ["equal_rewards", 5],
    ]);
  });

  it("I14: fails as well where zero-variance groups are kept and AdamW commits gradients of 0", async () => {
    const off = { dynamicSampling: { enabled: false } };
    const { system, metrics } = await fakeRun({ ...onePhase(2), ...off }, equal, {
      trainer: { optimStep: zeroGradient, reviseStep: async () => undefined },
    });
    await system.start();
    await failure(() => system.done, "WEIR_E_NOTHING_TRAINED");
    const steps = metrics.filter(({ values }) => "group/kept" in values).map(({ values }) => values);
    expect(steps.map((values) => [values["gradient/applied"], values["update/applied"]])).toEqual([
      [1, 0],
      [1, 0],
    ]);
    expect(steps.map((values) => values["update/idle_steps"])).toEqual([1, 2]);
  });

  it("I14: fails as well where rollout correction rejects every token, and each response is in the ledger as rejected", async () => {
    // Sampler and trainer of the fake agree: all ratios are 1, which these bounds exclude.
    const correction = { rejection: "token", rejectionLower: 1.5, rejectionUpper: 2 } as const;
    const { system, metrics } = await fakeRun({ ...onePhase(1), update: { correction } }, parity);
    await system.start();
    const error = await failure(() => system.done, "WEIR_E_NOTHING_TRAINED");
    expect(error.message).toMatch(/rollout correction rejected every token/);
    const [values] = metrics.flatMap(({ values }) => ("group/kept" in values ? [values] : []));
    expect(values).toMatchObject({ "correction/rejected_share": 1, "update/applied": 0 });
    expect(values).not.toHaveProperty("loss/policy");
    const ledger = await readFile(join(system.runDirectory as string, "ledger.ndjson"), "utf8");
    const ends = ledger.split("\n").filter((line) => line.includes('"dropped"') || line.includes('"trained"'));
    expect(ends.length).toBeGreaterThan(0);
    expect(ends.every((line) => JSON.parse(line).reason === "rejected")).toBe(true);
  });

  it("completes where a single step changed weights, and says how many did", async () => {
    const once = rewardOf(({ rollout }) => (rollout.id.startsWith("s2-") ? rollout.sampleIndex % 2 : 0));
    const { system } = await fakeRun({ ...onePhase(3), update: { miniBatchPrompts: null } }, once);
    await system.start();
    const { status, report } = await system.done;
    expect(status).toBe("completed");
    expect(report).toMatchObject({ failure: null, updates: { warmup: 0, rl: 1 } });
    expect(existsSync(join(system.runDirectory as string, "model"))).toBe(true);
  });

  it("I14: counts the updates before a resume, and fails again where there were none", async () => {
    const config = await tinyConfig({ ...onePhase(3), evaluation: { initial: false } });
    const run = async (reward: typeof equal, resume?: string) => {
      const system = createTrainingSystem(config, {
        actors: { engine: async () => createFakeEngine(), reward },
        ...(resume === undefined ? {} : { resume }),
      });
      return system;
    };
    const first = await run(parity);
    first.facts$.subscribe(({ type, step }) => {
      if (type === "step.committed" && step === 1) void first.stop().catch(() => undefined);
    });
    await first.start();
    expect((await first.done).status).toBe("stopped");
    const second = await run(equal, first.runDirectory as string);
    await second.start();
    // Step 1 took 3 groups in mini-batches of 2.
    expect((await second.done).report).toMatchObject({ updates: { rl: 2 } });

    const barren = await fakeRun(onePhase(2), equal);
    await barren.system.start();
    await failure(() => barren.system.done, "WEIR_E_NOTHING_TRAINED");
    const again = await fakeRun(onePhase(2), equal, { resume: barren.system.runDirectory as string });
    // The configuration of the fixture has a folder of its own; the data set is the same.
    await again.system.start();
    await failure(() => again.system.done, "WEIR_E_NOTHING_TRAINED");
  });
});

describe("a run without RL, on purpose", () => {
  it("completes after its warm-up, and fails where that changed no weight", async () => {
    const over = { ...onePhase(0), warmup: { data: [await demonstrations()], batchRows: 2, epochs: 1 } };
    const good = await fakeRun(over, parity);
    await good.system.start();
    expect((await good.system.done).report).toMatchObject({ updates: { warmup: 2, rl: 0 } });
    const bad = await fakeRun(over, parity, { trainer: { optimStep: zeroGradient } });
    await bad.system.start();
    const error = await failure(() => bad.system.done, "WEIR_E_NOTHING_TRAINED");
    expect(error.message).toMatch(/warm-up stage took 2 steps and none/);
  });
});

describe("what counts as an update", () => {
  it("is a committed optimiser step with a gradient and a rate above 0", () => {
    const updates = [
      { applied: true, gradNorm: 0.5 },
      { applied: true, gradNorm: 0 },
      { applied: false, gradNorm: Number.NaN },
    ];
    expect([changesOf(updates, 1e-3), changesOf(updates, 0), changesOf([], 1)]).toEqual([1, 0, 0]);
  });

  it("is taken from trained rollouts where a checkpoint was written before updates were counted", () => {
    const { updates: _, warmupUpdates: __, ...old } = { ...freshProgress, step: 2, warmupStep: 4 };
    expect(restoredProgress(old, 12)).toMatchObject({ updates: 12, warmupUpdates: 4 });
    expect(nothingTrained(restoredProgress(old, 12), workload)).toBeNull();
    expect(nothingTrained(restoredProgress(old, 0), workload)?.code).toBe("WEIR_E_NOTHING_TRAINED");
    expect(restoredProgress({ ...freshProgress, updates: 3 }, 0).updates).toBe(3);
  });
});
