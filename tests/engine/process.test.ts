/** The engine process: deadlines, aborts, crashes, orphans, and checkpoints that continue bit by bit. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import type { Engine } from "../../src/contracts/engine.js";
import type { LossEvaluation, LossSequence } from "../../src/contracts/loss.js";
import type { PolicyVersion } from "../../src/contracts/policy-version.js";
import type { PolicyBatch } from "../../src/contracts/trainer.js";
import { evaluateLoss } from "../../src/losses/evaluate.js";
import { policyLossNamed } from "../../src/losses/index.js";
import { lossSettings } from "../../src/losses/settings.js";
import { startEngine } from "../../src/model/engine/host.js";
import { startInProcessEngine } from "../../src/model/engine/in-process.js";
import { ENGINE_OPTIONS, TEST_LOSS, TEST_OPTIMISER, writeRandomModel } from "../helpers/engines.js";
import { temporaryFolder } from "../helpers/fixtures.js";
import { sampleRequest } from "../helpers/sampling.js";

const { signal } = new AbortController();
let modelDir: string;
let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "weir-process-"));
  modelDir = await writeRandomModel(join(root, "model"));
});
afterAll(() => rm(root, { recursive: true }));

const ENDLESS = sampleRequest({
  prompts: [{ promptIds: [5, 6, 7], seeds: [1, 2] }],
  params: { temperature: 1, topP: 1, topK: 0, maxTokens: 1000, stopIds: [] },
});

function batch(key: number): PolicyBatch {
  const tokenIds = [3 + (key % 5), 9, 11, 4];
  return {
    groups: [
      {
        promptIds: [5, 6, 7 + (key % 3), 8],
        completions: [1, -1].map((advantage) => ({
          tokenIds: advantage > 0 ? tokenIds : [...tokenIds].reverse(),
          advantages: tokenIds.map(() => advantage),
          oldLogprobs: tokenIds.map(() => -4),
          refLogprobs: null,
        })),
      },
    ],
    loss: TEST_LOSS,
    denominators: { tokens: 8, sequences: 2 },
    microBatchTokens: 1024,
    oldPolicy: null,
  };
}

async function publish(engine: Engine): Promise<PolicyVersion> {
  return (await engine.trainer.publish({ signal, as: "handle", folder: null })).version;
}

async function steps(engine: Engine, from: number, count: number): Promise<void> {
  for (let key = from; key < from + count; key += 1) {
    await engine.trainer.forwardBackward(batch(key), { signal });
    await engine.trainer.optimStep(TEST_OPTIMISER, { signal });
  }
}

describe("an engine process", () => {
  it("answers, counts versions and leaves when it is closed", async () => {
    const engine = await startEngine({ modelDir, options: ENGINE_OPTIONS });
    expect(engine.info.pid).not.toBe(process.pid);
    expect(engine.model).toMatchObject({ family: "qwen2", vocabSize: 61, stopIds: [2], padId: 0 });
    const before = engine.version();
    await steps(engine, 0, 2);
    expect(engine.version()).toEqual(before);
    await publish(engine);
    expect(engine.version().n).toBe(1);
    expect(await publish(engine)).toEqual(engine.version());
    expect(engine.version().sha256).not.toBe(before.sha256);
    await engine.close();
    expect(await engine.exited).toEqual({ expected: true, reason: "closed" });
    await expect(engine.stats({ signal })).rejects.toThrow("WEIR_E_ENGINE_CRASHED");
  });

  it("asks its caller for a loss of the caller's own, between forward and backward", async () => {
    const engine = await startEngine({ modelDir, options: ENGINE_OPTIONS });
    const own = { ...batch(1), loss: { ...TEST_LOSS, name: null } };
    const settings = lossSettings("dapo");
    const seen: number[] = [];
    const evaluate = async (sequences: readonly LossSequence[]) => {
      await Promise.resolve();
      seen.push(...sequences.map(({ logprobs }) => logprobs.length));
      return evaluateLoss(policyLossNamed("dapo"), sequences, settings);
    };
    const found = await engine.trainer.forwardBackward(own, { signal, evaluate });
    const still = { ...TEST_OPTIMISER, learningRate: 0 };
    const { gradNorm } = await engine.trainer.optimStep(still, { signal });
    const expected = await engine.trainer.forwardBackward(batch(1), { signal });
    expect(seen).toEqual([4, 4]);
    expect(found.loss).toBeCloseTo(expected.loss, 6);
    expect(gradNorm).toBeCloseTo((await engine.trainer.optimStep(still, { signal })).gradNorm, 5);

    const { tensors } = await engine.stats({ signal });
    const broken: [string, () => LossEvaluation, string][] = [
      [
        "throws",
        () => {
          throw new Error("no loss today");
        },
        "no loss today",
      ],
      [
        "has too few coefficients",
        () => ({ value: 0, coefficients: [[0]], clipped: 0, clippedLower: 0 }),
        "WEIR_E_SHAPE",
      ],
      [
        "is not finite",
        () => ({
          value: Number.NaN,
          coefficients: [
            [0, 0, 0, 0],
            [0, 0, 0, 0],
          ],
          clipped: 0,
          clippedLower: 0,
        }),
        "WEIR_E_NON_FINITE",
      ],
    ];
    for (const [what, fails, message] of broken) {
      await expect(engine.trainer.forwardBackward(own, { signal, evaluate: fails }), what).rejects.toThrow(message);
    }
    await expect(engine.trainer.forwardBackward(own, { signal })).rejects.toThrow("WEIR_E_STATE");
    const controller = new AbortController();
    const hanging = engine.trainer.forwardBackward(own, {
      signal: controller.signal,
      evaluate: () => new Promise<LossEvaluation>(() => controller.abort()),
    });
    await expect(hanging).rejects.toThrow("WEIR_E_ENGINE_ABORTED");
    expect((await engine.stats({ signal })).tensors).toBe(tensors);
    await engine.close();
  });

  it("stops a request that is aborted, and goes on with the next", async () => {
    const engine = await startEngine({ modelDir, options: ENGINE_OPTIONS });
    const short = { ...ENDLESS, params: { ...ENDLESS.params, maxTokens: 40 } };
    const { sequences } = await engine.sampler.sample(short, { signal });
    const { tensors } = await engine.stats({ signal });
    const controller = new AbortController();
    const sampling = engine.sampler.sample(ENDLESS, { signal: AbortSignal.timeout(100) });
    const waiting = engine.sampler.sample(ENDLESS, { signal: controller.signal });
    controller.abort();
    await expect(sampling).rejects.toThrow("WEIR_E_ENGINE_ABORTED");
    await expect(waiting).rejects.toThrow("WEIR_E_ENGINE_ABORTED");
    expect((await engine.sampler.sample(short, { signal })).sequences).toEqual(sequences);
    expect((await engine.stats({ signal })).tensors).toBe(tensors);
    await engine.close();
  });

  it.runIf(process.platform === "linux")(
    "asks for huge pages, unless the C library is told something else",
    async () => {
      const tunables = async (env?: Record<string, string>) => {
        const engine = await startEngine({ modelDir, options: ENGINE_OPTIONS, ...(env && { env }) });
        try {
          const variables = (await readFile(`/proc/${engine.info.pid}/environ`, "utf8")).split("\0");
          return variables.filter((variable) => variable.startsWith("GLIBC_TUNABLES="));
        } finally {
          await engine.close();
        }
      };
      vi.stubEnv("GLIBC_TUNABLES", undefined);
      expect(await tunables()).toEqual(["GLIBC_TUNABLES=glibc.malloc.hugetlb=1"]);
      const own = "glibc.malloc.arena_max=4";
      expect(await tunables({ GLIBC_TUNABLES: own })).toEqual([`GLIBC_TUNABLES=${own}`]);
      vi.unstubAllEnvs();
    },
  );

  it("leaves signals that go to the whole group to its parent", async () => {
    const engine = await startEngine({ modelDir, options: ENGINE_OPTIONS });
    for (const name of ["SIGINT", "SIGTERM"] as const) process.kill(engine.info.pid, name);
    await steps(engine, 0, 1);
    await engine.close();
    expect(await engine.exited).toEqual({ expected: true, reason: "closed" });
  });

  it("rejects what is pending when it is killed", async () => {
    const engine = await startEngine({ modelDir, options: ENGINE_OPTIONS });
    const sampling = engine.sampler.sample(ENDLESS, { signal });
    process.kill(engine.info.pid, "SIGKILL");
    await expect(sampling).rejects.toMatchObject({ code: "WEIR_E_ENGINE_CRASHED" });
    expect(await engine.exited).toEqual({
      expected: false,
      reason: expect.stringMatching(
        /^signal SIGKILL, sent by a person or another program|^signal SIGKILL: killed by the system/,
      ),
    });
  });

  it("is ended when a request misses its deadline", async () => {
    const engine = await startEngine({ modelDir, options: { ...ENGINE_OPTIONS, requestTimeoutMs: 30 } });
    await expect(engine.sampler.sample(ENDLESS, { signal })).rejects.toMatchObject({ code: "WEIR_E_ENGINE_TIMEOUT" });
    expect(await engine.exited).toMatchObject({ expected: false, reason: expect.stringContaining("requestTimeoutMs") });
  });

  it("hands on the model's own error, and refuses a start that takes too long", async () => {
    const missing = startEngine({ modelDir: join(root, "nothing"), options: ENGINE_OPTIONS });
    await expect(missing).rejects.toMatchObject({ code: "WEIR_E_FILE_MISSING" });
    const slow = startEngine({ modelDir, options: { ...ENGINE_OPTIONS, startTimeoutMs: 1 } });
    await expect(slow).rejects.toMatchObject({ code: "WEIR_E_ENGINE_TIMEOUT" });
  });

  it("leaves when its parent is killed", async () => {
    const script = join(await temporaryFolder(), "parent.mts");
    const host = pathToFileURL(join(import.meta.dirname, "../../src/model/engine/host.ts")).href;
    await writeFile(
      script,
      `import { startEngine } from ${JSON.stringify(host)};
       const engine = await startEngine(${JSON.stringify({ modelDir, options: ENGINE_OPTIONS })});
       process.stdout.write(engine.info.pid + "\\n");
       setInterval(() => undefined, 1000);`,
    );
    const tsx = import.meta.resolve("tsx");
    const parent = spawn(process.execPath, ["--import", tsx, script], { stdio: ["ignore", "pipe", "ignore"] });
    const [line] = await once(createInterface({ input: parent.stdout }), "line");
    expect(() => process.kill(Number(line), 0)).not.toThrow();
    // The engine shares the parent's output, so the stream ends only when both are gone.
    const ended = once(parent.stdout, "close");
    parent.kill("SIGKILL");
    await ended;
    expect(parent.signalCode).toBe("SIGKILL");
  });
});

describe("a checkpoint", () => {
  it("continues bit by bit as an unbroken run does (I3)", async () => {
    const folder = await temporaryFolder();
    const unbroken = await startEngine({ modelDir, options: ENGINE_OPTIONS });
    await steps(unbroken, 0, 2);
    await publish(unbroken);
    await steps(unbroken, 2, 1);
    await unbroken.trainer.saveState(folder, { signal });
    const saved = unbroken.version();
    expect(saved.n).toBe(1);
    await steps(unbroken, 3, 3);

    const resumed = await startEngine({ modelDir, options: ENGINE_OPTIONS });
    expect(await resumed.trainer.loadState(folder, { signal })).toEqual(saved);
    await steps(resumed, 3, 3);
    // What was trained on and not published when it was saved gets its number once, here and there.
    expect((await publish(resumed)).n).toBe(2);
    expect(resumed.version()).toEqual(await publish(unbroken));
    const draw = { ...ENDLESS, params: { ...ENDLESS.params, maxTokens: 20 } };
    expect((await resumed.sampler.sample(draw, { signal })).sequences).toEqual(
      (await unbroken.sampler.sample(draw, { signal })).sequences,
    );
    await Promise.all([unbroken.close(), resumed.close()]);
  });

  it("loads as a model folder with equal log-probs", async () => {
    const folder = await temporaryFolder();
    const engine = await startInProcessEngine({ modelDir, options: ENGINE_OPTIONS });
    await steps(engine, 0, 2);
    await engine.trainer.publish({ signal, as: "checkpoint", folder });
    const again = await startInProcessEngine({ modelDir: folder, options: ENGINE_OPTIONS });
    const sequences = [
      [4, 5, 6, 7, 8],
      [9, 10, 11],
    ];
    expect(await again.scoreSequences(sequences, { signal })).toEqual(
      await engine.scoreSequences(sequences, { signal }),
    );
    expect(again.version().sha256).toBe(engine.version().sha256);
    await Promise.all([engine.close(), again.close()]);
  });

  it("is refused when damaged, and nothing changes", async () => {
    const folder = await temporaryFolder();
    const engine = await startInProcessEngine({ modelDir, options: ENGINE_OPTIONS });
    await steps(engine, 0, 1);
    await engine.trainer.saveState(folder, { signal });
    await steps(engine, 1, 1);
    const before = engine.version();
    const path = join(folder, "model.safetensors");
    const bytes = await readFile(path);
    bytes[bytes.length - 3]! ^= 1;
    await writeFile(path, bytes);
    await expect(engine.trainer.loadState(folder, { signal })).rejects.toMatchObject({
      code: "WEIR_E_CHECKPOINT_DAMAGED",
    });
    await writeFile(join(folder, "engine-state.json"), "{}");
    await expect(engine.trainer.loadState(folder, { signal })).rejects.toMatchObject({
      code: "WEIR_E_CHECKPOINT_DAMAGED",
    });
    expect(engine.version()).toEqual(before);
    await engine.close();
  });

  it("keeps the reference as it was frozen while the policy moves", async () => {
    const engine = await startInProcessEngine({ modelDir, options: ENGINE_OPTIONS });
    const groups = [{ promptIds: [5, 6, 7], completions: [[8, 9, 10]] }];
    const options = { signal, temperature: 1, microBatchTokens: 512 };
    await expect(engine.trainer.logprobs(groups, { ...options, which: "reference" })).rejects.toThrow("WEIR_E_STATE");
    await engine.trainer.freezeReference({ signal });
    const frozen = await engine.trainer.logprobs(groups, { ...options, which: "policy" });
    await steps(engine, 0, 2);
    expect(await engine.trainer.logprobs(groups, { ...options, which: "reference" })).toEqual(frozen);
    expect(await engine.trainer.logprobs(groups, { ...options, which: "policy" })).not.toEqual(frozen);
    await engine.close();
  });
});
