/** The vLLM sampler over fake servers: the contract's own suite in each of its forms, and what the suite cannot see. */
import { describe, expect, it } from "vitest";
import type { PublishedPolicy } from "../../src/contracts/published-policy.js";
import type { SampleRequest, Sampler } from "../../src/contracts/sampler.js";
import type { ServerSamplerOptions } from "../../src/remote/generation/server-sampler.js";
import { createVllmSampler, describeVllm } from "../../src/remote/vllm/vllm.js";
import { describeSampler } from "../../src/testing.js";
import { failure } from "../helpers/errors.js";
import { settled, VirtualTime } from "../helpers/virtual-time.js";
import { FakeVllm, type FakeVllmOptions } from "./fake-vllm.js";

const live = () => ({ signal: new AbortController().signal });

function options(fetch: typeof globalThis.fetch, over: Partial<ServerSamplerOptions> = {}): ServerSamplerOptions {
  return {
    urls: ["http://one.test"],
    model: null,
    secret: null,
    logprobs: "auto",
    form: "adapter",
    callsPerServer: 4,
    patienceMs: 10_000,
    deadlineMs: 60_000,
    fetch,
    ...over,
  };
}

/** Servers by their host names, behind one `fetch`. */
function network(servers: Readonly<Record<string, FakeVllm>>): typeof globalThis.fetch {
  return (input, init) => (servers[new URL(String(input)).hostname] as FakeVllm).fetch(input, init);
}

function adapter(n: number, hash = `${n}`.padStart(8, "a")): PublishedPolicy {
  return {
    version: { n, sha256: hash.padEnd(64, "0") },
    artifact: { kind: "adapter", uri: `/policies/${n}-${hash}`, baseSha256: "b".repeat(64), rank: 8 },
    bytes: 1,
  };
}

function checkpoint(n: number): PublishedPolicy {
  return { ...adapter(n), artifact: { kind: "checkpoint", uri: `/folders/${n}` } };
}

let asked = 0;
function request(over: Partial<SampleRequest> = {}): SampleRequest {
  asked += 1;
  return {
    id: `test-${asked}`,
    prompts: [{ promptIds: [1, 2], seeds: [7, 8] }],
    params: { temperature: 1, topP: 1, topK: 0, maxTokens: 5, stopIds: [] },
    policy: null,
    purpose: "training",
    deadlineMs: 30_000,
    ...over,
  };
}

const adopt = (sampler: Sampler, policy: PublishedPolicy, inFlight: "keep" | "wait" | "abort" = "wait") =>
  sampler.adopt(policy, { ...live(), inFlight });

describe.each([
  ["the base model", "adapter", null],
  ["adapters", "adapter", adapter(3)],
  ["whole folders", "checkpoint", checkpoint(3)],
] as const)("vLLM with %s", (_, form, policy) => {
  describeSampler({
    framework: { describe, it },
    policy,
    create: () => createVllmSampler(options(new FakeVllm().fetch, { form })),
  });
});

const two = (first: FakeVllm, second: FakeVllm, over: Partial<ServerSamplerOptions> = {}) =>
  createVllmSampler(
    options(network({ "one.test": first, "two.test": second }), {
      urls: ["http://one.test", "http://two.test"],
      ...over,
    }),
  );

/** A promise and what resolves it. */
function gate(): { readonly closed: Promise<void>; open(): void } {
  let open: () => void = () => undefined;
  const closed = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { closed, open: () => open() };
}

const ids = (reply: Awaited<ReturnType<Sampler["sample"]>>) => reply.sequences.flat().map(({ tokenIds }) => tokenIds);

