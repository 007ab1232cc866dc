/**
 * The SGLang sampler. No SGLang server answered here: the fake and the exchanges are written after the documentation and source of
 * SGLang 0.5.23.
 */
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { PublishedPolicy } from "../../src/contracts/published-policy.js";
import type { SampleRequest, Sampler } from "../../src/contracts/sampler.js";
import type { ServerSamplerOptions } from "../../src/remote/generation/server-sampler.js";
import { createSglangSampler, describeSglang } from "../../src/remote/sglang/sglang.js";
import { describeSampler } from "../../src/testing.js";
import { failure } from "../helpers/errors.js";
import { OWN_FIXTURES } from "../helpers/fixtures.js";
import { playback, readRecording } from "./exchanges.js";
import { FakeSglang, type FakeSglangOptions } from "./fake-sglang.js";

const live = () => ({ signal: new AbortController().signal });

function options(fetch: typeof globalThis.fetch, over: Partial<ServerSamplerOptions> = {}): ServerSamplerOptions {
  return {
    ...{ urls: ["http://sglang.test"], model: null, secret: null, logprobs: "auto", form: "adapter" },
    ...{ callsPerServer: 4, patienceMs: 10_000, deadlineMs: 60_000, fetch },
    ...over,
  } as ServerSamplerOptions;
}

function policy(n: number, kind: "adapter" | "checkpoint"): PublishedPolicy {
  const uri = `/policies/${kind}-${n}`;
  return {
    version: { n, sha256: `${n}`.repeat(64) },
    artifact: kind === "adapter" ? { kind, uri, baseSha256: "b".repeat(64), rank: 8 } : { kind, uri },
    bytes: 1,
  };
}

const PARAMS = { temperature: 1, topP: 1, topK: 0, maxTokens: 5, stopIds: [] };
let asked = 0;
const request = (over: Partial<SampleRequest> = {}): SampleRequest => ({
  ...{ id: `test-${++asked}`, prompts: [{ promptIds: [1, 2], seeds: [7, 8] }], params: PARAMS, policy: null },
  ...{ purpose: "training", deadlineMs: 30_000 },
  ...over,
});
const adopt = (sampler: Sampler, given: PublishedPolicy, inFlight: "keep" | "wait" = "wait") =>
  sampler.adopt(given, { ...live(), inFlight });

const deterministic = async (fake: FakeSglang, form: "adapter" | "checkpoint") => {
  const sampler = createSglangSampler(options(fake.fetch, { form }));
  await sampler.connect?.(live());
  return sampler;
};

describe.each([
  ["the base model", "adapter", null],
  ["adapters", "adapter", policy(3, "adapter")],
  ["whole folders", "checkpoint", policy(3, "checkpoint")],
] as const)("SGLang with %s", (_, form, given) => {
  describeSampler({ framework: { describe, it }, policy: given, create: () => deterministic(new FakeSglang(), form) });
});

