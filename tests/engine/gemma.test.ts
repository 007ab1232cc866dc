/** A family whose norms, activation and embedding differ: the whole way from a folder to a sample, a saved folder and back. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { EngineCore } from "../../src/model/engine/core.js";
import type { CoreOptions } from "../../src/model/engine/executor.js";
import { loadKernels } from "../../src/model/tensor/native/index.js";
import { FAST_BACKEND } from "../helpers/engines.js";
import { OWN_FIXTURES } from "../helpers/fixtures.js";

const { signal } = new AbortController();
const FOLDER = join(OWN_FIXTURES, "architectures", "gemma");
const EXECUTORS = FAST_BACKEND === "tensorflow" ? (["eager", "compiled"] as const) : (["eager"] as const);

describe.each(EXECUTORS)("a Gemma, %s", (executor) => {
  const options: CoreOptions = { backend: FAST_BACKEND, threads: 0, executor };
  let saved: string;
  beforeAll(async () => {
    saved = await mkdtemp(join(tmpdir(), "weir-gemma-"));
  });
  afterAll(() => rm(saved, { recursive: true }));

  it("samples with the log-probs that scoring gives", async () => {
    const core = await EngineCore.open(FOLDER, options);
    const promptIds = [5, 17, 40, 8, 33];
    const params = { temperature: 0.8, topP: 1, topK: 0, maxTokens: 24, stopIds: [2] };
    const { sequences } = await core.sample(
      { prompts: [{ promptIds, seeds: [1, 2, 3, 4] }], params, policy: null, forTraining: false },
      signal,
    );
    const completions = sequences[0]!.map(({ tokenIds }) => tokenIds);
    expect(new Set(completions.map(String)).size).toBe(4);
    const groups = [{ promptIds, completions }];
    const scored = await core.logprobs({ groups, temperature: 0.8, which: "policy", microBatchTokens: 4096 }, signal);
    sequences[0]!.forEach(({ logprobs, entropies }, g) => {
      logprobs.forEach((value, t) => {
        expect(Math.abs(value - scored.logprobs[0]![g]![t]!)).toBeLessThanOrEqual(1e-4);
        expect(Math.abs(entropies![t]! - scored.entropies![0]![g]![t]!)).toBeLessThanOrEqual(1e-4);
      });
    });
    core.dispose();
  });

  it("is saved and opened again with equal weights and log-probs", async () => {
    const core = await EngineCore.open(FOLDER, options);
    const ids = [[7, 3, 50, 21, 64, 12]];
    const before = await core.scoreSequences(ids, signal);
    const { sha256 } = (await core.publish("checkpoint", saved)).version;
    core.dispose();
    const again = await EngineCore.open(saved, options);
    expect(again.modelInfo.family).toBe("gemma");
    expect(again.version().sha256).toBe(sha256);
    expect(await again.scoreSequences(ids, signal)).toEqual(before);
    again.dispose();
    const config = (folder: string) => readFile(join(folder, "config.json"), "utf8").then(JSON.parse);
    expect(await config(saved)).toEqual(await config(FOLDER));
  });

  it.runIf(executor === "compiled")("says that its activation has no kernel, where there are kernels", async () => {
    const core = await EngineCore.open(FOLDER, options);
    const { executorReason } = core.info;
    expect(executorReason.endsWith("; gelu_tanh in TensorFlow's own operations")).toBe(loadKernels().loaded);
    core.dispose();
  });
});