describe("several vLLM servers", () => {
  describeSampler({
    framework: { describe, it },
    policy: adapter(1),
    create: () => two(new FakeVllm(), new FakeVllm()),
  });

  it("get each policy, and each request goes to the one with least work", async () => {
    const [one, other] = [new FakeVllm(), new FakeVllm()];
    const sampler = two(one, other);
    await adopt(sampler, adapter(1));
    expect([one.adapters.size, other.adapters.size]).toEqual([1, 1]);
    const held = gate();
    one.gate = other.gate = held.closed;
    const before = [one, other].map((server) => server.paths("/inference").length);
    const replies = Promise.all([1, 2, 3, 4].map(() => sampler.sample(request(), live())));
    await settled();
    expect([one, other].map((server, i) => server.paths("/inference").length - (before[i] as number))).toEqual([2, 2]);
    held.open();
    await replies;
    await sampler.dispose?.();
  });

  it("work on callsPerServer requests each; the others wait", async () => {
    const server = new FakeVllm();
    const sampler = createVllmSampler(options(server.fetch, { callsPerServer: 2 }));
    await sampler.connect?.(live());
    const before = server.paths("/inference").length;
    const held = gate();
    server.gate = held.closed;
    const replies = Promise.all([1, 2, 3].map(() => sampler.sample(request(), live())));
    await settled();
    expect(server.paths("/inference").length - before).toBe(2);
    expect((await sampler.load(live())).waiting).toBe(2);
    held.open();
    await replies;
    await sampler.dispose?.();
  });

  it("give the requests of a lost one to the others, from the same seeds", async () => {
    const time = new VirtualTime();
    const [one, other] = [new FakeVllm(), new FakeVllm()];
    const sampler = two(one, other, { time });
    await adopt(sampler, adapter(1));
    const expected = ids(await sampler.sample(request(), live()));
    const held = gate();
    one.gate = held.closed;
    const reply = sampler.sample(request(), live());
    await settled();
    one.down = true;
    held.open();
    expect(ids(await reply)).toEqual(expected);
    await sampler.dispose?.();
    expect(time.pending).toBe(0);
  });

  it("take a lost one back, which has the newest policy before it gets work", async () => {
    const time = new VirtualTime();
    const [one, other] = [new FakeVllm(), new FakeVllm()];
    const sampler = two(one, other, { time });
    await adopt(sampler, adapter(1));
    one.down = true;
    await sampler.sample(request(), live());
    await adopt(sampler, adapter(2));
    one.restart();
    await time.advance(20_000);
    expect([...one.adapters.keys()]).toEqual(["policy-v2-aaaaaaa2"]);
    const held = gate();
    one.gate = other.gate = held.closed;
    const work = Promise.all([1, 2].map(() => sampler.sample(request({ policy: { exactly: 2 } }), live())));
    await settled();
    expect(one.calls.at(-1)?.body.model).toBe("policy-v2-aaaaaaa2");
    held.open();
    await work;
    await sampler.dispose?.();
  });

  it("are refused where their log-probs are of different distributions", async () => {
    const sampler = two(new FakeVllm({ basis: "raw" }), new FakeVllm({ basis: "processed" }));
    await failure(() => sampler.connect?.(live()), "WEIR_E_CAPABILITY");
    await sampler.dispose?.();
  });

  it("are waited for as long as patienceMs; from then on nobody waits, until one is back", async () => {
    const time = new VirtualTime();
    const server = new FakeVllm();
    const sampler = createVllmSampler(options(server.fetch, { time }));
    await adopt(sampler, adapter(1));
    server.down = true;
    const lost = failure(() => sampler.sample(request(), live()), "WEIR_E_UNREACHABLE");
    await time.advance(9_000);
    await time.advance(1_500);
    expect((await lost).message).toContain("http://one.test");
    await failure(() => sampler.sample(request(), live()), "WEIR_E_UNREACHABLE");
    await failure(() => sampler.connect?.(live()), "WEIR_E_UNREACHABLE");
    server.restart();
    await sampler.connect?.(live());
    expect(ids(await sampler.sample(request(), live()))).toHaveLength(2);
    await sampler.dispose?.();
    expect(time.pending).toBe(0);
  });
});

