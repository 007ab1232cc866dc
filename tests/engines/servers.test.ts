/** Each server that is installed can be started, killed, started again at the same address, and ended. */

import { mkdirSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { freePort, ServerProcess } from "./server-process.js";
import {
  folderOfFile,
  natsServer,
  notInstalled,
  skyRlServer,
  TINY_LLAMA,
  vllmServer,
  writeTinyQwen3,
} from "./servers.js";

const folder = folderOfFile();

async function isOpen(url: string): Promise<boolean> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve) => {
    const socket = connect(Number(port), hostname);
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
}

async function livesThrough(server: ServerProcess): Promise<void> {
  try {
    await server.start();
    expect(await isOpen(server.url)).toBe(true);
    await server.kill();
    expect(await isOpen(server.url)).toBe(false);
    await server.start();
    expect(await isOpen(server.url)).toBe(true);
  } finally {
    await server.end();
  }
  expect(await isOpen(server.url)).toBe(false);
  expect(server.running).toBe(false);
}

function folderNamed(name: string): string {
  const path = join(folder, name);
  mkdirSync(path, { recursive: true });
  return path;
}

describe("a server process", () => {
  const script = (text: string, more: Partial<ConstructorParameters<typeof ServerProcess>[0]> = {}) =>
    new ServerProcess({
      name: "a script",
      command: process.execPath,
      args: ["-e", text],
      url: "http://127.0.0.1:1",
      log: join(folder, "script.log"),
      ready: (log) => log.includes("ready"),
      startMs: 20_000,
      ...more,
    });

  it("is ready once it says so, after each start", async () => {
    const port = await freePort();
    await livesThrough(
      script(`require("http").createServer().listen(${port}, "127.0.0.1", () => console.log("ready"))`, {
        url: `http://127.0.0.1:${port}`,
      }),
    );
  });

  it("says what it wrote where it ends before it is ready", async () => {
    await expect(script(`console.error("no model"); process.exit(3)`).start()).rejects.toThrow(
      /ended before.*no model/s,
    );
  });

  it("is ended where it is not ready in time", async () => {
    const server = script("setInterval(() => {}, 1000)", { startMs: 300 });
    await expect(server.start()).rejects.toThrow("was not ready within 300 ms");
    expect(server.running).toBe(false);
  });

  it("ends with what it started, also where that takes no notice of SIGTERM", async () => {
    const port = await freePort();
    const child = join(folder, "child.cjs");
    writeFileSync(
      child,
      `process.on("SIGTERM", () => {}); require("http").createServer().listen(${port}, "127.0.0.1", () => console.log("ready"));`,
    );
    const server = script(
      `require("child_process").spawn(process.execPath, [${JSON.stringify(child)}], { stdio: "inherit" })`,
      {
        url: `http://127.0.0.1:${port}`,
      },
    );
    await server.start();
    await server.end();
    expect(await isOpen(server.url)).toBe(false);
  });
});

describe.skipIf(notInstalled("nats"))("NATS", () => {
  it("starts, is killed, starts again and ends", async () => {
    await livesThrough(await natsServer({ folder: folderNamed("nats") }));
  });
});

describe.skipIf(notInstalled("vllm"))("vLLM", () => {
  it("starts, is killed, starts again and ends", async () => {
    const model = await writeTinyQwen3(folderNamed("qwen3"));
    await livesThrough(await vllmServer({ model, maxTokens: 512, folder: folderNamed("vllm") }));
  });
});

describe.skipIf(notInstalled("skyrl"))("SkyRL", () => {
  it("starts, is killed, starts again and ends", async () => {
    await livesThrough(await skyRlServer({ model: TINY_LLAMA, folder: folderNamed("skyrl") }));
  });
});
