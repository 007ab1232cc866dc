/** Servers that take a connection and say nothing: every part gives them up at its deadline, whatever it was asking for. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { ServerSamplerOptions } from "../../src/remote/generation/server-sampler.js";
import { createSglangSampler } from "../../src/remote/sglang/sglang.js";
import { createTinkerSampler } from "../../src/remote/tinker/sampler.js";
import { ServerLink } from "../../src/remote/tinker/server-link.js";
import { createTinkerTrainer } from "../../src/remote/tinker/trainer.js";
import { createVllmSampler } from "../../src/remote/vllm/vllm.js";
import { writeRandomModel } from "../helpers/engines.js";
import { VirtualTime } from "../helpers/virtual-time.js";
import { FakeSglang } from "./fake-sglang.js";
import { FakeVllm } from "./fake-vllm.js";

const DEADLINE_MS = 3_000;
const PATIENCE_MS = 500;
/** Of a part that speaks to several servers: the wait before it tries one again, and its patience. */
const MOST_MS = DEADLINE_MS + PATIENCE_MS;
const LORA = { rank: 2, alpha: 32, targets: ["q_proj"], seed: 1 } as const;

type Fetch = typeof globalThis.fetch;
interface Connecting {
  connect?(options: { readonly signal: AbortSignal }): Promise<void>;
  dispose?(): Promise<void> | void;
}
interface Surroundings {
  readonly fetch: Fetch;
  readonly time: VirtualTime;
}

let folder: string;
let model: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "weir-half-open-"));
  model = await writeRandomModel(join(folder, "base"));
});
afterAll(() => rmSync(folder, { recursive: true }));

const servers = (around: Surroundings): ServerSamplerOptions => ({
  ...{ urls: ["http://one.test"], model: null, secret: null, logprobs: "auto", form: "checkpoint", callsPerServer: 1 },
  ...{ patienceMs: PATIENCE_MS, deadlineMs: DEADLINE_MS, ...around },
});
const tinker = (around: Surroundings) => ({
  ...{ url: "http://one.test", apiKey: null, patienceMs: PATIENCE_MS, deadlineMs: DEADLINE_MS, ...around },
  link: new ServerLink(),
});

const PARTS: Readonly<Record<string, (around: Surroundings) => Connecting>> = {
  "a vLLM sampler": (around) => createVllmSampler(servers(around)),
  "an SGLang sampler": (around) => createSglangSampler(servers(around)),
  "a Tinker sampler": (around) => createTinkerSampler(tinker(around)),
  "a Tinker trainer": (around) =>
    createTinkerTrainer({
      ...tinker(around),
      ...{ baseModel: null, modelDir: model, lora: LORA, lossScale: "row-mean" },
    }),
};

/** Virtual ms until `connect` fails with WEIR_E_UNREACHABLE at a server that answers none of the calls that `silent` is true of. */
async function patienceOf(
  create: (around: Surroundings) => Connecting,
  answers: Fetch,
  silent: (path: string) => boolean,
): Promise<number> {
  const time = new VirtualTime();
  let hangs: () => void = () => undefined;
  const hung = new Promise<void>((resolve) => {
    hangs = resolve;
  });
  const fetch: Fetch = (input, init) => {
    const { pathname } = new URL(String(input));
    if (!silent(pathname)) return answers(input, init);
    hangs();
    return new Promise((_, reject) => {
      init?.signal?.addEventListener("abort", () => reject(init.signal?.reason as Error));
    });
  };
  const part = create({ fetch, time });
  let failed: { readonly code: string; readonly at: number } | null = null;
  const connecting = part.connect?.({ signal: new AbortController().signal }).catch((error: { code: string }) => {
    failed = { code: error.code, at: time.now() };
  });
  await hung;
  while (failed === null && time.now() < 10 * MOST_MS) await time.advance(100);
  await connecting;
  await part.dispose?.();
  expect(failed).toMatchObject({ code: "WEIR_E_UNREACHABLE" });
  return (failed as unknown as { readonly at: number }).at;
}

const nothing: Fetch = () => Promise.reject(new Error("no call is answered"));

describe("at a server that never answers", () => {
  it.each(Object.entries(PARTS))("%s gives up at its deadline", async (_, create) => {
    const given = await patienceOf(create, nothing, () => true);
    expect(given).toBeGreaterThanOrEqual(DEADLINE_MS);
    expect(given).toBeLessThanOrEqual(MOST_MS);
  });
});

describe("at a server that answers until it has to compute", () => {
  it.each([
    ["vLLM", PARTS["a vLLM sampler"], new FakeVllm(), /generate/],
    ["SGLang", PARTS["an SGLang sampler"], new FakeSglang(), /generate/],
  ] as const)("the sampler of %s gives up at its deadline", async (_, create, server, drawing) => {
    const answers: Fetch = (input, init) => server.fetch(input, init);
    const silent = (path: string) => drawing.test(path);
    expect(await patienceOf(create as (typeof PARTS)[string], answers, silent)).toBeLessThanOrEqual(MOST_MS);
  });
});
