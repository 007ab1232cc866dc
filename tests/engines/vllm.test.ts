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
import { folderOfFile, notInstalled, vllmServer, writeTinyQwen3 } from "./servers.js";
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
/** Whole folders: vLLM on a CPU does not renew the head of a model with tied embeddings. */
const untied = join(folder, "untied");
if (!missing) await writeTinyQwen3(untied, { changes: { tie_word_embeddings: false } });
const adapters = missing ? null : await PolicyMaker.open(model, folder, ADAPTERS);
const weights = missing ? null : await PolicyMaker.open(untied, folder, null);
const adapter = (await adapters?.next()) ?? null;
const checkpoint = (await weights?.next()) ?? null;

/** Tokens of a response that is still drawn when the server is asked what it does. */
const LONG = 480;

describe.skipIf(missing)("vLLM", () => {
  let server: ServerProcess;
  afterAll(async () => {
    await adapters?.close();
    await weights?.close();
  });

  const settings = (over: Partial<ServerSamplerOptions> = {}): ServerSamplerOptions => ({
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
  const sampler = (over: Partial<ServerSamplerOptions> = {}) => createVllmSampler(settings(over));

  const request = (over: Partial<SampleRequest> = {}): SampleRequest => ({
    id: `real-${Math.random()}`,
    prompts,
    params: { temperature: 1, topP: 1, topK: 0, maxTokens: 24, stopIds: [] },
    policy: null,
    purpose: "training",
    deadlineMs: 120_000,
    ...over,
  });
  const using = async (sampler: Sampler, work: (sampler: Sampler) => Promise<void>) => {
    try {
      await work(sampler);
    } finally {
      await sampler.dispose?.();
    }
  };
  /** Resolves once the server draws `reply`, which has to take long enough to be seen. */
  const underWay = async (sampler: Sampler, reply: Promise<unknown>) => {
    let ended = false;
    const end = () => {
      ended = true;
    };
    reply.then(end, end);
    while ((await sampler.load(live())).running === 0) {
      expect(ended, "drawn before it was seen").toBe(false);
      await wait(5);
    }
  };
  const adopt = (sampler: Sampler, policy: PublishedPolicy | null, inFlight: "keep" | "wait" = "wait") =>
    sampler.adopt(policy as PublishedPolicy, { ...live(), inFlight });

  const started = (model: string, adapters: number) => {
    beforeAll(async () => {
      server = await vllmServer({ model, folder, adapters, maxTokens: 512 });
      await server.start();
    });
    afterAll(() => server.end());
  };
  /** The contract's suite, whose exchanges are kept by name. */
  const suite = (name: string, form: "adapter" | "checkpoint", policy: PublishedPolicy | null) => {
    const exchanges: Exchange[] = [];
    const policies = policy === null ? [] : [policy];
    const fetch = recording(patientFetch, exchanges, (exchange) => shortened(exchange, policies));
    describeSampler({ framework: { describe, it }, policy, create: () => sampler({ form, fetch }) });
    it.runIf(process.env.WEIR_RECORD)("writes its exchanges", () => {
      writeRecording(join(process.env.WEIR_RECORD as string, `vllm-${name}.json`), {
        server: "vLLM 0.32.0 on a CPU, a random Qwen3 of 2 layers in float32",
        recorded: true,
        note: "What is not read of /v1/models, /openapi.json, /server_info and /metrics is left out; folders are named by what they hold.",
        policy: policy === null ? null : recordedPolicy(policy),
        exchanges,
      });
      expect(exchanges.length).toBeGreaterThan(30);
    });
  };

  describe("with adapters", () => {
    started(model, 6);
    describe("of which there is none yet", () => suite("base", "adapter", null));
    describe("by their names", () => suite("adapter", "adapter", adapter));

    it("tells what it is, and with which options it was started", async () => {
      const described = await describeVllm(server.url, settings(), live().signal);
      expect(described).toMatchObject({
        ...{ kind: "vllm", version: "0.32.0", models: ["policy"], maxTokens: 512, problems: [] },
        sampler: { logprobBasis: "processed", adopts: ["adapter", "checkpoint"], seeds: "per-request" },
        notes: { "largest rank": "16", precision: "float32", device: "cpu" },
      });
    });

    it("draws from adapters with the log-probs that the trainer has, at any temperature, and gives them up", async () => {
      await using(sampler(), async (sampler) => {
        for (let step = 0; step < 3; step++) {
          const policy = (await adapters?.next()) as PublishedPolicy;
          await adopt(sampler, policy);
          await sampler.release(policy.version.n - 1, live());
          for (const temperature of [1, 0.7]) {
            const params = { ...request().params, temperature };
            const reply = await sampler.sample(request({ params, policy: { exactly: policy.version.n } }), live());
            expect(await adapters?.mismatch(prompts, reply, temperature)).toBeLessThan(TOLERANCE);
          }
          expect((await sampler.load(live())).versions).toEqual([policy.version.n]);
        }
      });
      const { notes } = await describeVllm(server.url, settings(), live().signal);
      expect(notes).not.toHaveProperty("adapters loaded");
    });

    it("stops drawing when the caller gives up", async () => {
      await using(sampler(), async (sampler) => {
        const controller = new AbortController();
        await sampler.connect?.(live());
        const reply = sampler.sample(request({ params: { ...request().params, maxTokens: LONG } }), {
          signal: controller.signal,
        });
        await underWay(sampler, reply);
        controller.abort(new Error("enough"));
        await expect(reply).rejects.toThrow("enough");
        for (let i = 0; (await sampler.load(live())).running > 0; i++) {
          expect(i).toBeLessThan(100);
          await wait(100);
        }
      });
    });

    it("refuses what it cannot do by code", async () => {
      const wide = { ...(adapter as PublishedPolicy), artifact: { ...adapter?.artifact, rank: 64 } } as PublishedPolicy;
      const gone = {
        version: { n: 9, sha256: "9".repeat(64) },
        bytes: 1,
        artifact: { ...adapter?.artifact, uri: "/nowhere" },
      };
      await using(sampler(), async (sampler) => {
        await failure(() => adopt(sampler, wide), "WEIR_E_CAPABILITY");
        await failure(() => adopt(sampler, gone as PublishedPolicy), "WEIR_E_REMOTE");
        await failure(
          () => sampler.sample(request({ prompts: [{ promptIds: [99_999], seeds: [1] }] }), live()),
          "WEIR_E_REMOTE",
        );
        const long = { ...request().params, maxTokens: 600 };
        await failure(() => sampler.sample(request({ params: long }), live()), "WEIR_E_PROMPT_TOO_LONG");
        expect((await sampler.sample(request(), live())).sequences.flat()).toHaveLength(5);
      });
      await using(sampler({ model: "another" }), async (sampler) => {
        await failure(() => sampler.connect?.(live()), "WEIR_E_CONFIG");
      });
    });

    it("is taken back after it was killed, with the policy that it had, and what was under way is drawn again", async () => {
      await using(sampler({ patienceMs: 900_000 }), async (sampler) => {
        const policy = (await adapters?.next()) as PublishedPolicy;
        await adopt(sampler, policy);
        const before = await sampler.sample(request(), live());
        await server.kill();
        const reply = sampler.sample(request({ deadlineMs: 900_000 }), live());
        await server.start();
        expect(await adapters?.mismatch(prompts, await reply)).toBeLessThan(TOLERANCE);
        expect((await reply).sequences.flat().map(({ tokenIds }) => tokenIds)).toEqual(
          before.sequences.flat().map(({ tokenIds }) => tokenIds),
        );
      });
    });
  });

  describe("with whole folders", () => {
    started(untied, 0);
    suite("checkpoint", "checkpoint", checkpoint);

    it("are refused of a model with tied embeddings: the head would stay as it was", async () => {
      const tied = { ...(checkpoint as PublishedPolicy), artifact: { kind: "checkpoint", uri: model } as const };
      await using(sampler({ form: "checkpoint" }), async (sampler) => {
        await failure(
          () => adopt(sampler, { ...tied, version: { n: 5, sha256: "5".repeat(64) } }),
          "WEIR_E_CAPABILITY",
        );
      });
    });

    it("draws from whole folders with the log-probs that the trainer has, and says which tokens are whose", async () => {
      await using(sampler({ form: "checkpoint" }), async (sampler) => {
        const first = (await weights?.next()) as PublishedPolicy;
        await adopt(sampler, first);
        const reply = await sampler.sample(request(), live());
        expect(await weights?.mismatch(prompts, reply)).toBeLessThan(TOLERANCE);
        const params = { ...request().params, maxTokens: LONG };
        const long = { prompts: prompts.slice(1), params, policy: { atLeast: first.version.n } };
        const drawing = sampler.sample(request(long), live());
        await underWay(sampler, drawing);
        const second = (await weights?.next()) as PublishedPolicy;
        await adopt(sampler, second, "keep");
        const spans = (await drawing).sequences.flat().map((sequence) => sequence.spans);
        for (const one of spans) expect([one[0]?.start, one.at(-1)?.end]).toEqual([0, LONG]);
        const versions = new Set(spans.flat().map(({ version }) => version));
        expect(versions).toEqual(new Set([first.version.n, second.version.n]));
      });
    });
  });
});
