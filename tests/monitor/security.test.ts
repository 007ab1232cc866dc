import { request } from "node:http";
import { connect } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { WebSocket } from "ws";
import { CLOSE, LIMITS, STREAM_PATH, SUBPROTOCOL, TICKET_PREFIX } from "../../monitor/protocol/limits.js";
import { MonitorHub, type MonitorOptions, type RunningMonitor, startMonitor } from "../../monitor/server/index.js";
import { Tickets } from "../../monitor/server/tickets.js";
import { RawClient } from "./support.js";

const monitors: RunningMonitor[] = [];
afterEach(async () => {
  await Promise.all(monitors.splice(0).map((monitor) => monitor.close()));
});

async function start(options: Partial<MonitorOptions> = {}): Promise<RunningMonitor> {
  const source = new MonitorHub();
  source.publishRun({ id: "r1", status: "running" });
  const monitor = await startMonitor({ source, ...options });
  monitors.push(monitor);
  return monitor;
}

/** HTTP status of an upgrade; 101 when it went through. */
function upgrade(
  monitor: RunningMonitor,
  headers: Record<string, string>,
  protocols = [SUBPROTOCOL],
  path = STREAM_PATH,
) {
  return new Promise<number>((resolve) => {
    const socket = new WebSocket(`ws://127.0.0.1:${monitor.port}${path}`, protocols, { headers });
    socket.on("open", () => {
      socket.close();
      resolve(101);
    });
    socket.on("unexpected-response", (_, response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    });
    socket.on("error", () => {});
  });
}

function get(monitor: RunningMonitor, path: string, headers: Record<string, string> = {}, method = "GET") {
  return new Promise<{ status: number; headers: NodeJS.Dict<string | string[]>; body: string }>((resolve, reject) => {
    const call = request({ host: "127.0.0.1", port: monitor.port, path, method, headers }, (response) => {
      let body = "";
      response.setEncoding("utf8").on("data", (chunk: string) => {
        body += chunk;
      });
      response.on("end", () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body }));
    });
    call.on("error", reject).end();
  });
}

const TOKEN = "correct horse";
const ticketOf = async (monitor: RunningMonitor, token = TOKEN) =>
  (
    JSON.parse((await get(monitor, "/v2/tickets", { authorization: `Bearer ${token}` }, "POST")).body) as {
      ticket: string;
    }
  ).ticket;

describe("who may connect", () => {
  it.each([
    ["its own page", (port: number) => ({ origin: `http://127.0.0.1:${port}` }), 101],
    [
      "the page under localhost",
      (port: number) => ({ host: `localhost:${port}`, origin: `http://localhost:${port}` }),
      101,
    ],
    ["a program, which sends no Origin", () => ({}), 101],
    ["a foreign page", () => ({ origin: "https://evil.example" }), 403],
    ["a page of another port", (port: number) => ({ origin: `http://127.0.0.1:${port + 1}` }), 403],
    ["a sandboxed page", () => ({ origin: "null" }), 403],
    ["a foreign Host (DNS rebinding)", (port: number) => ({ host: `evil.example:${port}` }), 403],
    ["the right Host on another port", () => ({ host: "127.0.0.1:1" }), 403],
  ])("on loopback, %s", async (_, headers, status) => {
    const monitor = await start();
    expect(await upgrade(monitor, headers(monitor.port))).toBe(status);
  });

  it("refuses an upgrade elsewhere than the stream, and without the subprotocol", async () => {
    const monitor = await start();
    expect(await upgrade(monitor, {}, [SUBPROTOCOL], "/")).toBe(404);
    expect(await upgrade(monitor, {}, ["something.else"])).toBe(400);
  });

  it("tells a client of another version of the protocol which one it speaks", async () => {
    const monitor = await start();
    expect(await upgrade(monitor, {}, ["weir.monitor.v1.json"], "/v1/stream")).toBe(410);
    const answer = await get(monitor, "/v1/tickets", {}, "POST");
    expect([answer.status, answer.body]).toEqual([410, expect.stringContaining("speaks version 2 of the protocol")]);
    expect((await get(monitor, "/v1/runs")).status).toBe(410);
    expect(await upgrade(monitor, {}, ["weir.monitor.v1.json"])).toBe(400);
  });

  it("with a token: asks for it, takes it as a header or as a ticket, and each ticket once", async () => {
    const monitor = await start({ token: TOKEN });
    expect(await upgrade(monitor, {})).toBe(401);
    expect(await upgrade(monitor, { authorization: "Bearer wrong" })).toBe(401);
    expect(await upgrade(monitor, { authorization: `Bearer ${TOKEN}` })).toBe(101);
    const ticket = await ticketOf(monitor);
    const offered = [SUBPROTOCOL, `${TICKET_PREFIX}${ticket}`];
    expect(await upgrade(monitor, {}, offered)).toBe(101);
    expect(await upgrade(monitor, {}, offered)).toBe(401);
    expect(await upgrade(monitor, { origin: "https://evil.example", authorization: `Bearer ${TOKEN}` })).toBe(403);
  });

  it("a ticket dies of age", () => {
    let now = 0;
    const tickets = new Tickets(() => now);
    const { ticket } = tickets.issue("operator");
    now = LIMITS.ticketMs + 1;
    expect(tickets.redeem(ticket)).toBeNull();
  });

  it("keeps a bounded number of unused tickets", () => {
    const tickets = new Tickets(() => 0);
    const first = tickets.issue("viewer").ticket;
    for (let i = 0; i < LIMITS.tickets; i++) tickets.issue("viewer");
    expect(tickets.redeem(first)).toBeNull();
  });

  it("beyond loopback it does not start without a token, and with allowUnsafe only shows", async () => {
    await expect(start({ host: "0.0.0.0" })).rejects.toMatchObject({ code: "WEIR_E_MONITOR_UNSAFE" });
    const unsafe = await start({ host: "0.0.0.0", allowUnsafe: true });
    const client = await RawClient.open(unsafe);
    expect((await client.next("welcome")).role).toBe("viewer");
    expect((await get(await start({ host: "0.0.0.0", token: TOKEN }), "/v2/runs")).status).toBe(401);
  });

  it("names the address that it cannot listen on", async () => {
    const first = await start();
    await expect(start({ port: first.port })).rejects.toMatchObject({ code: "WEIR_E_MONITOR_ADDRESS" });
  });

  it("holds a bounded number of connections", async () => {
    const monitor = await start();
    await Promise.all(Array.from({ length: LIMITS.connections }, () => RawClient.open(monitor)));
    expect(await upgrade(monitor, {})).toBe(503);
  });
});

