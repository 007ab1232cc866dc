/** Completions in the activation cache: training on them must be as if they had been run forward. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { uniform } from "../../src/algorithms/random.js";
import type { EnginePrecision } from "../../src/contracts/engine.js";
import type { PolicyBatch, TrainGroup } from "../../src/contracts/trainer.js";
import { openBackend } from "../../src/model/engine/backend.js";
import { EngineCore, type SampleInput } from "../../src/model/engine/core.js";
import type { CoreOptions } from "../../src/model/engine/executor.js";
import { loadKernels, locateNative } from "../../src/model/tensor/native/index.js";
import { tf } from "../../src/model/tensor/tf.js";
import { loadActivations } from "../../src/model/transformer/fused-kernels.js";
import { Transformer } from "../../src/model/transformer/model.js";
import { MODEL_KINDS, TEST_LOSS, TEST_OPTIMISER, TINY_CONFIG, writeRandomModel } from "../helpers/engines.js";

const usable = locateNative().found && (await openBackend("auto", 0)).backend === "tensorflow" && loadKernels().loaded;
if (!usable) process.stdout.write(`activation cache: left out, ${loadKernels().reason}\n`);

const { signal } = new AbortController();
const LOSS = { ...TEST_LOSS, entropyCoefficient: 0.05, temperature: 0.8 };
const STILL = { ...TEST_OPTIMISER, learningRate: 0, weightDecay: 0, maxGradNorm: null };

/** Memory, GiB, that leaves room for some calls of a table of 32 rows. */
const ROOM_FOR_SOME = 0.42;
const TWO_OF_SIXTEEN = [
  [20, 16],
  [21, 16],
] as const;

const idsOf = (key: number, length: number): number[] =>
  Array.from({ length }, (_, i) => 3 + Math.floor(uniform(key, i) * (TINY_CONFIG.vocab_size - 3)));

interface Sizes {
  /** Tokens of each prompt, and its sequences. */
  readonly prompts: readonly (readonly [length: number, sequences: number])[];
  readonly maxTokens: number;
  readonly stopIds: readonly number[];
}

const requestOf = ({ prompts, maxTokens, stopIds }: Sizes, forTraining: boolean): SampleInput => ({
  prompts: prompts.map(([length, sequences], p) => ({
    promptIds: idsOf(p + 1, length),
    seeds: Array.from({ length: sequences }, (_, g) => 100 * p + g),
  })),
  params: { temperature: 0.8, topP: 1, topK: 0, maxTokens, stopIds },
  policy: null,
  forTraining,
});