describe("adapters at a vLLM server", () => {
  it("are loaded again where the server was started anew without anybody's notice", async () => {
    const server = new FakeVllm();
    const sampler = createVllmSampler(options(server.fetch));
    await adopt(sampler, adapter(1));
    const first = ids(await sampler.sample(request(), live()));
    server.restart();
    expect(ids(await sampler.sample(request(), live()))).toEqual(first);
    expect(server.paths("/v1/load_lora_adapter")).toHaveLength(2);
    await sampler.dispose?.();
  });

  it("of an older number stay until they are released; draws from them end first", async () => {
    const server = new FakeVllm();
    const sampler = createVllmSampler(options(server.fetch));
    await adopt(sampler, adapter(1));
    await adopt(sampler, adapter(2));
    const held = gate();
    server.gate = held.closed;
    const old = sampler.sample(request({ policy: { exactly: 1 } }), live());
    await settled();
    const released = sampler.release(1, live());
    await settled();
    expect(server.adapters.size).toBe(2);
    held.open();
    expect((await old).sequences[0]?.[0]?.spans[0]?.version).toBe(1);
    await released;
    expect([...server.adapters.keys()]).toEqual(["policy-v2-aaaaaaa2"]);
    await failure(() => sampler.sample(request({ policy: { exactly: 1 } }), live()), "WEIR_E_POLICY_VERSION");
    await sampler.dispose?.();
    expect(server.adapters.size).toBe(0);
  });

  it("of the same number and other weights never go by the same name", async () => {
    const server = new FakeVllm();
    const sampler = createVllmSampler(options(server.fetch));
    await adopt(sampler, adapter(1));
    await adopt(sampler, adapter(2));
    await adopt(sampler, adapter(1, "bbbbbbbb"));
    expect([...server.adapters.keys()]).toEqual(["policy-v1-bbbbbbbb"]);
    const { sequences } = await sampler.sample(request({ policy: { exactly: 1 } }), live());
    expect(sequences[0]?.[0]?.spans).toEqual([{ version: 1, sha256: "bbbbbbbb".padEnd(64, "0"), start: 0, end: 5 }]);
    await sampler.dispose?.();
  });

  it("that an earlier run left under the name are replaced: their folder may be gone", async () => {
    const server = new FakeVllm();
    server.adapters.set("policy-v1-aaaaaaa1", "/gone");
    const sampler = createVllmSampler(options(server.fetch));
    await adopt(sampler, adapter(1));
    expect(server.adapters.get("policy-v1-aaaaaaa1")).toBe("/policies/1-aaaaaaa1");
    await sampler.dispose?.();
  });

  it("that were released while the server was away are unloaded when it is back", async () => {
    const time = new VirtualTime();
    const [one, other] = [new FakeVllm(), new FakeVllm()];
    const sampler = two(one, other, { time });
    await adopt(sampler, adapter(1));
    one.down = true;
    await adopt(sampler, adapter(2));
    await sampler.release(1, live());
    one.down = false;
    await time.advance(20_000);
    expect([...one.adapters.keys()]).toEqual(["policy-v2-aaaaaaa2"]);
    await sampler.dispose?.();
  });

  it("are not loaded onto weights that another run has put in the place of the model's", async () => {
    const server = new FakeVllm();
    server.label = "policy-v9-cccccccc";
    const sampler = createVllmSampler(options(server.fetch));
    expect((await failure(() => sampler.connect?.(live()), "WEIR_E_CAPABILITY")).message).toContain("start it anew");
    await sampler.dispose?.();
  });

  it("that are too large, or that the server cannot read, are refused, and the policy before stays", async () => {
    const server = new FakeVllm({ maxRank: 4 });
    const small = createVllmSampler(options(server.fetch));
    expect((await failure(() => adopt(small, adapter(1)), "WEIR_E_CAPABILITY")).message).toContain("--max-lora-rank 8");
    await small.dispose?.();
    const apart = new FakeVllm();
    apart.readable = new Set(["/policies/1-aaaaaaa1"]);
    const sampler = createVllmSampler(options(apart.fetch));
    await adopt(sampler, adapter(1));
    expect((await failure(() => adopt(sampler, adapter(2)), "WEIR_E_REMOTE")).message).toContain(
      "policyStore.directory",
    );
    expect((await sampler.sample(request(), live())).sequences[0]?.[0]?.spans[0]?.version).toBe(1);
    await failure(() => adopt(sampler, checkpoint(3)), "WEIR_E_POLICY_VERSION");
    await sampler.dispose?.();
  });

  it("draw anew from a newer policy what wants none in particular, where that is asked for", async () => {
    const server = new FakeVllm();
    const sampler = createVllmSampler(options(server.fetch));
    await adopt(sampler, adapter(1));
    const held = gate();
    server.gate = held.closed;
    const any = sampler.sample(request(), live());
    const first = sampler.sample(request({ policy: { exactly: 1 } }), live());
    await settled();
    server.gate = null;
    await adopt(sampler, adapter(2), "abort");
    expect((await any).sequences[0]?.[0]?.spans[0]?.version).toBe(2);
    held.open();
    expect((await first).sequences[0]?.[0]?.spans[0]?.version).toBe(1);
    await sampler.dispose?.();
  });
});