describe("what a client may send", () => {
  it.each([
    ["no JSON", "{", CLOSE.protocol],
    ["an unknown type", JSON.stringify({ type: "dance" }), CLOSE.protocol],
    ["a message before hello", JSON.stringify({ type: "ping" }), CLOSE.protocol],
    ["more than 64 KiB", JSON.stringify({ type: "hello", protocol: 2, client: "x".repeat(70_000) }), CLOSE.tooBig],
    ["binary data", Buffer.from([1, 2, 3]), CLOSE.protocol],
  ])("%s closes the session", async (_, data, code) => {
    const client = await RawClient.open(await start(), { hello: false });
    client.socket.send(data);
    expect(await client.closing()).toBe(code);
  });

  it("a flood closes the session", async () => {
    const client = await RawClient.open(await start());
    for (let i = 0; i < 60; i++) client.send({ type: "ping" });
    expect(await client.closing()).toBe(CLOSE.protocol);
    expect((await client.next("error")).code).toBe("too_fast");
  });

  it("a second hello closes the session", async () => {
    const client = await RawClient.open(await start());
    client.send({ type: "hello", protocol: 2, client: "again" });
    expect(await client.closing()).toBe(CLOSE.protocol);
  });

  it("a trace that is not held is said to be missing", async () => {
    const client = await RawClient.open(await start());
    client.send({ type: "subscribe", id: "t", channel: "trace/unknown" });
    expect(await client.next("error")).toMatchObject({ id: "t", code: "not_found" });
  });
});

describe("what is served over HTTP", () => {
  it.each([
    "/../package.json",
    "/..%2fpackage.json",
    "/%2e%2e/%2e%2e/etc/passwd",
    "/assets/../../../../etc/passwd",
    "//etc/passwd",
    "/assets/%00",
    "/index.html/..",
  ])("%s reaches no file", async (path) => {
    const { status, body } = await get(await start(), path);
    expect([400, 404, 200]).toContain(status);
    expect(body).not.toMatch(/root:|"name": "weir-rl"/);
  });

  it("a raw request with a path outside is answered without a file", async () => {
    const monitor = await start();
    const answer = await new Promise<string>((resolve) => {
      const socket = connect(monitor.port, "127.0.0.1", () =>
        socket.write(
          `GET /../../../../etc/passwd HTTP/1.1\r\nhost: 127.0.0.1:${monitor.port}\r\nconnection: close\r\n\r\n`,
        ),
      );
      let text = "";
      socket.on("data", (chunk) => {
        text += String(chunk);
      });
      socket.on("close", () => resolve(text));
    });
    expect(answer).toMatch(/^HTTP\/1.1 404/);
  });

  it("every answer forbids foreign scripts and frames; foreign names and pages get nothing", async () => {
    const monitor = await start();
    const page = await get(monitor, "/");
    expect(page.headers["content-security-policy"]).toMatch(
      /default-src 'none'.*script-src 'self'.*frame-ancestors 'none'/,
    );
    expect(page.headers["x-content-type-options"]).toBe("nosniff");
    expect((await get(monitor, "/v2/runs", { host: "evil.example" })).status).toBe(403);
    expect((await get(monitor, "/v2/tickets", { origin: "https://evil.example" }, "POST")).status).toBe(403);
    expect((await get(monitor, "/v2/runs", {}, "DELETE")).status).toBe(405);
  });

  it("data needs the token, health does not", async () => {
    const monitor = await start({ token: TOKEN, viewerToken: "looker" });
    for (const path of ["/v2/runs", "/v2/alerts", "/v2/traces", "/metrics"]) {
      expect((await get(monitor, path)).status).toBe(401);
      expect((await get(monitor, path, { authorization: "Bearer looker" })).status).toBe(200);
    }
    expect((await get(monitor, "/healthz")).status).toBe(200);
    expect((await get(monitor, "/v2/tickets", {}, "POST")).status).toBe(401);
  });
});
