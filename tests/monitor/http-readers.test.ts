/** Plain HTTP readers that are slow, many or never there: they cost a bounded amount and are let go. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import fc from "fast-check";
import { afterEach, describe, expect, it } from "vitest";
import { LIMITS } from "../../monitor/protocol/limits.js";
import { MonitorHub, type MonitorOptions, type RunningMonitor, startMonitor } from "../../monitor/server/index.js";
import { jsonChunks } from "../../monitor/server/json-chunks.js";
import { METRICS } from "../../src/streams/telemetry/metrics.js";
import { metric, RawClient, trace, Witness } from "./support.js";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean();
});

async function start(hub = new MonitorHub(), options: Partial<MonitorOptions> = {}): Promise<RunningMonitor> {
  if (!hub.run) hub.publishRun({ id: "r1", status: "running" });
  const monitor = await startMonitor({ source: hub, ...options });
  cleanups.push(() => monitor.close());
  return monitor;
}

/** A connection that sends a text and reads nothing by itself. */
async function raw(monitor: RunningMonitor, text: string): Promise<Socket> {
  const socket = connect(monitor.port, "127.0.0.1");
  cleanups.push(() => socket.destroy());
  socket.on("error", () => {});
  socket.pause();
  await once(socket, "connect");
  socket.write(text);
  return socket;
}

const get = (monitor: RunningMonitor, path: string) =>
  `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1:${monitor.port}\r\n\r\n`;

/** What a connection still says until its end. */
function rest(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    let text = "";
    socket.setEncoding("utf8").on("data", (chunk: string) => {
      text += chunk;
    });
    socket.on("close", () => resolve(text));
    socket.resume();
  });
}

/** Ten thousand steps of every metric: some 20 MB of JSON. */
function longRun(): MonitorHub {
  const hub = new MonitorHub();
  hub.publishRun({ id: "r1", status: "running" });
  const names = METRICS.map((one) => one.name.replace("<k>", "1"));
  for (let step = 1; step <= 10_000; step++)
    hub.publishMetric(metric(step, Object.fromEntries(names.map((name, i) => [name, Math.sqrt(step * (i + 1))]))));
  return hub;
}

const SHORT = { requestMs: 60, stallMs: 300, answerMs: 60_000, idleMs: 60_000 };