describe("whole folders at a vLLM server", () => {
  const open = (server: FakeVllm, over: Partial<ServerSamplerOptions> = {}) =>
    createVllmSampler(options(server.fetch, { form: "checkpoint", ...over }));

  it("take each other's place between a pause and its end", async () => {
    const server = new FakeVllm();
    const sampler = open(server);
    await sampler.connect?.(live());
    server.calls.splice(0);
    await adopt(sampler, checkpoint(1));
    await adopt(sampler, checkpoint(1));
    expect(server.calls.map(({ path, body }) => [path, body])).toEqual([
      ["/pause?mode=keep", {}],
      ["/update_weight_version", { new_version: "policy-v1-aaaaaaa1-loading" }],
      ["/collective_rpc", { method: "reload_weights", kwargs: { weights_path: "/folders/1" } }],
      ["/reset_prefix_cache", {}],
      ["/update_weight_version", { new_version: "policy-v1-aaaaaaa1" }],
      ["/resume", {}],
    ]);
    await failure(() => sampler.sample(request({ policy: { exactly: 0 } }), live()), "WEIR_E_POLICY_VERSION");
    await sampler.dispose?.();
  });

  it("wait for draws under way, or come beneath them, as was asked", async () => {
    const server = new FakeVllm();
    const sampler = open(server);
    await adopt(sampler, checkpoint(1));
    const held = gate();
    server.gate = held.closed;
    const old = sampler.sample(request(), live());
    await settled();
    const adopted = adopt(sampler, checkpoint(2), "wait");
    await settled();
    expect(server.folder).toBe("/folders/1");
    held.open();
    expect((await old).sequences[0]?.[0]?.spans[0]?.version).toBe(1);
    await adopted;
    const again = gate();
    server.gate = again.closed;
    const running = sampler.sample(request({ policy: { atLeast: 2 } }), live());
    await settled();
    await adopt(sampler, checkpoint(3), "keep");
    again.open();
    expect((await running).sequences[0]?.[0]?.spans[0]?.version).toBe(3);
    await sampler.dispose?.();
  });

  it("leave the server awake, and nothing to be sampled from, where the exchange fails", async () => {
    const server = new FakeVllm();
    server.readable = new Set(["/folders/1"]);
    const sampler = open(server);
    await adopt(sampler, checkpoint(1));
    await failure(() => adopt(sampler, checkpoint(2)), "WEIR_E_REMOTE");
    expect([server.paused, server.label]).toEqual([false, "policy-v2-aaaaaaa2-loading"]);
    await failure(() => sampler.sample(request(), live()), "WEIR_E_POLICY_VERSION");
    await sampler.dispose?.();
  });

  it("are put back at a server that was started anew, and what it drew in between is drawn again", async () => {
    const time = new VirtualTime();
    const server = new FakeVllm();
    const sampler = open(server, { time });
    await adopt(sampler, checkpoint(1));
    const expected = ids(await sampler.sample(request(), live()));
    server.restart();
    const reply = sampler.sample(request(), live());
    await time.advance(2_000);
    expect(ids(await reply)).toEqual(expected);
    expect(server.label).toBe("policy-v1-aaaaaaa1");
    await sampler.dispose?.();
  });

  it("of another run are never taken for version 0", async () => {
    const server = new FakeVllm();
    server.label = "policy-v9-cccccccc";
    server.paused = true;
    const sampler = open(server);
    expect((await failure(() => sampler.sample(request(), live()), "WEIR_E_POLICY_VERSION")).message).toContain(
      "another run",
    );
    expect(server.paused).toBe(false);
    await adopt(sampler, checkpoint(0));
    expect((await sampler.sample(request({ policy: { exactly: 0 } }), live())).sequences[0]).toHaveLength(2);
    await sampler.dispose?.();
  });
});