describe.skipIf(!usable)("cached completions", () => {
  let folder: string;
  let core: EngineCore;
  const forward = () => vi.spyOn(Transformer.prototype, "forwardRows");
  const open = async (
    changes: Readonly<Record<string, unknown>>,
    precision: EnginePrecision,
    more: Partial<CoreOptions> = {},
  ) => {
    const set = { backend: "tensorflow", threads: 0, executor: "compiled", memoryGiB: 2 } as const;
    const options = { ...set, precision, ...more };
    // bfloat16 stays near only where activations keep an ordinary size.
    core = await EngineCore.open(await writeRandomModel(folder, changes, precision === "float32" ? 0.3 : 0.1), options);
  };
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "weir-rows-"));
  });
  afterEach(async () => {
    vi.restoreAllMocks();
    core.dispose();
    await rm(folder, { recursive: true });
  });

  /** Draws, and makes a batch of what was drawn; old log-probs are the sampler's. */
  async function draw(sizes: Sizes, cached: boolean): Promise<TrainGroup[]> {
    const request = requestOf(sizes, cached);
    const { sequences } = await core.sample(request, signal);
    return request.prompts.map(({ promptIds }, p) => ({
      promptIds,
      completions: (sequences[p] ?? []).map(({ tokenIds, logprobs }, g) => ({
        tokenIds,
        advantages: tokenIds.map(() => uniform(p, g) - 0.5),
        oldLogprobs: logprobs,
        refLogprobs: null,
      })),
    }));
  }

  function batchOf(groups: readonly TrainGroup[], microBatchTokens: number): PolicyBatch {
    const lengths = groups.flatMap(({ completions }) => completions.map(({ tokenIds }) => tokenIds.length));
    const tokens = lengths.reduce((sum, length) => sum + length, 0);
    return {
      groups,
      loss: LOSS,
      denominators: { tokens, sequences: lengths.length },
      microBatchTokens,
      oldPolicy: null,
    };
  }

  /** Metrics and gradient norms by tensor; leaves no gradient behind. */
  async function train(groups: readonly TrainGroup[], microBatchTokens: number) {
    const metrics = await core.forwardBackward(batchOf(groups, microBatchTokens), signal);
    return { metrics, norms: core.optimStep(STILL, true).gradNormByTensor as Readonly<Record<string, number>> };
  }

  function expectSame(a: Awaited<ReturnType<typeof train>>, b: Awaited<ReturnType<typeof train>>, tolerance: number) {
    expect(Math.abs(a.metrics.loss - b.metrics.loss)).toBeLessThanOrEqual(tolerance);
    expect(Math.abs(a.metrics.entropy! - b.metrics.entropy!)).toBeLessThanOrEqual(tolerance * b.metrics.entropy!);
    const rows = b.metrics.logprobs.flat(2);
    a.metrics.logprobs.flat(2).forEach((value, index) => {
      expect(Math.abs(value - (rows[index] as number))).toBeLessThanOrEqual(20 * tolerance);
    });
    const whole = Math.hypot(...Object.values(b.norms));
    for (const [name, norm] of Object.entries(b.norms)) {
      const gap = Math.abs((a.norms[name] as number) - norm);
      expect(gap, name).toBeLessThanOrEqual(20 * tolerance * norm + tolerance * whole);
    }
  }

  /** One table after another, ends at many lengths, several calls a row, one sequence alone. */
  const MIXED: Sizes = {
    prompts: [
      [9, 4],
      [40, 3],
      [25, 1],
      [12, 4],
    ],
    maxTokens: 37,
    stopIds: [5, 11, 17],
  };

  it.each(MODEL_KINDS)("give the loss and gradients of a forward pass, and need none, in %s", async (_, changes) => {
    await open(changes, "float32");
    const fresh = await train(await draw(MIXED, false), 4096);
    const groups = await draw(MIXED, true);
    const lengths = groups.flatMap(({ completions }) => completions.map(({ tokenIds }) => tokenIds.length));
    expect(new Set(lengths).size).toBeGreaterThan(3);
    const runs = forward();
    const kept = await train(groups, 4096);
    expect(runs).not.toHaveBeenCalled();
    expectSame(kept, fresh, 1e-5);
  });

  it("stay near a forward pass's gradients in bfloat16", async () => {
    await open({ hidden_size: 64, num_attention_heads: 4, intermediate_size: 96 }, "bfloat16");
    const fresh = await train(await draw(MIXED, false), 4096);
    expectSame(await train(await draw(MIXED, true), 4096), fresh, 2e-3);
  });

  it("give the gradients of adapters", async () => {
    await open({}, "float32", { lora: { rank: 4, alpha: 8, targets: ["q_proj", "up_proj", "down_proj"], seed: 7 } });
    const fresh = await train(await draw(MIXED, false), 4096);
    const runs = forward();
    expectSame(await train(await draw(MIXED, true), 4096), fresh, 1e-5);
    expect(runs).not.toHaveBeenCalled();
    expect(Object.keys(fresh.norms).some((name) => name.endsWith("lora_B.weight"))).toBe(true);
  });

  it("serve each of several that are equal", async () => {
    await open({}, "float32");
    const sizes: Sizes = { prompts: [[14, 12]], maxTokens: 1, stopIds: [] };
    const fresh = await train(await draw(sizes, false), 4096);
    const runs = forward();
    expectSame(await train(await draw(sizes, true), 24), fresh, 1e-5);
    expect(runs).not.toHaveBeenCalled();
  });

  it("serve a batch of several micro-batches, each with its own part, and are freed with the last", async () => {
    await open({}, "float32");
    const sizes: Sizes = {
      prompts: [
        [600, 4],
        [40, 3],
      ],
      maxTokens: 20,
      stopIds: [],
    };
    const fresh = await train(await draw(sizes, false), 4096);
    await train(await draw(sizes, true), 48);
    const before = tf.memory().numTensors;
    const groups = await draw(sizes, true);
    const runs = forward();
    const kept = await train(groups, 48);
    expect(kept.metrics.microBatches).toBeGreaterThan(3);
    expect(runs).not.toHaveBeenCalled();
    expectSame(kept, fresh, 1e-5);
    expect(tf.memory().numTensors).toBe(before);
  });

  it("are run forward where one of the micro-batch was not cached, or the weights changed since", async () => {
    await open({}, "float32");
    const sizes: Sizes = { prompts: [[20, 2]], maxTokens: 6, stopIds: [] };
    const [group] = await draw(sizes, true);
    const other = { ...(group as TrainGroup).completions[0], tokenIds: [3, 4, 5, 6, 7, 8] };
    const mixed = { ...(group as TrainGroup), completions: [...(group as TrainGroup).completions, other] };
    const runs = forward();
    await core.forwardBackward(batchOf([mixed as TrainGroup], 4096), signal);
    expect(runs.mock.calls.map(([segment]) => segment.group)).toEqual([3]);
    core.optimStep({ ...TEST_OPTIMISER, learningRate: 0.01 }, false);
    runs.mockClear();
    await train([group as TrainGroup], 4096);
    expect(runs.mock.calls.map(([segment]) => segment.group)).toEqual([2]);
  });

  it("are given up while drawing where the memory has no room, and nothing is left behind", async () => {
    await open({}, "float32", { memoryGiB: ROOM_FOR_SOME });
    const long: Sizes = { prompts: TWO_OF_SIXTEEN, maxTokens: 220, stopIds: [5] };
    await train(await draw(long, false), 8192);
    const before = tf.memory().numTensors;
    const groups = await draw(long, true);
    const runs = forward();
    await train(groups, 8192);
    expect(runs.mock.calls.some(([segment]) => segment.group > 1)).toBe(true);
    expect(tf.memory().numTensors).toBe(before);
  });

  it("are freed where sampling is aborted", async () => {
    await open({}, "float32");
    const long: Sizes = { prompts: [[20, 4]], maxTokens: 200, stopIds: [] };
    await draw({ ...long, maxTokens: 40 }, false);
    const before = tf.memory().numTensors;
    const aborting = new AbortController();
    const running = core.sample(requestOf(long, true), aborting.signal);
    setTimeout(() => aborting.abort(), 30);
    await expect(running).rejects.toThrow("WEIR_E_ENGINE_ABORTED");
    expect(tf.memory().numTensors).toBe(before);
  });

  it("come together from blocks of any height, and what is not in them is refused", async () => {
    await open({}, "float32");
    const block = (rounds: number, rows: number, from: number) =>
      tf.tensor3d(
        Float32Array.from({ length: rounds * rows * 5 }, (_, i) => from + i),
        [rounds, rows, 5],
      );
    const take = (index: readonly number[], from: number, width: number) => {
      const blocks = [block(2, 3, 0), block(4, 1, 100)];
      return [...loadActivations(tf.tensor1d([...index], "int32"), blocks, from, width).dataSync<"float32">()];
    };
    expect(take([5, 6, 0, 9], 1, 2)).toEqual([26, 27, 101, 102, 1, 2, 116, 117]);
    expect(() => take([10], 0, 5)).toThrow(/row 10 of 10/);
    expect(() => take([-1], 0, 5)).toThrow(/row -1 of 10/);
    expect(() => take([0], 4, 2)).toThrow(/columns beyond/);
  });
});
