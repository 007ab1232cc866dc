/**
 * The vLLM sampler against a real server. With WEIR_RECORD=FOLDER the exchanges of the contract's suite are written there, for
 * tests/remote, which play them back.
 */
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { PublishedPolicy } from "../../src/contracts/published-policy.js";
import type { SampleRequest, Sampler } from "../../src/contracts/sampler.js";
import type { ServerSamplerOptions } from "../../src/remote/generation/server-sampler.js";
import { patientFetch } from "../../src/remote/patient-fetch.js";
import { createVllmSampler, describeVllm } from "../../src/remote/vllm/vllm.js";
import { describeSampler } from "../../src/testing.js";
import { failure } from "../helpers/errors.js";
import { type Exchange, recording, writeRecording } from "../remote/exchanges.js";
import { ADAPTERS, PolicyMaker } from "./policies.js";
import type { ServerProcess } from "./server-process.js";
import { folderOfFile, notInstalled, startVllm, writeTinyQwen3 } from "./servers.js";
import { recordedPolicy, shortened } from "./vllm-exchanges.js";

/** Largest difference of log-probs between two engines in float32, nats. */
const TOLERANCE = 1e-3;
const live = () => ({ signal: new AbortController().signal });
const prompts = [
  { promptIds: [5, 9, 17, 30, 21], seeds: [1, 2, 3] },
  { promptIds: [11, 8, 40], seeds: [4, 5] },
];

const missing = notInstalled("vllm");
const folder = folderOfFile();
/** vLLM computes attention on a CPU for heads of 32 or more only. */
const model = join(folder, "qwen3");
if (!missing) await writeTinyQwen3(model);
const adapters = missing ? null : await PolicyMaker.open(model, folder, ADAPTERS);
const weights = missing ? null : await PolicyMaker.open(model, folder, null);
const adapter = (await adapters?.next()) ?? null;
const checkpoint = (await weights?.next()) ?? null;

describe.skipIf(missing)("vLLM", () => {
  let server: ServerProcess;
  const exchanges: Exchange[] = [];
  const policies = [adapter, checkpoint].filter((policy) => policy !== null);

  beforeAll(async () => {
    server = await startVllm({ model, folder, maxTokens: 512 });
  });
  afterAll(async () => {
    await adapters?.close();
    await weights?.close();
  });

  const sampler = (over: Partial<ServerSamplerOptions> = {}) =>
    createVllmSampler({
      urls: [server.url],
      model: null,
      secret: null,
      logprobs: "auto",
      form: "adapter",
      callsPerServer: 4,
      patienceMs: 20_000,
      deadlineMs: 120_000,
      ...over,
    });
  const recorded = recording(patientFetch, exchanges, (exchange) => shortened(exchange, policies));

  describe.each([
    ["the base model", "adapter", null],
    ["adapters", "adapter", adapter],
    ["whole folders", "checkpoint", checkpoint],
  ] as const)("with %s", (_, form, policy) => {
    describeSampler({ framework: { describe, it }, policy, create: () => sampler({ form, fetch: recorded }) });
  });

  it.runIf(process.env.WEIR_RECORD)("writes its exchanges", () => {
    writeRecording(join(process.env.WEIR_RECORD as string, "vllm-0.32.json"), {
      server: "vLLM 0.32.0 on a CPU, a random Qwen3 of 2 layers in float32",
      recorded: true,
      note: "What is not read of /openapi.json, /server_info and /metrics is left out; folders are named by what they hold.",
      policies: Object.fromEntries(policies.map((policy) => [policy.artifact.kind, recordedPolicy(policy)])),
      exchanges,
    });
    expect(exchanges.length).toBeGreaterThan(100);
  });
});
