import fc from "fast-check";
import { afterEach, describe, expect, it } from "vitest";
import { type ConnectionState, connectMonitor, type MonitorClient } from "../../monitor/client/index.js";
import { retryDelay } from "../../monitor/client/state.js";
import { MonitorHub, type RunningMonitor, startMonitor } from "../../monitor/server/index.js";
import type { MetricRecord } from "../../src/contracts/metrics.js";
import { alert, awaited, cuttableSockets, hastyClock, metric, RawClient } from "./support.js";

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

async function start(hub: MonitorHub, port = 0): Promise<RunningMonitor> {
  const monitor = await startMonitor({ source: hub, port });
  closers.push(() => monitor.close());
  return monitor;
}

function connect(url: string, options: Parameters<typeof connectMonitor>[1] = {}): MonitorClient {
  const client = connectMonitor(url, { clock: hastyClock, ...options });
  closers.push(() => client.close());
  return client;
}

describe("resuming", () => {
  it("property: whatever is published between random losses of the line arrives once and in order", async () => {
    const step = fc.oneof(
      {
        weight: 4,
        arbitrary: fc.record({ kind: fc.constant("publish" as const), count: fc.integer({ min: 1, max: 40 }) }),
      },
      { weight: 2, arbitrary: fc.constant({ kind: "cut" as const }) },
      { weight: 2, arbitrary: fc.constant({ kind: "settle" as const }) },
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 12 }), async (script) => {
        const hub = new MonitorHub();
        const monitor = await startMonitor({ source: hub });
        const sockets = cuttableSockets();
        const changed = awaited();
        const client = connectMonitor(monitor.url, {
          WebSocket: sockets.Constructor,
          clock: hastyClock,
          onState: () => changed.poke(),
        });
        let steps: number[] = [];
        let alerts: string[] = [];
        let snapshots = 0;
        client.subscribe("metrics", (event) => {
          if (event.kind === "gap") throw new Error("metrics must have no gaps");
          if (event.kind === "snapshot") snapshots++;
          const items = event.items.map((record) => record.step);
          steps = event.kind === "snapshot" ? items : [...steps, ...items];
          changed.poke();
        });
        client.subscribe("alerts", (event) => {
          if (event.kind === "gap") throw new Error("alerts must have no gaps");
          const items = event.items.map((one) => one.id);
          alerts = event.kind === "snapshot" ? items : [...alerts, ...items];
          changed.poke();
        });
        let published = 0;
        const arrived = () =>
          changed.until(() => snapshots > 0 && steps.length >= published && alerts.length >= published);
        for (const action of [...script, { kind: "settle" as const }]) {
          if (action.kind === "publish")
            for (let i = 0; i < action.count; i++) {
              published++;
              hub.publishMetric(metric(published));
              hub.publishAlert(alert(published));
            }
          else if (action.kind === "cut") sockets.cut();
          else await arrived();
        }
        const expected = Array.from({ length: published }, (_, i) => i + 1);
        client.close();
        await monitor.close();
        expect(steps).toEqual(expected);
        expect(alerts).toEqual(expected.map((n) => `alert-${n}`));
        // Within one epoch the first snapshot is the only one, however often the line was cut after it was whole.
        expect(snapshots).toBe(1);
      }),
      { numRuns: 25 },
    );
  });

  it("continues by deltas within an epoch and starts anew in another", async () => {
    const hub = new MonitorHub({ epoch: "first" });
    for (let i = 1; i <= 5; i++) hub.publishMetric(metric(i));
    const monitor = await start(hub);
    const same = await RawClient.open(monitor, { hello: false });
    same.send({ type: "hello", protocol: 2, client: "t", resume: { epoch: "first", channels: { metrics: 3 } } });
    expect(await same.next("subscribed")).toMatchObject({ channel: "metrics", recovered: true, seq: 3 });
    const delta = await same.next("delta");
    expect([delta.after, delta.seq, delta.items.map((item) => item.seq)]).toEqual([3, 5, [4, 5]]);
    const other = await RawClient.open(monitor, { hello: false });
    other.send({ type: "hello", protocol: 2, client: "t", resume: { epoch: "before", channels: { metrics: 3 } } });
    expect(await other.next("subscribed")).toMatchObject({ recovered: false, seq: 5 });
    expect(await other.next("snapshot")).toMatchObject({ seq: 5, part: 0, last: true });
  });

  it("gives a snapshot where the history no longer reaches back, and to a number that was never given out", async () => {
    const hub = new MonitorHub({ epoch: "e" });
    for (let i = 1; i <= 5_100; i++) hub.publishAlert(alert(i));
    const monitor = await start(hub);
    for (const seq of [50, 9_999]) {
      const client = await RawClient.open(monitor);
      client.subscribe("alerts", { epoch: "e", seq });
      expect((await client.next("subscribed")).recovered).toBe(false);
      await client.next("snapshot", (message) => message.last);
      expect(client.items("alerts").length).toBe(5_000);
    }
  });

  it("comes back to a restarted server at the same address, with its new history", async () => {
    const first = new MonitorHub();
    first.publishMetric(metric(1));
    const monitor = await start(first);
    const changed = awaited();
    let latest: readonly MetricRecord[] = [];
    const states: ConnectionState["kind"][] = [];
    const client = connect(monitor.url, {
      onState: (state) => {
        states.push(state.kind);
        changed.poke();
      },
    });
    client.subscribe("metrics", (event) => {
      if (event.kind === "snapshot") latest = event.items;
      changed.poke();
    });
    await changed.until(() => latest.length === 1);
    await monitor.close();
    await changed.until(() => states.includes("lost"));
    const second = new MonitorHub();
    second.publishMetric(metric(1));
    second.publishMetric(metric(2));
    await start(second, monitor.port);
    await changed.until(() => latest.length === 2 && client.state.kind === "live");
    expect(states.filter((kind) => kind !== "connecting" && kind !== "lost")).toContain("live");
  });

  it("a history of many pages arrives whole, in parts below the size of a message", async () => {
    const hub = new MonitorHub();
    const values = Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`reward/mean${i}`, Math.PI * i]));
    for (let i = 1; i <= 3_000; i++) hub.publishMetric(metric(i, values));
    const monitor = await start(hub);
    const client = await RawClient.open(monitor);
    client.subscribe("metrics");
    await client.next("snapshot", (message) => message.last);
    const parts = client.heard.filter((message) => message.type === "snapshot");
    expect(parts.length).toBeGreaterThan(3);
    for (const part of parts) expect(JSON.stringify(part).length).toBeLessThan(300 * 1024);
    const blocks = client.items("metrics") as { steps: number[] }[];
    expect(blocks.flatMap((block) => block.steps)).toEqual(Array.from({ length: 3_000 }, (_, i) => i + 1));
  });

  it("an async iterator gives the snapshot, then deltas, and ends when it is left", async () => {
    const hub = new MonitorHub();
    const monitor = await start(hub);
    const client = connect(monitor.url);
    const events = client.events("metrics");
    const first = await events.next();
    expect(first.value).toMatchObject({ kind: "snapshot", items: [] });
    hub.publishMetric(metric(1));
    expect((await events.next()).value).toMatchObject({ kind: "delta", items: [{ step: 1 }] });
    await events.return?.();
    expect(await events.next()).toEqual({ value: undefined, done: true });
  });

  it("waits longer from try to try, spread by chance, up to a bound", () => {
    expect([0, 1, 2, 3, 10].map((attempt) => retryDelay(attempt, 0))).toEqual([125, 250, 500, 1_000, 7_500]);
    expect([0, 3, 10].map((attempt) => retryDelay(attempt, 0.999))).toEqual([250, 1_999, 14_993]);
  });

  it("says that it was refused, and does not try again, when the token is wrong", async () => {
    const monitor = await startMonitor({ source: new MonitorHub(), token: "right" });
    closers.push(() => monitor.close());
    for (const token of [undefined, "wrong"]) {
      const client = connect(monitor.url, token ? { token } : {});
      await expect(client.ready()).rejects.toMatchObject({ code: "WEIR_E_MONITOR_CONNECTION" });
      expect(client.state.kind).toBe("unauthorised");
    }
    const client = connect(monitor.url, { token: "right" });
    expect((await client.ready()).role).toBe("operator");
  });
});
