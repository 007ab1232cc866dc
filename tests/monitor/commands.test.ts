import { afterEach, describe, expect, it } from "vitest";
import { connectMonitor, type MonitorClient } from "../../monitor/client/index.js";
import { CLOSE, LIMITS } from "../../monitor/protocol/limits.js";
import {
  type CommandEffect,
  type MonitorCommand,
  MonitorHub,
  type RunningMonitor,
  startMonitor,
} from "../../monitor/server/index.js";
import { awaited, cuttableSockets, hastyClock, RawClient } from "./support.js";

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

async function start(hub: MonitorHub, options: { token?: string; viewerToken?: string } = {}): Promise<RunningMonitor> {
  const monitor = await startMonitor({ source: hub, ...options });
  closers.push(() => monitor.close());
  return monitor;
}

function connect(monitor: RunningMonitor, options: Parameters<typeof connectMonitor>[1] = {}): MonitorClient {
  const client = connectMonitor(monitor.url, { clock: hastyClock, ...options });
  closers.push(() => client.close());
  return client;
}

/** A training system that takes commands and finishes them when told. */
function scripted(hub: MonitorHub) {
  const taken: MonitorCommand[] = [];
  const finish: ((effect: CommandEffect) => void)[] = [];
  hub.onCommand((command) => {
    taken.push(command);
    return { accepted: true, effect: new Promise<CommandEffect>((resolve) => finish.push(resolve)) };
  });
  return { taken, finish };
}

describe("commands", () => {
  it("are acknowledged, then take effect, and both are on the log with their sender", async () => {
    const hub = new MonitorHub();
    const run = scripted(hub);
    const client = connect(await start(hub));
    const sent = client.command("stop", { args: { abort: true } });
    expect(await sent.ack).toMatchObject({ accepted: true, reason: null });
    expect(run.taken).toMatchObject([{ id: sent.id, name: "stop", args: { abort: true }, by: { role: "operator" } }]);
    run.finish[0]?.({ ok: true, text: "stopped after step 3", state: "stopped" });
    expect(await sent.effect).toMatchObject({ ok: true, text: "stopped after step 3", state: "stopped" });
    const log = hub
      .channel("logs")
      .entries()
      .map((entry) => (entry.data as { text: string }).text);
    expect(log).toEqual(["stop: accepted (operator at 127.0.0.1)", "stop: stopped after step 3"]);
  });

  it("of one id are carried out once, whoever repeats them and whenever", async () => {
    const hub = new MonitorHub();
    const run = scripted(hub);
    const monitor = await start(hub);
    const [one, two, late] = [connect(monitor), connect(monitor), connect(monitor)];
    const first = one.command("pause", { id: "same" });
    const second = two.command("pause", { id: "same" });
    await Promise.all([first.ack, second.ack]);
    run.finish[0]?.({ ok: true, text: "paused" });
    expect(await Promise.all([first.effect, second.effect])).toMatchObject([{ text: "paused" }, { text: "paused" }]);
    const repeated = late.command("pause", { id: "same" });
    expect(await repeated.effect).toMatchObject({ text: "paused" });
    expect(run.taken.length).toBe(1);
  });

  it("outlive a lost line: the client asks again by id and learns the effect", async () => {
    const hub = new MonitorHub();
    const run = scripted(hub);
    const sockets = cuttableSockets();
    const changed = awaited();
    const client = connect(await start(hub), { WebSocket: sockets.Constructor, onState: () => changed.poke() });
    const sent = client.command("checkpoint");
    await sent.ack;
    sockets.cut();
    await changed.until(() => client.state.kind === "lost");
    run.finish[0]?.({ ok: true, text: "written" });
    expect(await sent.effect).toMatchObject({ text: "written" });
    expect(run.taken.length).toBe(1);
  });

  it.each([
    ["no training system is attached", (_: MonitorHub) => {}, {}, /no training system is attached/],
    [
      "the state is another than expected",
      (hub: MonitorHub) => {
        scripted(hub);
        hub.publishLifecycle({ machine: "lifecycle", value: { operating: "training" } });
      },
      { expect: "paused" },
      /expected state paused, the run is in operating\.training/,
    ],
    [
      "the run refuses",
      (hub: MonitorHub) => void hub.onCommand(() => ({ accepted: false, reason: "it is over" })),
      {},
      /it is over/,
    ],
    [
      "the run throws",
      (hub: MonitorHub) =>
        void hub.onCommand(() => {
          throw new Error("boom");
        }),
      {},
      /boom/,
    ],
  ])("are refused with the reason when %s", async (_, prepare, options, reason) => {
    const hub = new MonitorHub();
    prepare(hub);
    const sent = connect(await start(hub)).command("pause", options);
    const ack = await sent.ack;
    expect(ack.accepted).toBe(false);
    expect(ack.reason).toMatch(reason);
    await expect(sent.effect).rejects.toThrow(reason);
  });

  it("take a parent state for the expected one", async () => {
    const hub = new MonitorHub();
    scripted(hub);
    hub.publishLifecycle({ machine: "lifecycle", value: { operating: "training" } });
    const client = connect(await start(hub));
    expect(await client.command("pause", { expect: "operating" }).ack).toMatchObject({ accepted: true });
  });

  it("report an effect that failed", async () => {
    const hub = new MonitorHub();
    hub.onCommand(() => ({ accepted: true, effect: Promise.reject(new Error("the disk is full")) }));
    const sent = connect(await start(hub)).command("checkpoint");
    expect(await sent.effect).toMatchObject({ ok: false, text: "the disk is full" });
  });

  it("of a viewer are refused, and after a while end the session with 4403", async () => {
    const hub = new MonitorHub();
    const run = scripted(hub);
    const monitor = await start(hub, { token: "boss", viewerToken: "guest" });
    const viewer = await RawClient.open(monitor, { headers: { authorization: "Bearer guest" } });
    expect(await viewer.next("welcome")).toMatchObject({ role: "viewer", commands: [] });
    for (let i = 0; i < LIMITS.refusals; i++) viewer.send({ type: "command", id: `v${i}`, name: "stop" });
    expect(await viewer.next("ack")).toMatchObject({ id: "v0", accepted: false });
    expect(await viewer.closing()).toBe(CLOSE.forbidden);
    expect(run.taken).toEqual([]);
    const operator = connect(monitor, { token: "boss" });
    expect(await operator.command("pause").ack).toMatchObject({ accepted: true });
  });

  it("pending at the end of the client are rejected, not forgotten", async () => {
    const hub = new MonitorHub();
    scripted(hub);
    const client = connect(await start(hub));
    const sent = client.command("pause");
    await sent.ack;
    client.close();
    await expect(sent.effect).rejects.toMatchObject({ code: "WEIR_E_MONITOR_CONNECTION" });
    await expect(client.command("pause").ack).rejects.toMatchObject({ code: "WEIR_E_MONITOR_CONNECTION" });
  });
});
