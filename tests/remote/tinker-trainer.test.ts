/** The trainer on a small server with real arithmetic: journal, losses of state, wrong settings, and policies as files. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { SampleRequest } from "../../src/contracts/sampler.js";
import type { SftBatch, Trainer, TrainingCall } from "../../src/contracts/trainer.js";
import { readModelConfig } from "../../src/model/io/config.js";
import { readSafetensors, writeSafetensors } from "../../src/model/io/safetensors.js";
import { expectedTensors } from "../../src/model/io/tensor-names.js";
import { elementCount, tensorsInMemory } from "../../src/model/io/tensor-source.js";
import { adapterShapes } from "../../src/model/transformer/adapter-names.js";
import { createTinkerSampler } from "../../src/remote/tinker/sampler.js";
import { ServerLink } from "../../src/remote/tinker/server-link.js";
import { createTinkerTrainer, type TinkerTrainerOptions } from "../../src/remote/tinker/trainer.js";
import { realTime } from "../../src/system/time.js";
import { writeRandomModel } from "../helpers/engines.js";
import { FakeTinker, type FakeTinkerOptions } from "./fake-tinker.js";
import { SESSION_ADAM, SESSION_LORA } from "./tinker-session.js";

const signal = new AbortController().signal;
const LORA = { ...SESSION_LORA, rank: 2 };
const ADAM = { ...SESSION_ADAM, learningRate: 0.05 };
const ROWS: SftBatch = {
  rows: [{ tokenIds: [1, 2, 3, 4], lossMask: [0, 1, 1, 1] }],
  aggregation: "token-mean",
  microBatchTokens: 64,
};

let folder: string;
let model: string;
const open: { server: FakeTinker; parts: { dispose?(): Promise<void> | void }[] }[] = [];
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "weir-tinker-"));
  model = await writeRandomModel(join(folder, "base"));
});
afterEach(async () => {
  for (const { server, parts } of open.splice(0)) {
    for (const part of parts) await part.dispose?.();
    await server.stop();
  }
});
afterAll(() => rmSync(folder, { recursive: true }));

async function setUp(fake: FakeTinkerOptions = {}, options: Partial<TinkerTrainerOptions> = {}) {
  const server = new FakeTinker(fake);
  const connection = {
    ...{ url: await server.start(), apiKey: null, patienceMs: 0, deadlineMs: 5_000, time: realTime },
    link: new ServerLink(),
  };
  const own: TinkerTrainerOptions = {
    ...connection,
    baseModel: null,
    modelDir: model,
    lora: LORA,
    lossScale: "row-mean",
  };
  const trainer = createTinkerTrainer({ ...own, ...options });
  const sampler = createTinkerSampler(connection);
  open.push({ server, parts: [trainer, sampler] });
  return { server, trainer, sampler };
}

async function connected(fake: FakeTinkerOptions = {}) {
  const parts = await setUp(fake);
  await parts.trainer.connect?.({ signal });
  await parts.sampler.connect?.({ signal });
  return parts;
}

async function step(trainer: Trainer): Promise<void> {
  await trainer.sftForwardBackward(ROWS, { signal });
  await trainer.optimStep(ADAM, { signal });
}

async function scores(trainer: Trainer): Promise<readonly number[]> {
  const groups = [{ promptIds: [1], completions: [[2, 3, 4]] }];
  const ask = { signal, temperature: 1, which: "policy", microBatchTokens: 64 } as const;
  return (await trainer.logprobs(groups, ask)).logprobs.flat(2);
}

const published = (trainer: Trainer) => trainer.publish({ signal, as: "handle", folder: null });
const request = (n: number): SampleRequest => ({
  ...{ id: "r", prompts: [{ promptIds: [1, 2], seeds: [5, 6] }], policy: { exactly: n }, purpose: "training" },
  ...{ params: { temperature: 1, topP: 1, topK: 0, maxTokens: 3, stopIds: [] }, deadlineMs: 5_000 },
});

describe("a trainer", () => {
  it("journals each call with the next number before it is sent", async () => {
    const sent: string[] = [];
    const { trainer } = await setUp({
      intercept: (path) => {
        if (path === "forward_backward" || path === "optim_step") sent.push(path);
        return null;
      },
    });
    const calls: TrainingCall[] = [];
    trainer.journalTo?.((call) => {
      const training = calls.filter((one) => one.call !== "save_weights_for_sampler").length;
      expect(training, "calls journalled are one ahead of those sent").toBe(sent.length);
      calls.push(call);
    });
    await trainer.connect?.({ signal });
    await step(trainer);
    await published(trainer);
    expect(calls.map(({ number, call }) => [number, call])).toEqual([
      [1, "forward"],
      [2, "forward_backward"],
      [3, "optim_step"],
      [4, "save_weights_for_sampler"],
    ]);
    expect(new Set(calls.map(({ sha256 }) => sha256)).size).toBe(4);
  });

  it("sends no gradient before the step, and one forward pass for a rehearsal and its gradient", async () => {
    const { trainer, server } = await connected();
    const before = server.calls.length;
    const rehearsed = await trainer.rehearseSft?.(ROWS, { signal });
    expect(await trainer.sftForwardBackward(ROWS, { signal })).toEqual(rehearsed);
    expect(server.calls.slice(before)).toEqual(["forward_backward"]);
    await trainer.discardGradients({ signal });
    await expect(trainer.optimStep(ADAM, { signal })).rejects.toThrow("WEIR_E_STATE");
    expect(server.calls.slice(before)).toEqual(["forward_backward"]);
  });

  it("does nothing with weights whose step was broken off, until a state is loaded; then nothing was applied twice", async () => {
    let broken = false;
    const fake = await connected({
      intercept: (path) => (broken && path === "optim_step" ? { status: 503, json: {} } : null),
    });
    const { trainer } = fake;
    const state = join(folder, "broken");
    await step(trainer);
    await trainer.saveState(state, { signal });
    await step(trainer);
    const further = await scores(trainer);
    await trainer.loadState(state, { signal });
    broken = true;
    await expect(step(trainer)).rejects.toThrow("WEIR_E_UNREACHABLE");
    broken = false;
    await trainer.connect?.({ signal });
    await expect(scores(trainer)).rejects.toThrow("WEIR_E_REMOTE_STATE");
    await expect(published(trainer)).rejects.toThrow("WEIR_E_REMOTE_STATE");
    await trainer.loadState(state, { signal });
    await step(trainer);
    expect(await scores(trainer)).toEqual(further);
  });

  it("says that the server has lost its model, and goes on from a state in a new session", async () => {
    const { trainer, server } = await connected();
    const state = join(folder, "lost");
    await step(trainer);
    await trainer.saveState(state, { signal });
    const { version } = await published(trainer);
    const saved = await scores(trainer);
    server.forget();
    await expect(scores(trainer)).rejects.toThrow("WEIR_E_REMOTE_STATE");
    await trainer.connect?.({ signal });
    await expect(scores(trainer)).rejects.toThrow("WEIR_E_REMOTE_STATE");
    const loaded = await trainer.loadState(state, { signal });
    expect(loaded.n).toBe(0);
    expect(await scores(trainer)).toEqual(saved);
    // The state was saved before the publication: the same weights get the same name again.
    expect((await published(trainer)).version).toEqual(version);
  });

  it("makes room for a state that is loaded at a server that is full, and says where there is none", async () => {
    const { trainer, server } = await connected({ room: 2 });
    const state = join(folder, "full");
    await step(trainer);
    await trainer.saveState(state, { signal });
    const saved = await scores(trainer);
    await trainer.freezeReference({ signal });
    await step(trainer);
    await trainer.loadState(state, { signal });
    expect(await scores(trainer)).toEqual(saved);
    expect(server.models.size).toBe(2);
    const other = createTinkerTrainer({
      ...{ url: server.url, apiKey: null, patienceMs: 0, deadlineMs: 5_000, time: realTime, link: new ServerLink() },
      ...{ baseModel: null, modelDir: model, lora: LORA, lossScale: "row-mean" },
    });
    await expect(other.connect?.({ signal })).rejects.toThrow(/WEIR_E_UNREACHABLE.*no room for a further model/);
    await other.dispose?.();
  });

  it("gives a saved state up, and nothing where it is gone or there was none", async () => {
    const { trainer, server } = await connected();
    const [one, two] = [join(folder, "forgotten"), join(folder, "kept")];
    for (const state of [one, two]) await trainer.saveState(state, { signal });
    for (const state of [one, one, folder]) await trainer.forgetState?.(state, { signal });
    expect(server.states).toHaveLength(1);
    await trainer.loadState(two, { signal });
    await expect(trainer.loadState(one, { signal })).rejects.toThrow("WEIR_E_REMOTE_STATE");
  });

  it.each([
    [404, "Not Found", "WEIR_E_CAPABILITY"],
    [405, "Method Not Allowed", "WEIR_E_CAPABILITY"],
    [403, "not yours", "WEIR_E_REMOTE"],
    [503, "starting", "WEIR_E_UNREACHABLE"],
  ])("says why a state stays at a server that answers its removal with status %i, %s", async (status, detail, code) => {
    const removal = /checkpoints\/weights\//;
    const { trainer } = await connected({
      intercept: (path) => (removal.test(path) ? { status, json: { detail } } : null),
    });
    const state = join(folder, `stays-${status}`);
    await trainer.saveState(state, { signal });
    await expect(trainer.forgetState?.(state, { signal })).rejects.toMatchObject({ code });
  });

  it("frees its models when it is done, and keeps two saved policies at the server", async () => {
    const { trainer, server } = await connected();
    for (let n = 0; n < 4; n += 1) {
      await step(trainer);
      await published(trainer);
    }
    expect(server.calls.filter((path) => path.includes("/checkpoints/sampler_weights/v"))).toHaveLength(2);
    expect(server.models.size).toBe(1);
    await trainer.dispose?.();
    expect(server.models.size).toBe(0);
  });
});

describe("trainer and sampler of one server", () => {
  it("draw from the newest version only, and leave the trainer's weights alone", async () => {
    const { trainer, sampler } = await connected();
    const first = await published(trainer);
    await sampler.adopt(first, { signal, inFlight: "wait" });
    await sampler.sample(request(0), { signal });
    await step(trainer);
    const stepped = await scores(trainer);
    await expect(sampler.sample(request(0), { signal })).rejects.toThrow("WEIR_E_POLICY_VERSION");
    await sampler.adopt(await published(trainer), { signal, inFlight: "wait" });
    await expect(sampler.adopt(first, { signal, inFlight: "wait" })).rejects.toThrow("WEIR_E_POLICY_VERSION");
    const { sequences } = await sampler.sample(request(1), { signal });
    expect(await scores(trainer)).toEqual(stepped);
    const completions = sequences[0]?.map(({ tokenIds }) => tokenIds) ?? [];
    const ask = { signal, temperature: 1, which: "policy", microBatchTokens: 64 } as const;
    const { logprobs } = await trainer.logprobs([{ promptIds: [1, 2], completions }], ask);
    sequences[0]?.forEach((sequence, g) => {
      sequence.logprobs.forEach((value, t) => {
        expect(value).toBeCloseTo(logprobs[0]?.[g]?.[t] as number, 5);
      });
    });
  });

  it("take no step while a call that was given up is still being drawn", async () => {
    let waiting = true;
    const drawing = new Set<string>();
    const { trainer, sampler, server } = await connected({
      // The result of sampling is not there before it is released.
      intercept: (path, body) => {
        const id = String((body as { request_id?: unknown }).request_id ?? "");
        return path === "retrieve_future" && waiting && drawing.has(id) ? { status: 408, json: {} } : null;
      },
    });
    await sampler.adopt(await published(trainer), { signal, inFlight: "wait" });
    await trainer.sftForwardBackward(ROWS, { signal });
    drawing.add(String(server.lastId + 1));
    const stop = new AbortController();
    const drawn = sampler.sample(request(0), { signal: stop.signal });
    while (!server.calls.includes("asample")) await new Promise((resolve) => setTimeout(resolve, 1));
    stop.abort(new Error("given up"));
    await expect(drawn).rejects.toThrow("given up");
    expect((await sampler.load({ signal })).running).toBe(1);
    const stepping = trainer.optimStep(ADAM, { signal });
    await expect(sampler.sample(request(0), { signal })).rejects.toThrow("WEIR_E_POLICY_VERSION");
    expect(server.calls).not.toContain("optim_step");
    waiting = false;
    expect((await stepping).applied).toBe(true);
  });
});

describe("a server or setting that does not fit", () => {
  const connecting = async (fake: FakeTinkerOptions, options: Partial<TinkerTrainerOptions>) => {
    const { trainer } = await setUp(fake, options);
    return trainer.connect?.({ signal });
  };
  it.each<[string, FakeTinkerOptions, Partial<TinkerTrainerOptions>, RegExp]>([
    [
      "another model",
      {},
      { baseModel: "other" },
      /WEIR_E_CONFIG.*trainer\.baseModel.*does not serve other; it serves fake/,
    ],
    ["one of several models", { models: ["a", "b"] }, {}, /WEIR_E_CONFIG.*serves a, b; name the one/],
    ["too large a rank", {}, { lora: { ...LORA, rank: 99 } }, /WEIR_E_REMOTE.*LoRA rank 99/],
    ["another alpha", {}, { lora: { ...LORA, alpha: 16 } }, /WEIR_E_REMOTE.*alpha 32.*model\.lora asks for alpha 16/],
    ["some matrices", {}, { lora: { ...LORA, targets: ["q_proj"] } }, /WEIR_E_CAPABILITY.*model\.lora\.targets/],
    ["a norm that is not told", { tellsNorm: false }, { lossScale: "auto" }, /WEIR_E_REMOTE.*set trainer\.lossScale/],
    ["no server", {}, { url: "http://127.0.0.1:9" }, /WEIR_E_UNREACHABLE/],
  ])("is told at the start: %s", async (_, fake, options, message) => {
    await expect(connecting(fake, options)).rejects.toThrow(message);
  });

  it("is told with the call: clipping, temperature, a KL term, another version", async () => {
    const { trainer } = await connected();
    await trainer.sftForwardBackward(ROWS, { signal });
    await expect(trainer.optimStep({ ...ADAM, maxGradNorm: 1 }, { signal })).rejects.toThrow("optimiser.maxGradNorm");
    await expect(
      trainer.logprobs([], { signal, temperature: 0.7, which: "policy", microBatchTokens: 1 }),
    ).rejects.toThrow("rollout.temperature is 0.7");
    await expect(trainer.gradientNorm({ signal })).rejects.toThrow("WEIR_E_CAPABILITY");
  });

  it("refuses a model folder with other weights, and takes the base model's as version 0", async () => {
    const { trainer } = await connected();
    const other = await writeRandomModel(join(folder, "other"), {}, 0.2);
    const same = await writeRandomModel(join(folder, "same"));
    await step(trainer);
    await expect(trainer.loadState(other, { signal })).rejects.toThrow("WEIR_E_CHECKPOINT_DAMAGED");
    expect((await trainer.loadState(same, { signal })).n).toBe(0);
  });
});

describe("policies as files", () => {
  it("have the archive's adapter, and the base with W + (alpha / r)·B·A", async () => {
    const bytes = gzipSync(await adapterTar());
    const { trainer } = await connected({ archive: () => bytes });
    const place = join(folder, "adapter");
    mkdirSync(place);
    const { artifact } = await trainer.publish({ signal, as: "adapter", folder: place });
    expect(artifact).toMatchObject({ kind: "adapter", rank: 2 });
    const pairs = await readSafetensors(join(artifact.uri, "adapter_model.safetensors"));
    const module = "model.layers.1.mlp.down_proj";
    const [a, b] = ["lora_A", "lora_B"].map((part) => pairs.read(`base_model.model.${module}.${part}.weight`)) as [
      Float32Array,
      Float32Array,
    ];
    const merged = join(folder, "merged");
    await trainer.publish({ signal, as: "checkpoint", folder: merged });
    const [before, after] = await Promise.all(
      [model, merged].map(async (path) =>
        (await readSafetensors(join(path, "model.safetensors"))).read(`${module}.weight`),
      ),
    );
    const columns = a.length / LORA.rank;
    const out = 3;
    const input = 7;
    const product = [0, 1].reduce(
      (sum, k) => sum + (b[out * LORA.rank + k] as number) * (a[k * columns + input] as number),
      0,
    );
    const at = out * columns + input;
    expect(after?.[at]).toBeCloseTo((before?.[at] as number) + 16 * product, 5);
    expect(Math.abs(product)).toBeGreaterThan(1e-3);
  });

  it("are refused where the archive is none", async () => {
    const { trainer } = await connected({ archive: () => Buffer.from("no archive") });
    const publishing = trainer.publish({ signal, as: "adapter", folder: join(folder, "none") });
    await expect(publishing).rejects.toThrow(/WEIR_E_REMOTE.*is not gzip/);
  });
});

/** An archive as servers make it, with pairs of small numbers for every matrix of the tiny model. */
async function adapterTar(): Promise<Buffer> {
  const shapes = adapterShapes(expectedTensors(await readModelConfig(model)), LORA);
  const tensors = Object.fromEntries(
    [...shapes].map(([name, shape], n) => {
      const data = Float32Array.from({ length: elementCount(shape) }, (_, i) => 0.1 * Math.sin(1 + n + i));
      return [`base_model.model.${name}`, { shape, data }];
    }),
  );
  const file = join(folder, "adapter_model.safetensors");
  await writeSafetensors(file, tensorsInMemory(tensors), { format: "pt" });
  const config = Buffer.from(JSON.stringify({ r: LORA.rank, lora_alpha: LORA.alpha }));
  const entries = [tarEntry("adapter_config.json", config), tarEntry("adapter_model.safetensors", readFileSync(file))];
  return Buffer.concat([...entries, Buffer.alloc(1024)]);
}

function tarEntry(name: string, content: Uint8Array): Buffer {
  const header = Buffer.alloc(512);
  header.write(`./${name}`, 0);
  header.write(content.length.toString(8).padStart(11, "0"), 124);
  header.write("0", 156);
  return Buffer.concat([header, content, Buffer.alloc((512 - (content.length % 512)) % 512)]);
}
