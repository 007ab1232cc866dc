/**
 * Compiled graphs as a GPU runs them, here on the processor: functions of the eager context on tensors that stay where they are.
 * Equal to sessions and to eager; the weights are not uploaded by a call; what does not agree is left out, with the reason.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { PolicyBatch } from "../../src/contracts/trainer.js";
import { EngineCore } from "../../src/model/engine/core.js";
import type { CoreOptions } from "../../src/model/engine/executor.js";
import { probeGraphs } from "../../src/model/engine/graph-probe.js";
import { readModelConfig } from "../../src/model/io/config.js";
import { Compiler } from "../../src/model/tensor/graph/compile.js";
import { deviceFunctions } from "../../src/model/tensor/graph/functions.js";
import { whileLoop } from "../../src/model/tensor/graph/loop.js";
import { add } from "../../src/model/tensor/kernels.js";
import { type FunctionsAddon, type FunctionsState, functionsState } from "../../src/model/tensor/native/index.js";
import { native, type Tensor, tf } from "../../src/model/tensor/tf.js";
import { type PretendedGpu, pretendGpu } from "../helpers/device.js";
import { FAST_BACKEND, MODEL_KINDS, TEST_LOSS, TEST_OPTIMISER, writeRandomModel } from "../helpers/engines.js";
import { randomGroups } from "../helpers/random-groups.js";

const { signal } = new AbortController();
const LEFT_OUT = "left out by this test";

function batch(microBatchTokens = 4096): PolicyBatch {
  const groups = randomGroups(7, [
    [70, [9, 30, 1]],
    [33, [12, 5]],
  ]);
  const loss = { ...TEST_LOSS, klCoefficient: 0.1, klClamp: 10, entropyCoefficient: 0.02, temperature: 0.9 };
  return { groups, loss, denominators: { tokens: 57, sequences: 5 }, microBatchTokens, oldPolicy: null };
}

const sampling = {
  prompts: [{ promptIds: [3, 4, 5, 6, 7], seeds: [1, 2, 3] }],
  params: { temperature: 1, topP: 0.9, topK: 0, maxTokens: 20, stopIds: [] },
  policy: null,
  forTraining: true,
};

/** Without XLA: compiling for it takes seconds. */
const withoutXla = (): FunctionsState => ({ ...functionsState(), xla: LEFT_OUT });

/** The addon with another way to add a function. */
function addonThat(add: (onward: FunctionsAddon, ...call: Parameters<FunctionsAddon["addFunction"]>) => void) {
  const own = functionsState().addon as FunctionsAddon;
  return {
    ...withoutXla(),
    addon: {
      addFunction: (...call: Parameters<FunctionsAddon["addFunction"]>) => add(own, ...call),
      removeFunction: (name: string) => own.removeFunction(name),
    },
  };
}

/** Bytes of a graph with every `from` replaced by `to`, which is as long. */
const replaced = (graph: Uint8Array, from: string, to: string) =>
  Buffer.from(Buffer.from(graph).toString("latin1").replaceAll(from, to), "latin1");

/** How a graph writes a cast to bfloat16: attribute DstT of type 14. */
const NARROWING = Buffer.concat([Buffer.from("DstT"), Buffer.of(0x12, 0x02, 0x30, 0x0e)]);

