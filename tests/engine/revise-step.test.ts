/** An optimiser step that is taken back: every bit of weights, moments and counters is as before, with and without adapters. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { LoraOptions } from "../../src/contracts/engine.js";
import type { PolicyBatch } from "../../src/contracts/trainer.js";
import { EngineCore } from "../../src/model/engine/core.js";
import type { CoreOptions } from "../../src/model/engine/executor.js";
import { readModelConfig } from "../../src/model/io/config.js";
import { readSafetensors } from "../../src/model/io/safetensors.js";
import { readTensors } from "../../src/model/io/tensors.js";
import { FAST_BACKEND, TEST_LOSS, TEST_OPTIMISER, writeRandomModel } from "../helpers/engines.js";
import { randomGroups } from "../helpers/random-groups.js";

const { signal } = new AbortController();
const OPTIMISER = { ...TEST_OPTIMISER, learningRate: 0.01, weightDecay: 0.1 };
const LORA: LoraOptions = { rank: 3, alpha: 6, targets: ["q_proj", "down_proj"], seed: 5 };
const EXECUTORS: readonly CoreOptions[] = [
  { backend: FAST_BACKEND, threads: 0, executor: "eager" },
  ...(FAST_BACKEND === "tensorflow"
    ? [{ backend: FAST_BACKEND, threads: 0, executor: "compiled" as const, memoryGiB: 64 }]
    : []),
];
const CASES = EXECUTORS.flatMap((options) => [
  [`${options.executor}, all weights`, { ...options, lora: null }] as const,
  [`${options.executor}, adapters`, { ...options, lora: LORA }] as const,
]);

const batch = (seed: number): PolicyBatch => ({
  groups: randomGroups(seed, [
    [20, [7, 3]],
    [1, [4]],
  ]),
  loss: TEST_LOSS,
  denominators: { tokens: 14, sequences: 3 },
  microBatchTokens: 4096,
  oldPolicy: null,
});

describe.each(CASES)("a revisable step, %s", (_, options) => {
  let folder: string;
  let core: EngineCore;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "weir-revise-"));
    core = await EngineCore.open(await writeRandomModel(join(folder, "start")), options);
  });
  afterAll(async () => {
    core.dispose();
    await rm(folder, { recursive: true });
  });

  const step = async (seed: number, revisable: boolean) => {
    await core.forwardBackward(batch(seed), signal);
    return core.optimStep(OPTIMISER, false, revisable);
  };
  /** All that a checkpoint holds, byte by byte. */
  const state = async (name: string) => {
    const at = join(folder, name);
    await core.saveState(at);
    const files = ["model.safetensors", "optimizer.safetensors", "engine-state.json"];
    const adapter = options.lora === null ? [] : ["adapter/adapter_model.safetensors"];
    return Promise.all([...files, ...adapter].map(async (file) => (await readFile(join(at, file))).toString("base64")));
  };
  /** The tensors that the optimiser moves. */
  const weights = async (name: string) => {
    const at = join(folder, name);
    await core.saveState(at);
    const source =
      options.lora === null
        ? await readTensors(at, await readModelConfig(at))
        : await readSafetensors(join(at, "adapter", "adapter_model.safetensors"));
    return new Map(source.names().map((tensor) => [tensor, source.read(tensor)]));
  };

  it("is undone bit for bit, be it the first one or a later one, and leaks nothing", async () => {
    const fresh = await state("fresh");
    await step(1, true);
    core.reviseStep(0);
    expect(await state("fresh-again")).toEqual(fresh);
    await step(1, false);
    await step(2, false);
    const before = await state("before");
    const { tensors } = core.stats();
    for (const seed of [3, 4]) {
      await step(seed, true);
      const { groups } = batch(seed);
      const asked = groups.map(({ promptIds, completions }) => ({
        promptIds,
        completions: completions.map(({ tokenIds }) => tokenIds),
      }));
      await core.logprobs({ groups: asked, temperature: 1, which: "policy", microBatchTokens: 4096 }, signal);
      core.reviseStep(0);
    }
    expect(await state("undone")).toEqual(before);
    expect(core.stats().tensors).toBe(tensors);
    // What follows is what would have followed without the steps that were undone.
    await step(5, false);
    const after = await state("after");
    await core.loadState(join(folder, "before"));
    await step(5, false);
    expect(await state("after-again")).toEqual(after);
  });

  it("leaves the share of the weights' change that is asked for, and the moments of the whole step", async () => {
    await step(6, false);
    const before = await weights("whole-before");
    await step(7, true);
    const whole = await weights("whole");
    await core.loadState(join(folder, "whole-before"));
    await step(7, true);
    core.reviseStep(0.25);
    const shrunk = await weights("shrunk");
    let moved = 0;
    for (const [name, values] of shrunk) {
      const [from, to] = [before.get(name), whole.get(name)] as [Float32Array, Float32Array];
      values.forEach((value, i) => {
        const change = (to[i] as number) - (from[i] as number);
        expect(Math.abs(value - ((from[i] as number) + 0.25 * change))).toBeLessThan(1e-6);
        moved += Math.abs(change);
      });
    }
    expect(moved).toBeGreaterThan(0.1);
    const moments = (name: string) => readFile(join(folder, name, "optimizer.safetensors"));
    expect(await moments("shrunk")).toEqual(await moments("whole"));
  });

  it("is settled by whatever names or writes its weights, and by the next step", async () => {
    const refused = /WEIR_E_STATE: reviseStep needs an optimStep with revisable: true/;
    expect(() => core.reviseStep(0)).toThrow(refused);
    await step(8, false);
    expect(() => core.reviseStep(0)).toThrow(refused);
    await step(8, true);
    await core.publish("handle", null);
    expect(() => core.reviseStep(0)).toThrow(refused);
    await step(8, true);
    expect(() => core.reviseStep(1.5)).toThrow(/WEIR_E_USAGE: reviseStep: expected a share in \[0, 1\], got 1.5/);
    core.reviseStep(1);
    expect(() => core.reviseStep(1)).toThrow(refused);
  });
});