describe("HTTP readers (I10)", () => {
  it("60 that never read the largest answer cost less than 4 MiB each, and 99 live clients get every step", async () => {
    const hub = longRun();
    const monitor = await start(hub);
    const clients = await Promise.all(Array.from({ length: 99 }, () => Witness.open(monitor, "metrics", "latest")));
    const before = process.memoryUsage.rss();
    const path = "/v2/runs/r1/metrics?points=20000";
    const stalled = await Promise.all(Array.from({ length: 60 }, () => raw(monitor, get(monitor, path))));
    await Promise.all(stalled.map((socket) => once(socket, "readable")));
    const times: number[] = [];
    for (let step = 10_001; step <= 10_009; step++) {
      const from = performance.now();
      hub.publishMetric(metric(step));
      times.push(performance.now() - from);
      await Promise.all(clients.map((client) => client.reached(step)));
    }
    expect((process.memoryUsage.rss() - before) / 60).toBeLessThan(4 << 20);
    // Publishing is the run's own work: it waits for nobody. The median leaves out what other processes took.
    expect(times.sort((a, b) => a - b)[4]).toBeLessThan(5);
  });

  it("the large answer is whole for who reads it", async () => {
    const hub = longRun();
    const monitor = await start(hub);
    const answer = await fetch(new URL("/v2/runs/r1/metrics?points=20000", monitor.url));
    const { total, records } = (await answer.json()) as { total: number; records: unknown[] };
    expect(total).toBe(10_000);
    expect(records).toEqual(hub.metrics.records());
  });

  it("one that stops reading is closed when nothing has moved for a while", async () => {
    const monitor = await start(longRun(), { httpTimes: { ...SHORT, requestMs: 60_000 } });
    const socket = await raw(monitor, get(monitor, "/v2/runs/r1/metrics?points=20000"));
    await once(socket, "readable");
    // Two connections that do nothing are closed one after the other: by then it has stood still for longer than either.
    for (let i = 0; i < 2; i++) await rest(await raw(monitor, ""));
    // Only what the kernel had taken is left to read.
    const text = await rest(socket);
    expect(text.slice(0, 15)).toBe("HTTP/1.1 200 OK");
    expect(text.endsWith("0\r\n\r\n")).toBe(false);
  });

  it("an answer that takes too long is cut, however busily it is read", async () => {
    const monitor = await start(longRun(), { httpTimes: { ...SHORT, requestMs: 5_000, stallMs: 5_000, answerMs: 1 } });
    const text = await rest(await raw(monitor, get(monitor, "/v2/runs/r1/metrics?points=20000")));
    expect(text.endsWith("0\r\n\r\n")).toBe(false);
  });

  it.each([
    ["nothing at all", ""],
    ["half a head", "GET / HTTP/1.1\r\nHost: 127"],
    ["a body that never ends", "POST /v2/tickets HTTP/1.1\r\nHost: x\r\ncontent-length: 100000\r\n\r\nabc"],
  ])("one that sends %s is let go", async (_, text) => {
    const monitor = await start(new MonitorHub(), { httpTimes: SHORT });
    const socket = await raw(monitor, text);
    socket.resume();
    await once(socket, "close");
    expect(socket.destroyed).toBe(true);
  });

  it("refuses the connection beyond those of one address, and has room again when one goes", async () => {
    const monitor = await start();
    // Upgraded connections do not count: a crowd of viewers leaves the page reachable.
    await Promise.all(Array.from({ length: 90 }, () => RawClient.open(monitor)));
    const idle = await Promise.all(Array.from({ length: LIMITS.httpPerAddress }, () => raw(monitor, "")));
    const refused = await rest(await raw(monitor, get(monitor, "/healthz")));
    expect(refused).toMatch(/^HTTP\/1\.1 503 [\s\S]*Too many connections\.\n$/);
    const [first, second] = idle as [Socket, Socket];
    first.destroy();
    second.write(get(monitor, "/healthz").replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n"));
    expect(await rest(second)).toMatch(/^HTTP\/1\.1 200 /);
    const served = await rest(
      await raw(monitor, get(monitor, "/healthz").replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n")),
    );
    expect(served).toMatch(/^HTTP\/1\.1 200 /);
  });

  it("HEAD has the head of GET and no body; other methods are told what is served", async () => {
    const monitor = await start();
    const url = new URL("/v2/runs", monitor.url);
    const [head, whole] = [await fetch(url, { method: "HEAD" }), await fetch(url)];
    expect(await head.text()).toBe("");
    expect(head.headers.get("etag")).toBe(whole.headers.get("etag"));
    expect(head.headers.get("content-type")).toBe("application/json; charset=utf-8");
    const put = await fetch(url, { method: "PUT" });
    expect([put.status, put.headers.get("allow")]).toEqual([405, "GET, HEAD"]);
    expect((await fetch(url, { headers: { range: "bytes=0-3" } })).status).toBe(200);
  });

  it("a mistake in one answer is an answer 500, and the server goes on", async () => {
    const hub = new MonitorHub();
    const monitor = await start(hub);
    hub.findTrace = () => Promise.reject(new Error("broken"));
    expect((await fetch(new URL("/v2/traces/x", monitor.url))).status).toBe(500);
    expect((await fetch(new URL("/healthz", monitor.url))).status).toBe(200);
  });

  it("a trace of two megabytes with pairs of surrogates at every seam arrives as it is", async () => {
    const hub = new MonitorHub();
    const big = trace("big", { prompt: `x${"🔬".repeat(500_000)}`, completion: '\u0000"\\\n'.repeat(40_000) });
    hub.publishTrace(big);
    const monitor = await start(hub);
    expect(await (await fetch(new URL("/v2/traces/big", monitor.url))).json()).toEqual(big);
  });
});

describe("JSON in pieces", () => {
  it("is the JSON of the value", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect([...jsonChunks(value)].join("")).toBe(JSON.stringify(value));
      }),
    );
    expect([...jsonChunks({ a: undefined, b: [undefined, 1] })].join("")).toBe('{"b":[null,1]}');
  });

  it("comes in small pieces, also where one text is long", () => {
    const pieces = [...jsonChunks({ text: "é".repeat(1_000_000), list: Array.from({ length: 100_000 }, (_, i) => i) })];
    expect(Math.max(...pieces.map((piece) => piece.length))).toBeLessThan(70_000);
    expect(pieces.length).toBeGreaterThan(30);
  });
});