describe.runIf(FAST_BACKEND === "tensorflow")("graphs on the device", () => {
  let folder: string;
  let gpu: PretendedGpu;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "weir-device-"));
    gpu = await pretendGpu();
  });
  afterAll(() => rm(folder, { recursive: true }));
  afterEach(() => {
    gpu.pretend(true);
    Object.assign(functionsState(), { xla: null });
  });

  async function open(model: string, options: Partial<CoreOptions> = {}): Promise<EngineCore> {
    return EngineCore.open(model, { backend: "tensorflow", threads: 0, memoryGiB: 64, ...options });
  }

  /** A training step and a draw. */
  async function work(core: EngineCore) {
    try {
      const drawn = await core.sample(sampling, signal);
      const metrics = await core.forwardBackward(batch(), signal);
      const { gradNorm, gradNormByTensor } = core.optimStep(TEST_OPTIMISER, true);
      const after = await core.forwardBackward(batch(48), signal);
      const rows = drawn.sequences.flat();
      return {
        executor: core.info.executor,
        loss: metrics.loss,
        after: after.loss,
        gradNorm,
        norms: gradNormByTensor ?? {},
        tokens: rows.map(({ tokenIds }) => [...tokenIds]),
        logprobs: rows.flatMap(({ logprobs }) => [...logprobs]),
      };
    } finally {
      core.dispose();
    }
  }

  function expectEqual(found: Awaited<ReturnType<typeof work>>, expected: Awaited<ReturnType<typeof work>>): void {
    expect(found.tokens).toEqual(expected.tokens);
    expect(Math.abs(found.loss - expected.loss)).toBeLessThanOrEqual(1e-5 * Math.abs(expected.loss));
    expect(Math.abs(found.after - expected.after)).toBeLessThanOrEqual(1e-4 * Math.abs(expected.after));
    found.logprobs.forEach((value, index) => {
      expect(Math.abs(value - expected.logprobs[index]!)).toBeLessThanOrEqual(1e-4);
    });
    expect(Object.keys(found.norms).sort()).toEqual(Object.keys(expected.norms).sort());
    for (const [tensor, norm] of Object.entries(expected.norms)) {
      expect(Math.abs((found.norms[tensor] ?? 0) - norm), tensor).toBeLessThanOrEqual(1e-4 * norm + 1e-7);
    }
  }

  it.each(MODEL_KINDS)("gives what sessions and eager give for %s", async (name, changes) => {
    const model = await writeRandomModel(join(folder, name.replaceAll(" ", "-")), changes, 0.15);
    Object.assign(functionsState(), { xla: LEFT_OUT });
    const onDevice = await work(await open(model, { executor: "compiled" }));
    gpu.pretend(false);
    gpu.reset();
    const inSessions = await work(await open(model, { executor: "compiled" }));
    expect(gpu.calls.sessions).toBeGreaterThan(10);
    const eager = await work(await open(model, { executor: "eager" }));
    expect([onDevice.executor, inSessions.executor, eager.executor]).toEqual(["compiled", "compiled", "eager"]);
    expectEqual(onDevice, inSessions);
    expectEqual(onDevice, eager);
  });

  it("agrees with eager with XLA, too, and says how far it is from it", async () => {
    const model = await writeRandomModel(join(folder, "xla"), MODEL_KINDS[0]![1], 0.15);
    const { graphs, reason } = await probeGraphs(await readModelConfig(model), "float32", functionsState());
    expect(graphs).toMatchObject({ precision: "float32" });
    // The way that is left out for its time has passed as well.
    expect(reason).toMatch(
      /^float32 with(out)? XLA, within \d\.\de-\d nats, gradients [\d.]+ % of eager, [\d.]+ ms a trial step against [\d.]+ ms float32 with(out)? XLA$/,
    );
  });

  it("lets XLA compile what has no loop, and runs a loop without it", () => {
    const added: boolean[] = [];
    const { addon } = addonThat((own, name, graph, inputs, outputs, xla) => {
      added.push(xla);
      own.addFunction(name, graph, inputs, outputs, xla);
    });
    const compiler = new Compiler("float32", false, deviceFunctions(addon, true));
    const x = tf.tensor1d([1, 2, 3]);
    const doubled = compiler.run("double", (value: Tensor) => add(value, value), x);
    expect([...doubled.dataSync()]).toEqual([2, 4, 6]);
    const grown = compiler.run(
      "grow",
      (value: Tensor) =>
        whileLoop(
          [value],
          ([sum]) => tf.less(tf.sum(sum as Tensor), tf.scalar(50)),
          ([sum]) => [add(sum as Tensor, sum as Tensor)],
        )[0] as Tensor,
      x,
    );
    expect([...grown.dataSync()]).toEqual([16, 32, 48]);
    expect(added).toEqual([true, false]);
    compiler.dispose();
    tf.dispose([x, doubled, grown]);
  });

  it("uploads weights when they are loaded and at no call", async () => {
    const model = await writeRandomModel(join(folder, "uploads"), { hidden_size: 64, intermediate_size: 256 });
    Object.assign(functionsState(), { xla: LEFT_OUT });
    gpu.reset();
    const core = await open(model, { executor: "compiled" });
    const { parameters } = core.modelInfo;
    expect(gpu.calls.uploaded).toBeGreaterThanOrEqual(parameters);
    // The first round makes what stays: RoPE tables, constants, moments.
    const round = async () => {
      await core.sample(sampling, signal);
      await core.forwardBackward(batch(), signal);
      core.optimStep(TEST_OPTIMISER, false);
    };
    await round();
    gpu.reset();
    await round();
    expect(gpu.calls.functions).toBeGreaterThan(10);
    expect(gpu.calls.sessions).toBe(0);
    // Per-token numbers of the batch and of sampling; one layer's matrices alone are many times that.
    expect(gpu.calls.uploaded).toBeLessThan(2_000);
    expect(parameters).toBeGreaterThan(60_000);
    // What is read back is for the host: scores, drawn tokens, norms, and the weights once for their hash.
    expect(gpu.calls.read).toBeLessThan(parameters + 5_000);
    core.dispose();
  });

  it("stays near float32 in bfloat16", async () => {
    const model = await writeRandomModel(join(folder, "half"), MODEL_KINDS[1]![1], 0.15);
    Object.assign(functionsState(), { xla: LEFT_OUT });
    const core = await open(model, { precision: "bfloat16" });
    expect(core.info).toMatchObject({ executor: "compiled", precision: "bfloat16" });
    const half = await work(core);
    const exact = await work(await open(model, { executor: "eager" }));
    expect(half.loss).not.toBe(exact.loss);
    expect(Math.abs(half.loss - exact.loss)).toBeLessThanOrEqual(0.02 * Math.abs(exact.loss));
    expect(Math.abs(half.gradNorm - exact.gradNorm)).toBeLessThanOrEqual(0.05 * exact.gradNorm);
  });

  it("leaves no tensor and no function behind", async () => {
    const model = await writeRandomModel(join(folder, "left"));
    Object.assign(functionsState(), { xla: LEFT_OUT });
    await work(await open(model));
    const before = native().binding.getNumOfTensors();
    const core = await open(model);
    await work(core);
    expect(core.stats().graphs).toBeGreaterThan(5);
    // Constants of shapes that the first round had not met may stay; weights and activations do not.
    expect(native().binding.getNumOfTensors() - before).toBeLessThanOrEqual(0);
  });

  describe("the probe", () => {
    const probe = async (state: FunctionsState, precision: "float32" | "bfloat16" = "float32") =>
      probeGraphs(await readModelConfig(await writeRandomModel(join(folder, "probed"))), precision, state);

    it("passes on why there is no addon", async () => {
      expect(await probe({ addon: null, reason: "it was not compiled", xla: null })).toEqual({
        graphs: null,
        reason: "it was not compiled",
      });
    });

    it("goes without XLA where set-up saw it fail, and says so", async () => {
      const { graphs, reason } = await probe(withoutXla());
      expect(graphs?.precision).toBe("float32");
      expect(reason).toMatch(/^float32 without XLA, within .* trial step; float32 with XLA: left out by this test$/);
    });

    it("refuses graphs that give other numbers", async () => {
      const wrong = addonThat((own, name, graph, ...rest) =>
        own.addFunction(name, replaced(graph, "Rsqrt", "Round"), ...rest),
      );
      const { graphs, reason } = await probe(wrong);
      expect(graphs).toBeNull();
      expect(reason).toMatch(/float32 without XLA: differs from eager by .* nats, gradients .* %$/);
    });

    it("says what TensorFlow says of graphs that do not run", async () => {
      const { graphs, reason } = await probe(
        addonThat(() => {
          throw new Error("no such device");
        }),
      );
      expect(graphs).toBeNull();
      expect(reason).toMatch(/float32 without XLA: no such device$/);
    });

    it("takes float32 where bfloat16 does not run", async () => {
      const narrowless = addonThat((own, name, graph, ...rest) => {
        if (Buffer.from(graph).includes(NARROWING)) throw new Error("no products of bfloat16");
        own.addFunction(name, graph, ...rest);
      });
      const { graphs, reason } = await probe(narrowless, "bfloat16");
      expect(graphs?.precision).toBe("float32");
      expect(reason).toContain("bfloat16 without XLA: no products of bfloat16");
    });
  });

  it("is eager where nothing works, and refuses `compiled` by name", async () => {
    const model = await writeRandomModel(join(folder, "none"));
    const state = functionsState();
    const addon = state.addon;
    Object.assign(state, { addon: null, reason: "it was not compiled" });
    try {
      const core = await open(model, { precision: "bfloat16" });
      expect(core.info).toMatchObject({
        executor: "eager",
        precision: "float32",
        executorReason: "no graphs on the GPU: it was not compiled",
      });
      core.dispose();
      await expect(open(model, { executor: "compiled" })).rejects.toMatchObject({
        code: "WEIR_E_NATIVE_ENGINE",
        message: expect.stringContaining("no graphs on the GPU: it was not compiled"),
      });
    } finally {
      Object.assign(state, { addon });
    }
  });
});
