/**
 * Wrong settings of parts on servers: each is a coded error before anything is trained, and says which option or address it is about.
 */
import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createTrainingSystem } from "../../src/actors/run/training-system.js";
import type { ConfigInput } from "../../src/config/schema.js";
import { type ErrorCode, WeirError } from "../../src/errors.js";
import { parityReward, tinyConfig } from "../e2e/tiny-run.js";
import { freePort, type ServerProcess } from "./server-process.js";
import { folderOfFile, notInstalled, skyRlServer, vllmServer, writeTinyQwen3 } from "./servers.js";

const folder = folderOfFile();
const model = join(folder, "qwen3");
/** The same shapes with other weights. */
const stranger = join(folder, "stranger");
/** One with another vocabulary. */
const other = join(folder, "other");
const KEY = "the-right-key";
process.env.WEIR_TEST_KEY = KEY;
process.env.WEIR_TEST_WRONG_KEY = "another-key";
delete process.env.WEIR_TEST_NO_KEY;

beforeAll(async () => {
  await writeTinyQwen3(model);
  await writeTinyQwen3(stranger, { deviation: 0.3 });
  await writeTinyQwen3(other, { vocabulary: 800 });
});

let runs = 0;

/** Runs to the end, which is to be an error with this code whose message has the text; nothing may have been trained by then. */
async function refused(over: Partial<ConfigInput>, code: ErrorCode, text: string): Promise<void> {
  const directory = join(folder, `run-${++runs}`);
  mkdirSync(directory);
  const base = await tinyConfig({}, directory);
  const config: ConfigInput = {
    ...base,
    model: { path: model, lora: { rank: 8, alpha: 32 } },
    engine: { ...base.engine, requestTimeoutMs: 60_000 },
    phases: [{ maxTokens: 300, steps: 1 }],
    update: { ...base.update, oldLogprobs: "recompute" },
    ...over,
  };
  let caught: unknown;
  const trained: string[] = [];
  try {
    const system = createTrainingSystem(config, { actors: { reward: parityReward } });
    system.facts$.subscribe(({ type, data }) => {
      if (type === "step.committed") trained.push(type);
      if (type === "trainer.called" && (data as { call: string }).call === "optim_step") trained.push(type);
    });
    await system.start();
    await system.done;
  } catch (error) {
    caught = error;
  }
  expect(caught, `expected ${code}`).toBeInstanceOf(WeirError);
  const { message, code: found } = caught as WeirError;
  expect(found, message).toBe(code);
  expect(message).toContain(text);
  expect(message).not.toContain(KEY);
  expect(trained).toEqual([]);
  expect(journalsOf(directory).join("")).not.toContain("step.committed");
}

/** Texts of all journals below a folder. */
function journalsOf(directory: string): string[] {
  const files = readdirSync(directory, { recursive: true, encoding: "utf8" });
  return files
    .filter((file) => file.endsWith("journal.ndjson"))
    .map((file) => readFileSync(join(directory, file), "utf8"));
}

/** A raw listener; resolves to its address. */
async function listening(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${(server.address() as { port: number }).port}`;
}

describe("an address at which there is no such server", () => {
  const listeners: Server[] = [];
  afterAll(() => {
    for (const server of listeners) server.close();
  });
  const listen = (server: Server) => {
    listeners.push(server);
    return listening(server);
  };
  const parts = (url: string): Partial<ConfigInput>[] => [
    ...["vllm", "sglang"].map((actor) => ({ sampler: { actor, urls: [url], patienceMs: 500 } })),
    TINKER(url, 500),
  ];
  const short = async (over: Partial<ConfigInput>): Promise<Partial<ConfigInput>> => {
    const { engine } = await tinyConfig({}, folder);
    return { engine: { ...engine, requestTimeoutMs: 3_000 }, ...over };
  };

  it("is unreachable where nothing listens", async () => {
    const url = `http://127.0.0.1:${await freePort()}`;
    for (const over of parts(url)) await refused(await short(over), "WEIR_E_UNREACHABLE", url);
  });

  it("is unreachable where a connection is taken and nothing ever said", async () => {
    const url = await listen(createServer(() => undefined));
    for (const over of parts(url)) await refused(await short(over), "WEIR_E_UNREACHABLE", url);
  });

  it("is unreachable where the answer comes a byte at a time", async () => {
    const slow = createServer((socket) => {
      socket.write("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000000\r\n\r\n{");
      const timer = setInterval(() => socket.write(" "), 200);
      socket.on("error", () => undefined).on("close", () => clearInterval(timer));
    });
    const url = await listen(slow);
    for (const over of parts(url)) await refused(await short(over), "WEIR_E_UNREACHABLE", url);
  });

  it("is refused where something else answers", async () => {
    const page = createServer((socket) => {
      socket.on("error", () => undefined);
      socket.end("HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\nconnection: close\r\n\r\nnope");
    });
    const url = await listen(page);
    for (const over of parts(url)) await refused(await short(over), "WEIR_E_REMOTE", url);
  });
});

