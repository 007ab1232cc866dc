/** The vLLM sampler over fake servers: the contract's own suite in each of its forms, and what the suite cannot see. */
import { describe, expect, it } from "vitest";
import type { PublishedPolicy } from "../../src/contracts/published-policy.js";
import type { SampleRequest, Sampler } from "../../src/contracts/sampler.js";
import type { ServerSamplerOptions } from "../../src/remote/generation/server-sampler.js";
import { createVllmSampler, describeVllm } from "../../src/remote/vllm/vllm.js";
import type { Time } from "../../src/system/time.js";
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

describe("two vLLM servers", () => {
  describeSampler({
    framework: { describe, it },
    policy: adapter(1),
    create: () => {
      const fetch = network({ "one.test": new FakeVllm(), "two.test": new FakeVllm() });
      return createVllmSampler(options(fetch, { urls: ["http://one.test", "http://two.test"] }));
    },
  });
});
