import { cp, mkdtemp, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { createTrainingSystem, type RunResult, type TrainingSystem } from "../../src/actors/run/training-system.js";
import { configOfRun } from "../../src/cli/commands/train.js";
import type { Config, ConfigInput } from "../../src/config/schema.js";
import type { Engine } from "../../src/contracts/engine.js";
import { startEngine } from "../../src/model/engine/host.js";
import { readFacts } from "../../src/store/journal.js";
import { readRunRecord } from "../../src/store/run-record.js";
import { OWN_FIXTURES } from "../helpers/fixtures.js";
import { comparableFacts, parityReward, tinyConfig } from "./tiny-run.js";

/** What a run does when it is resumed with other options, other files, or from the middle of its warm-up. */

const shaOf = (result: RunResult) => (result.report as { policy: { sha256: string } }).policy.sha256;
const system = (config: ConfigInput | Config, resume?: string): TrainingSystem =>
  createTrainingSystem(config, { actors: { reward: parityReward }, ...(resume ? { resume } : {}) });

/** Runs until a fact, then stops after the current step; resolves to the run folder. */
async function runUntil(config: ConfigInput, type: string, step: number): Promise<string> {
  const first = system(config);
  first.facts$.subscribe((fact) => {
    if (fact.type === type && fact.step === step) first.stop().catch(() => undefined);
  });
  await first.start();
  return (await first.done).runDirectory;
}

const changesOf = (run: string) =>
  [...readFacts(join(run, "journal.ndjson"))].filter(({ type }) => type === "config.changed").map(({ data }) => data);

async function sftFile(folder: string, answer = "Oslo"): Promise<string> {
  const path = join(folder, "sft.jsonl");
  const rows = Array.from({ length: 8 }, (_, i) => ({ prompt: `Where does Mira live? (${i})`, response: answer }));
  await writeFile(path, rows.map((row) => JSON.stringify(row)).join("\n"));
  return path;
}

describe("a run resumed with other options", () => {
  it("journals each with old and new value, writes config.json anew, and keeps both over a further rollback", async () => {
    const run = await runUntil(await tinyConfig({ checkpoint: { everySteps: 2 } }), "step.committed", 2);
    const changed = await configOfRun(run, ["optimiser.learningRate=0.002", "phases.1.steps=2"]);
    const expected = [
      {
        path: "phases",
        old: [
          { maxTokens: 70, steps: 3 },
          { maxTokens: 300, steps: 3 },
        ],
        new: [
          { maxTokens: 70, steps: 3 },
          { maxTokens: 300, steps: 2 },
        ],
      },
      { path: "optimiser.learningRate", old: 0.001, new: 0.002 },
    ];
    // Killed in spirit: aborted before the next checkpoint, so that the facts of the change are rolled back.
    const second = system(changed, run);
    second.facts$.subscribe((fact) => {
      if (fact.type === "step.committed") second.stop({ abort: true }).catch(() => undefined);
    });
    await second.start();
    await second.done;
    expect(changesOf(run)).toEqual(expected);
    const record = await readRunRecord(run);
    expect(record.config).toMatchObject({ optimiser: { learningRate: 0.002 } });
    expect(record.changes).toEqual(expected);

    const third = system(await configOfRun(run, []), run);
    await third.start();
    const { report } = await third.done;
    expect((report as { steps: { rl: number } }).steps.rl).toBe(5);
    expect(changesOf(run)).toEqual(expected);
  }, 240_000);

  it("is refused a change of what it rests on, and leaves the folder as it was", async () => {
    const run = await runUntil(await tinyConfig(), "step.committed", 1);
    const before = await readFile(join(run, "journal.ndjson"), "utf8");
    await expect(system(await configOfRun(run, ["run.seed=6"]), run).start()).rejects.toThrow(
      /WEIR_E_CONFIG.*run\.seed/,
    );
    await expect(system(await configOfRun(run, ["loss.klCoefficient=0.1"]), run).start()).rejects.toThrow(
      /WEIR_E_CONFIG.*loss\.klCoefficient.*began without one/,
    );
    const folder = await mkdtemp(join(tmpdir(), "weir-model-"));
    await cp(join(OWN_FIXTURES, "models", "tiny-qwen2"), folder, { recursive: true });
    // The same files elsewhere are the same model; another template is another tokenizer.
    const template = join(folder, "chat_template.jinja");
    await writeFile(template, `${await readFile(template, "utf8")} `);
    await expect(system(await configOfRun(run, [`model.path=${folder}`]), run).start()).rejects.toThrow(
      /WEIR_E_MODEL_FILES.*tokenizer/,
    );
    expect(await readFile(join(run, "journal.ndjson"), "utf8")).toBe(before);
    expect((await readRunRecord(run)).config).toMatchObject({ run: { seed: 5 } });
  }, 240_000);

  it("is refused other warm-up data", async () => {
    const folder = await mkdtemp(join(tmpdir(), "weir-run-"));
    const file = await sftFile(folder);
    const warmup = { data: [file], epochs: 1, batchRows: 4, learningRate: 1e-3 };
    const run = await runUntil(await tinyConfig({ warmup }, folder), "step.committed", 1);
    await sftFile(folder, "Rome");
    await expect(system(await configOfRun(run, []), run).start()).rejects.toThrow(/WEIR_E_DATA.*warm-up data/);
  }, 240_000);

  it("goes on where an earlier version made the folder: without digests, counts of changes or a manifest", async () => {
    const config = await tinyConfig({ loss: { monitorKl: true } });
    const whole = system(await tinyConfig({ loss: { monitorKl: true } }));
    await whole.start();
    const reference = await whole.done;
    const run = await runUntil(config, "step.committed", 3);
    const { model: _, changes: __, ...record } = await readRunRecord(run);
    const { fingerprint, files } = record.dataset as Record<string, never>;
    await writeFile(join(run, "config.json"), JSON.stringify({ ...record, dataset: { fingerprint, files } }));
    await rm(join(run, "reference", "manifest.json"));
    const again = system(await configOfRun(run, []), run);
    const remarks: unknown[] = [];
    again.facts$.subscribe((fact) => fact.type === "run.resumed" && remarks.push(fact.data.remarks));
    await again.start();
    expect(shaOf(await again.done)).toBe(shaOf(reference));
    expect(String(remarks)).toMatch(/reference\/ has no manifest/);
    expect((await readRunRecord(run)).model).toMatchObject({ tokenizer: expect.stringMatching(/^[0-9a-f]{64}$/) });
  }, 240_000);

  it("is refused a reference policy that is damaged", async () => {
    const run = await runUntil(await tinyConfig({ loss: { monitorKl: true } }), "step.committed", 1);
    await truncate(join(run, "reference", "model.safetensors"), 1_000);
    await expect(system(await configOfRun(run, []), run).start()).rejects.toThrow(
      /WEIR_E_CHECKPOINT_DAMAGED.*reference policy.*model\.safetensors has 1000 bytes/,
    );
  }, 240_000);
});

describe("a warm-up that is cut off", () => {
  it("goes on from its own checkpoint, with the same weights as an unbroken one", async () => {
    const warmed = async () => {
      const folder = await mkdtemp(join(tmpdir(), "weir-run-"));
      const warmup = { data: [await sftFile(folder)], epochs: 3, batchRows: 4, learningRate: 1e-3 };
      // Six warm-up steps; checkpoints after the second and fourth, and at the end.
      return tinyConfig(
        { warmup, phases: [{ maxTokens: 300, steps: 1 }], checkpoint: { warmupEverySteps: 2 } },
        folder,
      );
    };
    const whole = system(await warmed());
    await whole.start();
    const reference = await whole.done;

    const engines: Engine[] = [];
    let steps = 0;
    const broken = createTrainingSystem(await warmed(), {
      actors: {
        reward: parityReward,
        engine: async (modelDir, options) => {
          const engine = await startEngine({ modelDir, options });
          engines.push(engine);
          return engine;
        },
      },
    });
    broken.metrics$.subscribe(({ values }) => {
      if (values["loss/sft"] === undefined) return;
      steps++;
      if (steps === 5) process.kill(engines[0]?.info.pid as number, "SIGKILL");
    });
    await broken.start();
    const result = await broken.done;
    expect(engines).toHaveLength(2);
    // The fifth is done again, not all of them.
    expect(steps).toBe(7);
    expect(shaOf(result)).toBe(shaOf(reference));
    expect(await comparableFacts(result.runDirectory)).toEqual(await comparableFacts(reference.runDirectory));
  }, 240_000);

  it("keeps the newest of many checkpoints of one step, by growing numbers", async () => {
    const folder = await mkdtemp(join(tmpdir(), "weir-run-"));
    const warmup = { data: [await sftFile(folder)], epochs: 3, batchRows: 4, learningRate: 1e-3 };
    const config = await tinyConfig(
      { warmup, phases: [{ maxTokens: 300, steps: 0 }], checkpoint: { warmupEverySteps: 1, keep: 2 } },
      folder,
    );
    const run = system(config);
    await run.start();
    const { runDirectory } = await run.done;
    expect((await readdir(join(runDirectory, "checkpoints"))).sort()).toEqual(["step-00000.4", "step-00000.5"]);
  }, 240_000);
});
