/** `weir doctor --engine`: what it finds at an address, and what a configuration lacks to work with it. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { engineExitCode, examineEngine } from "../../src/cli/commands/doctor-engine.js";
import { descriptionRows, partsAt, serverKindAt } from "../../src/cli/engine-doctor.js";
import { parseConfig } from "../../src/config/load.js";
import { failure } from "../helpers/errors.js";
import { FakeVllm, type FakeVllmOptions } from "../remote/fake-vllm.js";

let folder: string;
const servers: Server[] = [];
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "weir-doctor-"));
});
afterEach(async () => {
  for (const server of servers.splice(0)) server.close();
  await rm(folder, { recursive: true });
});

/** Serves what `answer` gives; resolves to the address. */
async function serve(answer: (url: URL, init: RequestInit) => Promise<Response>): Promise<string> {
  const server = createServer(async (request, response) => {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    const headers = Object.entries(request.headers).map(([name, value]): [string, string] => [name, String(value)]);
    const body = parts.length === 0 ? {} : { body: Buffer.concat(parts).toString() };
    const given = await answer(new URL(request.url ?? "/", "http://fake.test"), {
      method: request.method ?? "GET",
      headers,
      ...body,
    });
    response.writeHead(given.status, Object.fromEntries(given.headers));
    response.end(Buffer.from(await given.arrayBuffer()));
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${(server.address() as { port: number }).port}`;
}

const serveVllm = (options: FakeVllmOptions = {}) => {
  const fake = new FakeVllm(options);
  return serve((url, init) => fake.fetch(url, init));
};
const json = (status: number, body: unknown) => async () => new Response(JSON.stringify(body), { status });
const { signal } = new AbortController();
/** Log-probs after top-p are those of the policy where nothing is cut off. */
const EXACT = { temperature: 1, topP: 1 };

async function configFile(over: object): Promise<string> {
  const file = join(folder, "config.json");
  const base = { model: { path: "model", lora: { rank: 8 } }, data: { train: ["tasks.jsonl"] } };
  await writeFile(file, JSON.stringify({ ...base, ...over }));
  return file;
}

describe("what answers at an address", () => {
  it("is told by the health of Tinker's protocol, or by whom the models belong to", async () => {
    const at = (answers: Readonly<Record<string, unknown>>) =>
      serve(async ({ pathname }) =>
        answers[pathname] === undefined
          ? new Response("{}", { status: 404 })
          : new Response(JSON.stringify(answers[pathname])),
      );
    const models = (owner: string) => ({ "/v1/models": { data: [{ id: "m", owned_by: owner }] } });
    expect(await serverKindAt(await at({ "/api/v1/healthz": { status: "ok" } }), null, signal)).toBe("tinker");
    expect(await serverKindAt(await at(models("vllm")), null, signal)).toBe("vllm");
    expect(await serverKindAt(await at(models("sglang")), null, signal)).toBe("sglang");
    expect(await serverKindAt("nats://127.0.0.1:4222", null, signal)).toBe("nats");
    const other = await failure(async () => serverKindAt(await at(models("somebody")), null, signal), "WEIR_E_REMOTE");
    expect(other.message).toContain('as a server of "somebody"');
  });

  it("is an error where a key is wanted, where nothing answers, and for what is no address", async () => {
    const closed = await serve(async ({ pathname }) =>
      pathname.startsWith("/api") ? new Response("", { status: 404 }) : new Response("", { status: 401 }),
    );
    expect((await failure(() => serverKindAt(closed, null, signal), "WEIR_E_REMOTE")).message).toContain("--key-env");
    await failure(() => serverKindAt("http://127.0.0.1:1", null, signal), "WEIR_E_UNREACHABLE");
    await failure(() => examineEngine({ engine: "somewhere" }), "WEIR_E_USAGE");
    await failure(() => examineEngine({ engine: "http://127.0.0.1:1", keyEnv: "WEIR_NO_SUCH_KEY" }), "WEIR_E_CONFIG");
  });
});

describe("parts of a configuration at an address", () => {
  const config = (over: object) => parseConfig({ model: { path: "m" }, data: { train: ["t"] }, ...over });
  it("are those whose address has its host and port, whatever path it goes on with", () => {
    const both = config({
      sampler: { actor: "vllm", urls: ["http://a:8000", "http://b:8000/"] },
      trainer: { actor: "tinker", url: "http://c:9000" },
    });
    expect(partsAt(both, "http://b:8000")).toEqual(["sampler"]);
    expect(partsAt(both, "http://c:9000/api")).toEqual(["trainer"]);
    expect(partsAt(both, "http://b:8001")).toEqual([]);
  });
  it("are both where a sampler of Tinker's protocol has no address of its own", () => {
    const tinker = config({ sampler: { actor: "tinker" }, trainer: { actor: "tinker", url: "http://c:9000" } });
    expect(partsAt(tinker, "http://c:9000")).toEqual(["sampler", "trainer"]);
  });
  it("are the store, too, where it takes the address of the queue", () => {
    const nats = config({ policyStore: { actor: "nats" }, workQueue: { actor: "nats", url: "nats://q:4222" } });
    expect(partsAt(nats, "nats://q:4222")).toEqual(["policyStore", "workQueue"]);
  });
});

describe("a vLLM server", () => {
  it("is described, and fits a configuration that samples from it", async () => {
    const engine = await serveVllm();
    const file = await configFile({ sampler: { actor: "vllm", urls: [engine] } });
    const report = await examineEngine({ engine, config: file });
    expect(report.server).toMatchObject({ kind: "vllm", url: engine, problems: [], trainer: null });
    expect(report.config).toEqual({ file, parts: ["sampler"], misfit: null });
    expect(engineExitCode(report)).toBe(0);
    const rows = new Map(descriptionRows(report.server));
    expect(rows.get("trains")).toBe("no");
    expect(rows.get("  weights taken")).toBe("adapter, checkpoint");
  });

  it("is told from one that serves another model", async () => {
    const engine = await serveVllm();
    const file = await configFile({ sampler: { actor: "vllm", urls: [engine], model: "no-such-model" } });
    const { message } = await failure(() => examineEngine({ engine, config: file }), "WEIR_E_CONFIG");
    expect(message).toContain("does not serve no-such-model; it serves policy");
  });

  it("that was started without adapters is told how it should be", async () => {
    const engine = await serveVllm({ lora: false });
    const report = await examineEngine({ engine });
    expect(report.server.problems.join()).toContain("--enable-lora");
    expect(engineExitCode(report)).toBe(1);
  });

  it.each([
    ["it gives no entropies", { guard: { entropyTarget: { target: 1 } } }, "guard.entropyTarget"],
    ["its log-probs are not the policy's", { update: { correction: { importance: "token" } } }, "rollout.topP"],
    [
      "responses are to span versions",
      { rollout: EXACT, async: { maxLag: 1, inFlight: "continue" }, update: { correction: { importance: "token" } } },
      "async.inFlight",
    ],
  ])("does not fit where %s", async (_, over: object, text) => {
    const engine = await serveVllm();
    const file = await configFile({ ...over, sampler: { actor: "vllm", urls: [engine] } });
    const report = await examineEngine({ engine, config: file });
    expect(report.config?.misfit).toContain("WEIR_E_CAPABILITY");
    expect(report.config?.misfit).toContain(text);
    expect(engineExitCode(report)).toBe(1);
  });

  it("is said not to be used where the configuration names other addresses", async () => {
    const engine = await serveVllm();
    const file = await configFile({ sampler: { actor: "vllm", urls: ["http://127.0.0.1:1"] } });
    const { config } = await examineEngine({ engine, config: file });
    expect(config?.parts).toEqual([]);
    expect(config?.misfit).toContain("no part of it works at");
  });
});

describe("an answer that is no server's", () => {
  it("is told with its status", async () => {
    const engine = await serve(json(404, {}));
    expect((await failure(() => examineEngine({ engine }), "WEIR_E_REMOTE")).message).toContain("status 404");
  });
});