const TINKER = (url: string, patienceMs = 20_000): Partial<ConfigInput> => ({
  trainer: { actor: "tinker", url, patienceMs },
  sampler: { actor: "tinker" },
  optimiser: { learningRate: 1e-3, maxGradNorm: null },
  loss: { klCoefficient: 0, monitorKl: false },
});

describe.skipIf(notInstalled("vllm"))("vLLM", () => {
  let server: ServerProcess;
  beforeAll(async () => {
    server = await vllmServer({ model, folder, maxTokens: 512, options: ["--api-key", KEY] });
    await server.start();
  });
  afterAll(() => server?.end());
  const vllm = (over: Partial<NonNullable<ConfigInput["sampler"]>> = {}): Partial<ConfigInput> => ({
    sampler: { actor: "vllm", urls: [server.url], apiKeyEnv: "WEIR_TEST_KEY", patienceMs: 20_000, ...over },
  });

  it("refuses a wrong key, and none", async () => {
    await refused(vllm({ apiKeyEnv: "WEIR_TEST_WRONG_KEY" }), "WEIR_E_REMOTE", server.url);
    await refused(vllm({ apiKeyEnv: null }), "WEIR_E_REMOTE", server.url);
    await refused(vllm({ apiKeyEnv: "WEIR_TEST_NO_KEY" }), "WEIR_E_CONFIG", "WEIR_TEST_NO_KEY");
  });

  it("does not serve a model of another name", async () => {
    await refused(vllm({ model: "somebody/else" }), "WEIR_E_CONFIG", "somebody/else");
  });

  it("takes no adapter of a larger rank than it was started for", async () => {
    await refused({ ...vllm(), model: { path: model, lora: { rank: 32, alpha: 32 } } }, "WEIR_E_CAPABILITY", "rank");
  });

  it("gives other log-probs than a trainer with other weights", async () => {
    await refused({ ...vllm(), model: { path: stranger, lora: { rank: 8, alpha: 32 } } }, "WEIR_E_MISMATCH", "vllm");
  });

  it("has another vocabulary than the trainer's model", async () => {
    await refused({ ...vllm(), model: { path: other, lora: { rank: 8, alpha: 32 } } }, "WEIR_E_MISMATCH", "vllm");
  });

  it("gives log-probs after top-p, which are not the policy's", async () => {
    const base = await tinyConfig({}, folder);
    const cut = { ...vllm(), rollout: { ...base.rollout, topP: 0.9 } };
    await refused({ ...cut, update: { oldLogprobs: "sampler" } }, "WEIR_E_CAPABILITY", "update.oldLogprobs");
    await refused({ ...cut, update: { correction: { importance: "token" } } }, "WEIR_E_CAPABILITY", "correction");
  });

  it("does not speak Tinker's protocol", async () => {
    await refused(TINKER(server.url), "WEIR_E_REMOTE", server.url);
  });
});

describe.skipIf(notInstalled("skyrl"))("SkyRL", () => {
  let server: ServerProcess;
  beforeAll(async () => {
    const own = join(folder, "skyrl");
    mkdirSync(own);
    server = await skyRlServer({ model, folder: own });
    await server.start();
  });
  afterAll(() => server?.end());
  const tinker = (over: Partial<NonNullable<ConfigInput["trainer"]>> = {}): Partial<ConfigInput> => {
    const parts = TINKER(server.url);
    return { ...parts, trainer: { ...parts.trainer, ...over } };
  };

  it("does not serve a model of another name", async () => {
    await refused(tinker({ baseModel: "somebody/else" }), "WEIR_E_CONFIG", "somebody/else");
  });

  it("makes no adapter of a larger rank than it was started for", async () => {
    await refused({ ...tinker(), model: { path: model, lora: { rank: 32, alpha: 32 } } }, "WEIR_E_REMOTE", "rank");
  });

  it("trains adapters only, at temperature 1, without clipping or a KL term", async () => {
    const base = await tinyConfig({}, folder);
    await refused({ ...tinker(), model: { path: model, lora: null } }, "WEIR_E_CAPABILITY", "model.lora");
    const warm = { ...base.rollout, temperature: 0.7 };
    await refused({ ...tinker(), rollout: warm }, "WEIR_E_CAPABILITY", "rollout.temperature");
    await refused({ ...tinker(), optimiser: { maxGradNorm: 1 } }, "WEIR_E_CAPABILITY", "optimiser.maxGradNorm");
    await refused({ ...tinker(), loss: { klCoefficient: 0.1 } }, "WEIR_E_CAPABILITY", "loss.klCoefficient");
  });

  it("has other weights than the sampler's model", async () => {
    const base = await tinyConfig({}, folder);
    const apart = { sampler: { actor: "engine" }, rollout: { ...base.rollout, engines: 1 } };
    await refused(
      { ...tinker(), ...apart, model: { path: stranger, lora: { rank: 8, alpha: 32 } } },
      "WEIR_E_MISMATCH",
      "tinker",
    );
  });

  it("is no vLLM", async () => {
    await refused({ sampler: { actor: "vllm", urls: [server.url] } }, "WEIR_E_REMOTE", server.url);
  });
});