describe("a request to a vLLM server", () => {
  it("says all there is to say", async () => {
    const server = new FakeVllm();
    const sampler = createVllmSampler(options(server.fetch, { secret: "key" }));
    await adopt(sampler, adapter(1));
    await sampler.sample(
      request({ id: "r", params: { temperature: 0.7, topP: 0.9, topK: 4, maxTokens: 3, stopIds: [2] } }),
      live(),
    );
    expect(server.calls.at(-1)).toEqual({
      path: "/inference/v1/generate",
      body: {
        model: "policy-v1-aaaaaaa1",
        request_id: "r.1.1-0",
        token_ids: [1, 2],
        sampling_params: {
          ...{
            temperature: 0.7,
            top_p: 0.9,
            top_k: 4,
            min_p: 0,
            repetition_penalty: 1,
            presence_penalty: 0,
            frequency_penalty: 0,
          },
          ...{
            max_tokens: 3,
            min_tokens: 0,
            stop_token_ids: [2],
            ignore_eos: true,
            skip_special_tokens: false,
            detokenize: false,
          },
          // FNV-1a over the bytes 07 00 00 00 08 00 00 00.
          ...{ n: 2, seed: 85937290, logprobs: 0 },
        },
        cache_salt: "policy-v1-aaaaaaa1",
        stream: false,
      },
    });
    await sampler.dispose?.();
  });

  it("draws a greedy sequence once for all its seeds, and more than 32 in several requests", async () => {
    const server = new FakeVllm();
    const sampler = createVllmSampler(options(server.fetch));
    await sampler.connect?.(live());
    const calls = () =>
      server.calls.filter(({ path, body }) => path.startsWith("/inference") && body.request_id !== undefined);
    const params = { temperature: 0, topP: 1, topK: 0, maxTokens: 4, stopIds: [] };
    const greedy = await sampler.sample(request({ params }), live());
    expect([ids(greedy)[0], calls().length]).toEqual([ids(greedy)[1], 1]);
    const seeds = Array.from({ length: 70 }, (_, i) => i);
    const many = await sampler.sample(request({ prompts: [{ promptIds: [1], seeds }] }), live());
    expect(many.sequences[0]).toHaveLength(70);
    expect(
      calls()
        .slice(1)
        .map(({ body }) => (body.sampling_params as { n: number }).n),
    ).toEqual([32, 32, 6]);
    await sampler.dispose?.();
  });

  it("ends at the server when its signal aborts", async () => {
    const server = new FakeVllm();
    const sampler = createVllmSampler(options(server.fetch));
    await sampler.connect?.(live());
    server.gate = new Promise(() => undefined);
    const controller = new AbortController();
    const reply = sampler.sample(request(), { signal: controller.signal });
    await settled();
    controller.abort(new Error("enough"));
    await expect(reply).rejects.toThrow("enough");
    expect(server.hungUp).toBe(1);
    await sampler.dispose?.();
  });

  it("fails at its deadline as a server that cannot be reached", async () => {
    const time = new VirtualTime();
    const server = new FakeVllm();
    const sampler = createVllmSampler(options(server.fetch, { time }));
    await sampler.connect?.(live());
    server.gate = new Promise(() => undefined);
    const late = failure(() => sampler.sample(request({ deadlineMs: 3_000 }), live()), "WEIR_E_UNREACHABLE");
    await time.advance(3_001);
    expect((await late).message).toContain("3000 ms");
    await sampler.dispose?.();
  });

  it("that does not fit the server's context is refused before it is sent", async () => {
    const sampler = createVllmSampler(options(new FakeVllm().fetch));
    const params = { temperature: 1, topP: 1, topK: 0, maxTokens: 63, stopIds: [] };
    expect(
      (await failure(() => sampler.sample(request({ params }), live()), "WEIR_E_PROMPT_TOO_LONG")).message,
    ).toContain("65");
    await sampler.dispose?.();
  });

  it("stops at its stop ids, which are part of the sequence", async () => {
    const sampler = createVllmSampler(options(new FakeVllm().fetch));
    const params = { temperature: 1, topP: 1, topK: 0, maxTokens: 50, stopIds: [3, 4, 5] };
    const { sequences } = await sampler.sample(request({ params }), live());
    for (const { tokenIds, finish } of sequences.flat()) {
      expect(finish).toBe("stop");
      expect(tokenIds.findIndex((id) => params.stopIds.includes(id))).toBe(tokenIds.length - 1);
    }
    await sampler.dispose?.();
  });
});

