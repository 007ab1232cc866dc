import { afterEach, describe, expect, it } from "vitest";
import { CLOSE, LIMITS } from "../../monitor/protocol/limits.js";
import { MonitorHub, type RunningMonitor, startMonitor } from "../../monitor/server/index.js";
import { alert, metric, RawClient, trace, Witness } from "./support.js";

const monitors: RunningMonitor[] = [];
afterEach(async () => {
  await Promise.all(monitors.splice(0).map((monitor) => monitor.close()));
});

async function start(hub: MonitorHub, clock?: () => number): Promise<RunningMonitor> {
  const monitor = await startMonitor({ source: hub, ...(clock ? { clock } : {}) });
  monitors.push(monitor);
  return monitor;
}

/** A metric record of about 4 KB. */
const bulky = (step: number) =>
  metric(
    step,
    Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`accuracy/bucket_${i}`, Math.sqrt(step + i)])),
  );

describe("a client that does not read (I10)", () => {
  it("costs at most 4 MiB while 20 others get everything, and catches up when it reads again", async () => {
    const hub = new MonitorHub();
    const monitor = await start(hub);
    const stalled = await RawClient.open(monitor);
    for (const channel of ["metrics", "traces", "logs"]) stalled.subscribe(channel);
    await stalled.next("snapshot", (message) => message.channel === "logs");
    stalled.stall();
    const others = await Promise.all(Array.from({ length: 20 }, () => Witness.open(monitor, "metrics")));
    let step = 0;
    let most = 0;
    let publishing = 0;
    // 24 MB in rounds, more than the kernel's buffers hold: each round waits until everybody who reads has got it.
    for (let round = 0; round < 20; round++) {
      const before = performance.now();
      for (let i = 0; i < 300; i++) {
        hub.publishMetric(bulky(++step));
        if (i % 20 === 0) hub.publishTrace(trace(`t-${step}`, { completion: "x".repeat(2_000) }));
        hub.publishLog({ level: "info", text: "y".repeat(500) });
      }
      publishing += performance.now() - before;
      await Promise.all(others.map((other) => other.reached(step)));
      most = Math.max(most, ...monitor.bufferedBytes());
    }
    expect(most).toBeGreaterThan(LIMITS.messageBytes);
    expect(most).toBeLessThanOrEqual(LIMITS.hardBufferBytes);
    // Publishing 6,000 records never waited for anybody: well below a millisecond each.
    expect(publishing / step).toBeLessThan(1);
    stalled.goOn();
    await stalled.next("delta", (delta) => delta.channel === "metrics" && delta.seq === step);
    const deltas = stalled.heard.filter((message) => message.type === "delta" && message.channel === "metrics");
    const steps = deltas.flatMap((delta) => ("items" in delta ? delta.items.map((item) => item.seq) : []));
    expect(steps).toEqual(Array.from({ length: step }, (_, i) => i + 1));
    const gap = await stalled.next("gap", (message) => message.channel === "logs");
    expect(gap.dropped).toBeGreaterThan(0);
    expect(gap.reason).toBe("slow_client");
  });

  it("gets of conflated channels only the latest of each key", async () => {
    const hub = new MonitorHub();
    const monitor = await start(hub);
    const client = await RawClient.open(monitor);
    client.subscribe("pipeline");
    await client.next("snapshot");
    const gauge = {
      name: "rollouts",
      bound: 8,
      depth: 0,
      highWater: 8,
      waitingProducers: 0,
      waitingConsumers: 0,
      passed: 0,
    };
    for (let passed = 1; passed <= 5_000; passed++)
      hub.publishPipeline([
        { ...gauge, depth: passed % 8, passed },
        { ...gauge, name: "scored", passed },
      ]);
    await client.next("delta");
    const items = client.items("pipeline") as { name: string; passed: number }[];
    expect(items.map(({ name, passed }) => [name, passed])).toEqual([
      ["rollouts", 5_000],
      ["scored", 5_000],
    ]);
  });

  it("is told how many traces of a burst were left out; sequence numbers account for all of them", async () => {
    const hub = new MonitorHub();
    const monitor = await start(hub);
    const client = await RawClient.open(monitor);
    client.subscribe("traces");
    await client.next("snapshot");
    for (let i = 1; i <= 500; i++) hub.publishTrace(trace(`t-${i}`));
    const delta = await client.next("delta", (message) => message.seq === 500);
    const gap = await client.next("gap");
    expect(gap).toMatchObject({ after: 0, seq: 500 - LIMITS.samplePerFlush, dropped: 500 - LIMITS.samplePerFlush });
    expect(delta.items.length).toBe(LIMITS.samplePerFlush);
    expect((client.items("traces").at(-1) as { id: string }).id).toBe("t-500");
  });

  it("is closed with 4408 when alerts pile up behind it, and finds them all when it comes back", async () => {
    let now = 1_000_000;
    const hub = new MonitorHub({ epoch: "e" });
    const monitor = await start(hub, () => now);
    const client = await RawClient.open(monitor);
    client.subscribe("alerts");
    client.subscribe("metrics");
    await client.next("snapshot", (message) => message.channel === "metrics");
    client.stall();
    const witness = await Witness.open(monitor, "logs");
    // A flush is over when the witness, who came later, has been served.
    const flushed = async () => {
      hub.publishLog({ level: "info", text: "mark" });
      await witness.reached(hub.channel("logs").seq);
    };
    let step = 0;
    // Fills the kernel's buffers, then the server's share.
    while ((monitor.bufferedBytes()[0] ?? 0) < LIMITS.softBufferBytes / 2) {
      for (let i = 0; i < 300; i++) hub.publishMetric(bulky(++step));
      await flushed();
    }
    for (let i = 1; i <= 700; i++) hub.publishAlert(alert(i, "z".repeat(4_000)));
    now += LIMITS.stallMs + 1;
    await flushed();
    expect(Math.max(...monitor.bufferedBytes())).toBeLessThanOrEqual(LIMITS.hardBufferBytes);
    client.goOn();
    expect(await client.closing()).toBe(CLOSE.slowConsumer);
    const seen = client.items("alerts").length;
    const back = await RawClient.open(monitor);
    back.subscribe("alerts", { epoch: "e", seq: seen });
    expect((await back.next("subscribed")).recovered).toBe(true);
    await back.next("delta", (delta) => delta.channel === "alerts" && delta.seq === 700);
    expect(seen + back.items("alerts").length).toBe(700);
  });
});
