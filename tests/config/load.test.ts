import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { editDistance, loadConfig, nearest, parseConfig } from "../../src/config/load.js";

const minimal = { model: { path: "m" }, data: { train: ["t.parquet"] } };

describe("a configuration", () => {
  it("takes the paper's settings where nothing is said", () => {
    const config = parseConfig(minimal);
    // QwenLong-L1 §3.2: 20K and 60K, 128 prompts, G 8, mini-batch 32, T 0.7, top-p 0.95, lr 2e-6, 10K output tokens.
    expect(config.phases.map((phase) => phase.maxTokens)).toEqual([20_000, 60_000]);
    expect(config.rollout).toMatchObject({
      promptsPerStep: 128,
      groupSize: 8,
      temperature: 0.7,
      topP: 0.95,
      maxTokens: 10_000,
    });
    expect(config.update.miniBatchPrompts).toBe(32);
    expect(config.optimiser.learningRate).toBe(2e-6);
    expect(config.loss).toMatchObject({ algorithm: "dapo", clipLow: null, clipHigh: null, klCoefficient: 0 });
    expect(config.curriculum.retrospective.mode).toBe("paper");
  });

  it("lays a preset below the options given", () => {
    const config = parseConfig({ ...minimal, preset: "released", loss: { clipHigh: 0.3 } });
    expect(config.reward).toMatchObject({ mode: "released", overlong: { bufferTokens: 1000 } });
    expect(config.loss).toMatchObject({ clipHigh: 0.3, entropyCoefficient: 0.001 });
  });

  it.each([
    [
      "an unknown option",
      { ...minimal, rollout: { groupsize: 4 } },
      /unknown option "rollout\.groupsize"; did you mean "rollout\.groupSize"/,
    ],
    ["an unknown section", { ...minimal, optimizer: {} }, /unknown option "optimizer"; did you mean "optimiser"/],
    ["a wrong type", { ...minimal, run: { seed: "one" } }, /option "run\.seed": .*got "one"/],
    ["a wrong choice", { ...minimal, loss: { klEstimator: "k33" } }, /option "loss\.klEstimator".*did you mean "k3"/],
    ["a value out of bounds", { ...minimal, loss: { clipLow: 1.5 } }, /option "loss\.clipLow".*got 1\.5/],
    ["a missing option", { data: { train: ["a"] } }, /option "model".*got nothing/],
    [
      "an option unknown within a list",
      { ...minimal, phases: [{ maxTokens: 10, step: 3 }] },
      /unknown option "phases\.0\.step"; did you mean "phases\.0\.steps"/,
    ],
    [
      "phases that do not grow",
      {
        ...minimal,
        phases: [
          { maxTokens: 10, steps: 1 },
          { maxTokens: 10, steps: 1 },
        ],
      },
      /must grow/,
    ],
    [
      "phases with and without steps",
      {
        ...minimal,
        phases: [
          { maxTokens: 10, steps: 1 },
          { maxTokens: 20, steps: 0 },
        ],
      },
      /0 in every phase/,
    ],
    ["an unknown preset", { ...minimal, preset: "papr" }, /preset.*papr/],
    [
      "an overlong buffer longer than a response",
      { ...minimal, rollout: { maxTokens: 8 }, reward: { overlong: { bufferTokens: 9 } } },
      /bufferTokens/,
    ],
    ["no mapping at all", 7, /WEIR_E_CONFIG/],
  ])("is refused with its path, value and nearest option: %s", (_, input, message) => {
    expect(() => parseConfig(input)).toThrow(message);
    expect(() => parseConfig(input)).toThrow(/WEIR_E_CONFIG/);
  });

  it("is read from YAML with overrides; paths are relative to the file", async () => {
    const folder = await mkdtemp(join(tmpdir(), "weir-config-"));
    const file = join(folder, "run.yaml");
    await writeFile(
      file,
      "model: { path: models/a }\ndata: { train: [t.jsonl] }\nphases:\n  - { maxTokens: 9, steps: 1 }\n",
    );
    const config = await loadConfig(file, [
      "rollout.groupSize=4",
      "phases.0.steps=3",
      "loss.dualClip=3",
      "engine.backend=cpu",
    ]);
    expect(config.model.path).toBe(join(folder, "models/a"));
    expect(config.data.train).toEqual([join(folder, "t.jsonl")]);
    expect(config.rollout.groupSize).toBe(4);
    expect(config.phases).toEqual([{ maxTokens: 9, steps: 3 }]);
    expect(config.loss.dualClip).toBe(3);
    await expect(loadConfig(join(folder, "none.yaml"))).rejects.toThrow(/WEIR_E_FILE_MISSING/);
    await expect(loadConfig(file, ["rollout.groupSize"])).rejects.toThrow(/WEIR_E_USAGE/);
  });

  it("suggests by edit distance", () => {
    // kitten → sitting: substitute k, substitute e, insert g.
    expect(editDistance("kitten", "sitting")).toBe(3);
    expect(nearest("learningrate", ["learningRate", "epsilon"])).toBe("learningRate");
    expect(nearest("zzz", ["learningRate"])).toBeNull();
  });
});
