/** The two executors beside each other on one model: equal losses and gradients, and what is asked for is what is had. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { PolicyBatch } from "../../src/contracts/trainer.js";
import { EngineCore } from "../../src/model/engine/core.js";
import type { CoreOptions } from "../../src/model/engine/executor.js";
import { FAST_BACKEND, MODEL_KINDS, TEST_LOSS, TEST_OPTIMISER, writeRandomModel } from "../helpers/engines.js";
import { randomGroups } from "../helpers/random-groups.js";

const { signal } = new AbortController();

function batch(microBatchTokens: number): PolicyBatch {
  const groups = randomGroups(7, [
    [70, [9, 30, 1]],
    [33, [12, 5]],
    [1, [4]],
  ]);
  const loss = { ...TEST_LOSS, klCoefficient: 0.1, klClamp: 10, entropyCoefficient: 0.02, temperature: 0.9 };
  return { groups, loss, denominators: { tokens: 61, sequences: 6 }, microBatchTokens, oldPolicy: null };
}

describe.runIf(FAST_BACKEND === "tensorflow")("compiled against eager", () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "weir-executors-"));
  });
  afterAll(() => rm(folder, { recursive: true }));

  async function step(model: string, options: Partial<CoreOptions>, microBatchTokens = 4096) {
    const core = await EngineCore.open(model, { backend: "tensorflow", threads: 0, ...options });
    try {
      const metrics = await core.forwardBackward(batch(microBatchTokens), signal);
      const { gradNorm, gradNormByTensor } = core.optimStep(TEST_OPTIMISER, true);
      const after = await core.forwardBackward(batch(microBatchTokens), signal);
      return { loss: metrics.loss, after: after.loss, gradNorm, norms: gradNormByTensor ?? {}, metrics };
    } finally {
      core.dispose();
    }
  }

  it.each(MODEL_KINDS)(
    "gives the loss to 1e-5 and each tensor's gradient norm to 1e-4 for %s",
    async (name, changes) => {
      const model = await writeRandomModel(join(folder, name.replaceAll(" ", "-")), changes, 0.15);
      const eager = await step(model, { executor: "eager" });
      for (const options of [
        { memoryGiB: 64, tokens: 4096 },
        // Too little for anything to be kept, and many micro-batches.
        { memoryGiB: 0.001, tokens: 48 },
      ]) {
        const compiled = await step(model, { executor: "compiled", memoryGiB: options.memoryGiB }, options.tokens);
        expect(Math.abs(compiled.loss - eager.loss) / Math.abs(eager.loss)).toBeLessThanOrEqual(1e-5);
        expect(Math.abs(compiled.after - eager.after) / Math.abs(eager.after)).toBeLessThanOrEqual(1e-4);
        expect(Object.keys(compiled.norms).sort()).toEqual(Object.keys(eager.norms).sort());
        for (const [tensor, norm] of Object.entries(eager.norms)) {
          expect(Math.abs((compiled.norms[tensor] ?? 0) - norm), tensor).toBeLessThanOrEqual(1e-4 * norm + 1e-7);
        }
      }
    },
  );

  it.each(MODEL_KINDS)("stays near it in bfloat16 for %s", async (name, changes) => {
    const model = await writeRandomModel(join(folder, `${name.replaceAll(" ", "-")}-half`), changes, 0.15);
    const exact = await step(model, { executor: "compiled" });
    const half = await step(model, { executor: "compiled", precision: "bfloat16" });
    expect(half.loss).not.toBe(exact.loss);
    expect(Math.abs(half.loss - exact.loss)).toBeLessThanOrEqual(0.02 * Math.abs(exact.loss));
    expect(Math.abs(half.gradNorm - exact.gradNorm)).toBeLessThanOrEqual(0.05 * exact.gradNorm);
  });

  it("says which executor it is and why, and refuses one that cannot be had", async () => {
    const model = await writeRandomModel(join(folder, "said"));
    const core = await EngineCore.open(model, { backend: "tensorflow", threads: 0, precision: "bfloat16" });
    expect(core.info).toMatchObject({ executor: "compiled", precision: "bfloat16" });
    expect(core.info.executorReason).toContain("fused kernels");
    await core.forwardBackward(batch(4096), signal);
    expect(core.stats().graphs).toBeGreaterThan(3);
    expect(core.stats().compileSeconds).toBeGreaterThan(0);
    core.dispose();
    const eager = await EngineCore.open(model, { backend: "tensorflow", threads: 0, executor: "eager" });
    expect(eager.info).toMatchObject({ executor: "eager", precision: "float32", executorReason: "asked for by name" });
    expect(eager.stats().graphs).toBe(0);
    eager.dispose();
  });

  it("keeps activations under a large budget and none under a small one", async () => {
    const model = await writeRandomModel(join(folder, "planned"));
    const roomy = await EngineCore.open(model, { backend: "tensorflow", threads: 0, memoryGiB: 64 });
    const pass = { prefixTokens: 10_000, rowTokens: 1000, targets: 1000 };
    expect(roomy.planMemory(pass)).toMatchObject({ layers: 2, keptLayers: 2 });
    roomy.dispose();
    const tight = await EngineCore.open(model, { backend: "tensorflow", threads: 0, memoryGiB: 0.001 });
    expect(tight.planMemory(pass)).toMatchObject({ keptLayers: 0 });
    tight.dispose();
  });
});
