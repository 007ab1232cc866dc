import { describe, expect, it } from "vitest";
import {
  assertMayChange,
  assertSameSources,
  configChanges,
  type ResumePoint,
  type RunSources,
} from "../../src/actors/run/resume-check.js";
import { parseConfig } from "../../src/config/load.js";
import type { ConfigInput } from "../../src/config/schema.js";

const base: ConfigInput = {
  model: { path: "m" },
  data: { train: ["t.jsonl"] },
  phases: [
    { maxTokens: 10, steps: 3 },
    { maxTokens: 20, steps: 3 },
    { maxTokens: 30, steps: 3 },
  ],
};

/** Errors, or the paths that changed. */
function resume(over: Partial<ConfigInput>, point: ResumePoint | null): string[] {
  const [old, now] = [parseConfig(base), parseConfig({ ...base, ...over })];
  const changes = configChanges(old, now);
  assertMayChange(changes, old, now, point);
  return changes.map(({ path }) => path);
}

/** In the second phase of three, after a warm-up of 4 steps. */
const training: ResumePoint = { progress: { warmupStep: 4, step: 4, trainingDone: false }, warmupSteps: 4, phase: 2 };
const warming: ResumePoint = { progress: { warmupStep: 2, step: 0, trainingDone: false }, warmupSteps: 4, phase: 1 };
const finished: ResumePoint = { ...training, progress: { warmupStep: 4, step: 9, trainingDone: true }, phase: 3 };

const phases = (...bounds: readonly (readonly [number, number])[]) => ({
  phases: bounds.map(([maxTokens, steps]) => ({ maxTokens, steps })),
});

describe("options of a resumed run", () => {
  it("are compared leaf by leaf, with old and new value", () => {
    const old = parseConfig(base);
    const now = parseConfig({
      ...base,
      optimiser: { learningRate: 1e-4 },
      monitor: { port: 80 },
      model: { path: "n" },
    });
    expect(configChanges(old, now)).toEqual([
      { path: "model.path", old: "m", new: "n" },
      { path: "optimiser.learningRate", old: 2e-6, new: 1e-4 },
      { path: "monitor.port", old: 0, new: 80 },
    ]);
    expect(configChanges(old, old)).toEqual([]);
  });

  it.each<[string, Partial<ConfigInput>, ResumePoint | null]>([
    ["run.seed", { run: { seed: 2 } }, null],
    ["run.id", { run: { id: "other" } }, training],
    ["model.lora", { model: { path: "m", lora: { rank: 4 } } }, training],
    ["data.format", { data: { train: ["t.jsonl"], format: "verl" } }, null],
    ["data.overlong", { data: { train: ["t.jsonl"], overlong: "drop" } }, warming],
    ["warmup.batchRows", { warmup: { batchRows: 7 } }, warming],
    ["warmup.epochs", { warmup: { epochs: 7 } }, training],
    ["warmup.learningRate", { warmup: { learningRate: 1e-3 } }, training],
    ["loss.monitorKl", { loss: { monitorKl: true } }, training],
    ["curriculum.actor", { curriculum: { actor: "mine" } }, training],
  ])("that may not change are refused with values and remedy: %s", (path, over, point) => {
    expect(() => resume(over, point)).toThrow(
      new RegExp(
        `WEIR_E_CONFIG: option "${path}" cannot change.*was .*, got .*resume without it, or start a new run`,
        "s",
      ),
    );
  });

  it.each<[string, ReturnType<typeof phases>, ResumePoint, RegExp]>([
    ["steps of a phase that is over", phases([10, 4], [20, 3], [30, 3]), training, /phase 1 is over/],
    ["the bound of a phase that is over", phases([9, 3], [20, 3], [30, 3]), training, /phase 1 has begun/],
    ["the bound of the running phase", phases([10, 3], [21, 3], [30, 3]), training, /phase 2 has begun/],
    ["the running phase left out", phases([10, 3]), training, /phase 2 has begun/],
    ["more steps after the end", phases([10, 3], [20, 3], [30, 9]), finished, /RL stage of this run is over/],
    [
      "a phase more after the end",
      phases([10, 3], [20, 3], [30, 3], [40, 1]),
      finished,
      /RL stage of this run is over/,
    ],
  ])("that lie behind the run are refused: %s", (_, over, point, reason) => {
    expect(() => resume(over, point)).toThrow(reason);
  });

  it.each<[string, Partial<ConfigInput>, ResumePoint | null]>([
    ["optimiser.learningRate", { optimiser: { learningRate: 1e-4 } }, training],
    ["warmup.learningRate", { warmup: { learningRate: 1e-3 } }, warming],
    ["warmup.batchRows", { warmup: { batchRows: 7 } }, null],
    ["loss.klCoefficient", { loss: { klCoefficient: 0.1 } }, warming],
    ["rollout.temperature", { rollout: { temperature: 1 } }, training],
    ["engine.backend", { engine: { backend: "cpu" } }, training],
    ["phases", phases([10, 3], [20, 9], [30, 3]), training],
    ["phases", phases([10, 3], [20, 3], [35, 1], [40, 2]), training],
    ["phases", phases([10, 3], [20, 3]), training],
    ["phases", phases([5, 3], [20, 3]), warming],
    ["checkpoint.keep", { checkpoint: { keep: 5 } }, finished],
  ])("that lie ahead of it may change: %s", (path, over, point) => {
    expect(resume(over, point)).toEqual([path]);
  });

  it("names every option that may not change at once", () => {
    expect(() => resume({ run: { seed: 9, id: "x" } }, training)).toThrow(/run\.id.*run\.seed.*resume without them/s);
  });
});