describe("an SGLang server", () => {
  it("gets whole folders between a pause and its end, and is woken where that fails", async () => {
    const server = new FakeSglang();
    server.readable = new Set(["/policies/checkpoint-1"]);
    const sampler = await deterministic(server, "checkpoint");
    server.calls.splice(0);
    await adopt(sampler, policy(1, "checkpoint"), "keep");
    expect(server.calls.map(({ path, body }) => [path, body])).toEqual([
      ["/pause_generation", { mode: "retract" }],
      ["/update_weight_version", { new_version: "policy-v1-11111111-loading", abort_all_requests: false }],
      [
        "/update_weights_from_disk",
        {
          ...{ model_path: "/policies/checkpoint-1", weight_version: "policy-v1-11111111" },
          ...{ flush_cache: true, abort_all_requests: false },
        },
      ],
      ["/continue_generation", {}],
    ]);
    expect((await failure(() => adopt(sampler, policy(2, "checkpoint")), "WEIR_E_REMOTE")).message).toContain(
      "model config",
    );
    expect(server.calls.at(-1)?.path).toBe("/continue_generation");
    await failure(() => sampler.sample(request(), live()), "WEIR_E_POLICY_VERSION");
    await sampler.dispose?.();
  });

  it("that was started anew gets its adapter again; one of an earlier run is replaced", async () => {
    const server = new FakeSglang();
    server.adapters.set("policy-v1-11111111", "/gone");
    const sampler = await deterministic(server, "adapter");
    await adopt(sampler, policy(1, "adapter"));
    expect([...server.adapters.values()]).toEqual(["/policies/adapter-1"]);
    const before = await sampler.sample(request(), live());
    server.restart();
    const after = await sampler.sample(request(), live());
    expect(after.sequences).toEqual(before.sequences);
    await sampler.dispose?.();
    expect(server.adapters.size).toBe(0);
  });

  it("ends a sequence at a stop id, for which it must not ignore its own", async () => {
    const server = new FakeSglang();
    const sampler = await deterministic(server, "adapter");
    const params = { ...PARAMS, maxTokens: 50, stopIds: [3, 4, 5] };
    const { sequences } = await sampler.sample(request({ params }), live());
    for (const { tokenIds, finish } of sequences.flat())
      expect([finish, [3, 4, 5].includes(tokenIds.at(-1) ?? 0)]).toEqual(["stop", true]);
    expect(server.calls.at(-1)?.body.sampling_params).toMatchObject([
      { ignore_eos: false, sampling_seed: 7 },
      { ignore_eos: false, sampling_seed: 8 },
    ]);
    await sampler.dispose?.();
  });

  it.each<[FakeSglangOptions, string, string]>([
    [{ deterministic: false }, "scaled", "none"],
    [{ basis: "raw" }, "raw", "per-sequence"],
  ])("started with %o gives %s log-probs and seeds that repeat %s", async (settings, basis, seeds) => {
    const sampler = await deterministic(new FakeSglang(settings), "adapter");
    expect([sampler.capabilities.logprobBasis, sampler.capabilities.seeds]).toEqual([basis, seeds]);
    await sampler.dispose?.();
  });

  it("without adapters is refused with what to change; its description says so", async () => {
    const { fetch } = new FakeSglang({ lora: false });
    const sampler = createSglangSampler(options(fetch));
    expect((await failure(() => sampler.connect?.(live()), "WEIR_E_CAPABILITY")).message).toContain("--enable-lora");
    await sampler.dispose?.();
    const described = await describeSglang("http://sglang.test", options(fetch), live().signal);
    expect(described).toMatchObject({ kind: "sglang", version: "0.5.23", models: ["tiny"], maxTokens: 64 });
    expect(described.sampler).toMatchObject({ adopts: ["checkpoint"], precision: "float32" });
    expect(described.problems).toHaveLength(1);
  });

  it("tells its work by load()", async () => {
    const sampler = await deterministic(new FakeSglang(), "adapter");
    expect(await sampler.load(live())).toEqual({ running: 2, waiting: 1, cacheUse: 0.25, versions: [0] });
    await sampler.dispose?.();
  });
});

describe("written exchanges with SGLang", () => {
  const written = readRecording(join(OWN_FIXTURES, "servers", "sglang-0.5.23.json"));

  it("say that no server gave them", () => {
    expect(written.recorded).toBe(false);
  });

  it("lead from the connection over an adapter to sequences, and to nothing left behind", async () => {
    const sampler = createSglangSampler(options(playback(written), { form: "adapter" }));
    await sampler.connect?.(live());
    await adopt(sampler, written.policy as PublishedPolicy);
    const { sequences } = await sampler.sample(request({ id: "written", policy: { exactly: 1 } }), live());
    expect(sequences[0]?.map(({ tokenIds, finish }) => [tokenIds, finish])).toEqual([
      [[5, 11, 2, 9, 14], "length"],
      [[7, 3, 3, 12, 6], "length"],
    ]);
    expect(sequences[0]?.[0]?.logprobs).toEqual([-1.9375, -2.40625, -0.8125, -3.125, -2.75]);
    await sampler.dispose?.();
  });
});