describe("a vLLM server's settings", () => {
  it.each(["raw", "scaled", "processed"] as const)("are found out: log-probs are %s", async (basis) => {
    const sampler = createVllmSampler(options(new FakeVllm({ basis }).fetch));
    await sampler.connect?.(live());
    expect(sampler.capabilities.logprobBasis).toBe(basis);
    await sampler.dispose?.();
  });

  it.each<[string, FakeVllmOptions, "adapter" | "checkpoint", string]>([
    ["no generate route", { generate: false }, "adapter", "--enable-scale-out"],
    ["no adapters", { lora: false }, "adapter", "--enable-lora"],
    ["no development mode", { develop: false }, "checkpoint", "VLLM_SERVER_DEV_MODE=1"],
  ])("that do not do are told with what to change: %s", async (_, settings, form, hint) => {
    const sampler = createVllmSampler(options(new FakeVllm(settings).fetch, { form }));
    expect((await failure(() => sampler.connect?.(live()), "WEIR_E_CAPABILITY")).message).toContain(hint);
    await sampler.dispose?.();
  });

  it("ask for the key and the model by name", async () => {
    const server = new FakeVllm({ key: "right" });
    const keyed = createVllmSampler(options(server.fetch, { secret: "wrong-key" }));
    const refused = await failure(() => keyed.connect?.(live()), "WEIR_E_REMOTE");
    expect(refused.message).toContain("401");
    expect(refused.message).not.toContain("wrong-key");
    const named = createVllmSampler(options(server.fetch, { secret: "right", model: "other" }));
    expect((await failure(() => named.connect?.(live()), "WEIR_E_CONFIG")).message).toContain("it serves policy");
    await failure(() => createVllmSampler(options(server.fetch, { urls: [] })), "WEIR_E_CONFIG");
    await keyed.dispose?.();
    await named.dispose?.();
  });

  it("are described for weir doctor", async () => {
    const server = new FakeVllm();
    const described = await describeVllm("http://one.test", options(server.fetch), live().signal);
    expect(described).toMatchObject({
      ...{ kind: "vllm", version: "0.32.0", models: ["policy"], maxTokens: 64, trainer: null, problems: [] },
      sampler: {
        logprobBasis: "processed",
        seeds: "per-request",
        adopts: ["adapter", "checkpoint"],
        heldVersions: 1_000,
        precision: "bfloat16",
      },
      notes: { "largest rank": "16" },
    });
  });

  it.each([
    ["of one precision are known by it", ["torch.float32", "float"], "float32"],
    ["of several have none in common", ["torch.float32", "torch.bfloat16"], null],
    ["of element types that are not known tell none", ["auto", "auto"], null],
  ] as const)("%s", async (_, [first, second], precision) => {
    const sampler = two(new FakeVllm({ dtype: first }), new FakeVllm({ dtype: second }));
    expect(sampler.capabilities.precision ?? null).toBeNull();
    await sampler.connect?.(live());
    expect(sampler.capabilities.precision).toBe(precision);
    await sampler.dispose?.();
  });

  it("and its work are told by load()", async () => {
    const sampler = createVllmSampler(options(new FakeVllm().fetch));
    await adopt(sampler, adapter(2));
    expect(await sampler.load(live())).toEqual({ running: 2, waiting: 1, cacheUse: 0.25, versions: [2] });
    await sampler.dispose?.();
  });
});