const sources: RunSources = {
  dataset: { fingerprint: "f1", train: "t1", heldout: "h1", warmup: "w1", files: ["a"] },
  model: { weights: "m1", config: "c1", tokenizer: "k1" },
};

describe("sources of a resumed run", () => {
  it.each<[keyof RunSources, string, string, RegExp]>([
    ["model", "weights", "WEIR_E_MODEL_FILES", /model's weights.*restore what model\.path named/],
    ["model", "config", "WEIR_E_MODEL_FILES", /config\.json/],
    ["model", "tokenizer", "WEIR_E_MODEL_FILES", /tokenizer/],
    ["dataset", "train", "WEIR_E_DATA", /training tasks.*data\.train/],
    ["dataset", "heldout", "WEIR_E_DATA", /held-out tasks.*data\.heldout/],
    ["dataset", "warmup", "WEIR_E_DATA", /warm-up data.*warmup\.data/],
  ])("are those it began with, else it is refused: %s %s", (section, key, code, message) => {
    const now = { ...sources, [section]: { ...sources[section], [key]: "other" } } as RunSources;
    let error: unknown;
    try {
      assertSameSources("runs/a", { dataset: { ...sources.dataset }, model: { ...sources.model } }, now);
    } catch (caught) {
      error = caught;
    }
    expect(error).toMatchObject({ code, message: expect.stringMatching(message) });
  });

  it("of a run of an earlier version are what it kept: one fingerprint of all tasks", () => {
    const known = { dataset: { fingerprint: "f1", files: ["a"] }, model: null };
    expect(() => assertSameSources("r", known, sources)).not.toThrow();
    const other = { ...sources, dataset: { ...sources.dataset, fingerprint: "f2" } };
    expect(() => assertSameSources("r", known, other)).toThrow(/WEIR_E_DATA.*data set/);
  });

  it("that an engine takes no digest of are passed over", () => {
    const known = { dataset: { ...sources.dataset }, model: { ...sources.model } };
    expect(() => assertSameSources("r", known, { ...sources, model: { ...sources.model, weights: "" } })).not.toThrow();
  });
});
