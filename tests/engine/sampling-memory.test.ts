/** Memory of sampling: shares of the engine's budget, fewer prompts at a time where it is small, the same samples. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { planTable } from "../../src/model/decode/compiled-decoder.js";
import { planBatches } from "../../src/model/decode/sampler.js";
import { samplingMemory } from "../../src/model/decode/sampling-memory.js";
import { EngineCore } from "../../src/model/engine/core.js";
import type { ModelConfig } from "../../src/model/io/config.js";
import { standingBytes, trainingStateBytes } from "../../src/model/transformer/memory-plan.js";
import type { Transformer } from "../../src/model/transformer/model.js";
import { EAGER } from "../../src/model/transformer/runner.js";
import { FAST_BACKEND, writeRandomModel } from "../helpers/engines.js";

const GIB = 1024 ** 3;
// A token takes 2·4·32·8·128 = 262,144 bytes of keys and values, and 4·(4·8,192 + 6·4,096) = 229,376 of prefill.
const CONFIG = {
  vocabSize: 1000,
  hiddenSize: 4096,
  intermediateSize: 8192,
  layers: 32,
  heads: 32,
  kvHeads: 8,
  headDim: 128,
  tieWordEmbeddings: true,
  attentionBias: { q: false, k: false, v: false, o: false },
  mlpBias: false,
  qkNorm: false,
} as unknown as ModelConfig;

/** A model whose budget leaves `rest` bytes beside its state. */
const modelWith = (rest: number) =>
  ({
    config: CONFIG,
    runner: EAGER,
    memoryBudget: standingBytes(CONFIG, EAGER.form) + rest,
    trains: true,
  }) as unknown as Transformer;

describe("memory of sampling", () => {
  it("is bounded where there is plenty, and without a budget", () => {
    const plenty = { cacheBytes: 3 * GIB, prefillBytes: 0.75 * GIB };
    expect(samplingMemory(modelWith(7.5 * GIB), "eager")).toEqual(plenty);
    expect(samplingMemory(modelWith(Number.POSITIVE_INFINITY), "eager")).toEqual(plenty);
    expect(samplingMemory(modelWith(7.5 * GIB), "compiled")).toEqual({ ...plenty, prefillBytes: 0.5 * GIB });
  });

  it("is 0.4 and 0.2 of what a smaller budget leaves, and nothing where it leaves nothing", () => {
    const { cacheBytes, prefillBytes } = samplingMemory(modelWith(GIB), "compiled");
    expect(cacheBytes).toBeCloseTo(0.4 * GIB, 3);
    expect(prefillBytes).toBeCloseTo(0.2 * GIB, 3);
    expect(samplingMemory(modelWith(-GIB), "eager")).toEqual({ cacheBytes: 0, prefillBytes: 0 });
  });

  it("takes what moments and gradients would where nothing is trained", () => {
    const state = trainingStateBytes(CONFIG, EAGER.form);
    expect(state).toBeGreaterThan(GIB);
    const sampling = { ...modelWith(GIB - state), trains: false } as unknown as Transformer;
    expect(samplingMemory(sampling, "compiled").cacheBytes).toBeCloseTo(0.4 * GIB, 0);
    expect(samplingMemory(modelWith(GIB - state), "compiled").cacheBytes).toBe(0);
  });

  it("decides how many prompts are decoded together; one at least", () => {
    const prompts = Array.from({ length: 8 }, () => ({ promptIds: new Array<number>(512).fill(1), seeds: [1, 2] }));
    const entrants = prompts.map(({ promptIds }) => ({ promptIds, rows: [{}, {}] })) as unknown as Parameters<
      typeof planTable
    >[1];
    // A prompt of 512 tokens and two rows of 256 take 1,024 · 262,144 bytes = 0.25 GiB.
    const table = (rest: number) => planTable(modelWith(rest), entrants, 256);
    expect(table(20 * GIB).slots).toBe(8);
    expect(table(2 * GIB).slots).toBe(3);
    expect(table(-GIB)).toEqual({ slots: 1, prefill: 1 });
    // Of prefill they take 512 · 229,376 bytes = 0.109 GiB: six fit 0.75 GiB, three fit 0.4 GiB.
    const sizes = (rest: number) => planBatches(modelWith(rest), prompts, 256).map((batch) => batch.length);
    expect(sizes(20 * GIB)).toEqual([6, 2]);
    expect(sizes(2 * GIB)).toEqual([3, 3, 2]);
    expect(sizes(-GIB)).toEqual([1, 1, 1, 1, 1, 1, 1, 1]);
  });
});

describe("sampling under a small budget", () => {
  let folder: string;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "weir-sampling-memory-"));
    await writeRandomModel(folder);
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it.each(FAST_BACKEND === "tensorflow" ? (["eager", "compiled"] as const) : (["eager"] as const))(
    "draws the same sequences (%s)",
    async (executor) => {
      const prompts = [
        { promptIds: [5, 7, 11, 3], seeds: [1, 2] },
        { promptIds: [4, 9], seeds: [3] },
        { promptIds: [8, 20, 21, 22, 23, 24], seeds: [4, 5] },
      ];
      const params = { temperature: 1, topP: 1, topK: 0, maxTokens: 12, stopIds: [2] };
      const draw = async (memoryGiB: number) => {
        const core = await EngineCore.open(folder, { backend: FAST_BACKEND, threads: 0, executor, memoryGiB });
        try {
          const { sequences } = await core.sample(
            { prompts, params, policy: null, forTraining: false },
            new AbortController().signal,
          );
          return sequences.map((group) => group.map(({ tokenIds }) => tokenIds));
        } finally {
          core.dispose();
        }
      };
      // 0.3 GiB is less than the program itself takes, so that prompts are drawn one by one.
      expect(await draw(0.3)).toEqual(await draw(8));
    },
  );
});
