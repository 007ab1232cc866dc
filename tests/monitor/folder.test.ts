/** Runs shown from their folder: journals that grow, are cut or damaged; rollouts on disk; a stale monitor.json; long runs. */
import { appendFile, mkdtemp, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { connectMonitor } from "../../monitor/client/index.js";
import { LIMITS } from "../../monitor/protocol/limits.js";
import {
  announceMonitor,
  findMonitor,
  MonitorHub,
  openReplay,
  replayRun,
  startMonitor,
} from "../../monitor/server/index.js";
import { JournalTail } from "../../monitor/server/journal-tail.js";
import { openTarget } from "../../src/cli/monitor-target.js";
import type { Trace } from "../../src/contracts/trace.js";
import { RunFolder, writeRollouts } from "../../src/store/index.js";
import { METRICS } from "../../src/streams/telemetry/metrics.js";
import { COMMITTED, STARTED } from "../helpers/facts.js";
import { RawClient, trace } from "./support.js";

let root: string;
const cleanups: (() => unknown)[] = [];
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "weir-folder-"));
});
afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean();
  await rm(root, { recursive: true, force: true });
});

const newRun = (id = "r1") => RunFolder.create({ root, id, seed: 1, config: {}, dataset: {} });
const line = (seq: number, time = seq, type = "step.committed") =>
  `${JSON.stringify({ schema_version: 1, seq, type, step: seq, time, data: COMMITTED })}\n`;

describe("a journal that another process writes", () => {
  const journal = () => join(root, "journal.ndjson");
  const seqs = (tail: JournalTail) => tail.read().facts.map((fact) => fact.seq);

  it("is read once: each look brings what is new, and a line without its end waits", async () => {
    const tail = new JournalTail(journal());
    expect(seqs(tail)).toEqual([]);
    await writeFile(journal(), line(1) + line(2));
    expect(seqs(tail)).toEqual([1, 2]);
    expect(seqs(tail)).toEqual([]);
    const third = line(3);
    await appendFile(journal(), third.slice(0, 20));
    expect(seqs(tail)).toEqual([]);
    await appendFile(journal(), third.slice(20) + line(4));
    expect(seqs(tail)).toEqual([3, 4]);
  });

  it("is read anew when it was cut, also when it has grown past the old place since", async () => {
    const tail = new JournalTail(journal());
    await writeFile(journal(), line(1) + line(2) + line(3));
    tail.read();
    await truncate(journal(), line(1).length);
    await appendFile(journal(), line(2, 20));
    expect(tail.read()).toMatchObject({ restarted: true, facts: [{ seq: 1 }, { seq: 2, time: 20 }] });
    await truncate(journal(), line(1).length);
    await appendFile(journal(), line(2, 30) + line(3, 31) + line(4, 32) + line(5, 33));
    expect(tail.read()).toMatchObject({ restarted: true, facts: [{}, { time: 30 }, {}, {}, { seq: 5 }] });
    expect(tail.read()).toEqual({ facts: [], restarted: false, damaged: 0 });
  });

  it("longer than a piece of reading, with letters of several bytes at every seam, comes whole", async () => {
    const text = "é🔬".repeat(200);
    const long = (seq: number) => line(seq).replace(COMMITTED.sha256, text);
    await writeFile(journal(), Array.from({ length: 3_000 }, (_, i) => long(i + 1)).join(""));
    expect((await stat(journal())).size).toBeGreaterThan(3 << 20);
    const { facts, damaged } = new JournalTail(journal()).read();
    expect([
      facts.length,
      damaged,
      facts.filter((fact) => fact.type !== "step.committed" || fact.data.sha256 !== text).length,
    ]).toEqual([3_000, 0, 0]);
  });

  it("with a damaged line shows the rest and says so", async () => {
    const folder = await newRun();
    folder.append("run.started", 0, STARTED);
    folder.append("metrics.recorded", 1, { phase: 1, values: { "reward/mean": 0.5 } });
    folder.append("metrics.recorded", 2, { phase: 1, values: { "reward/mean": 0.75 } });
    await folder.close();
    const path = join(folder.directory, "journal.ndjson");
    const lines = (await readFile(path, "utf8")).split("\n");
    lines[1] = "\u0000\u0000 damaged";
    await writeFile(path, lines.join("\n"));
    const hub = await replayRun(folder.directory);
    expect(hub.metrics.records().map((record) => record.values)).toEqual([{ "reward/mean": 0.75 }]);
    expect(hub.channel("logs").entries()[0]?.data).toMatchObject({
      text: "journal.ndjson: 1 damaged line is left out",
    });
  });
});

describe("rollouts of a run folder", () => {
  /** Steps with one rollout each, all longer ago than what memory holds. */
  async function runWithShards(steps: number): Promise<string> {
    const folder = await newRun();
    for (let step = 1; step <= steps; step++)
      await writeRollouts(join(folder.directory, "rollouts"), step, [
        trace(`s${step}-q0-g0`, { step, completion: `answer ${step}` }),
        trace(`old-${step}`, { step }),
      ]);
    await folder.close();
    return folder.directory;
  }
  async function serveEmpty(directory: string) {
    const hub = new MonitorHub();
    hub.publishRun({ id: "r1" });
    hub.useFolder(directory);
    const monitor = await startMonitor({ source: hub });
    cleanups.push(() => monitor.close());
    return monitor;
  }

  it("that are not in memory are found by their id, by their step, or among the newest", async () => {
    const monitor = await serveEmpty(await runWithShards(4));
    const client = await RawClient.open(monitor);
    client.subscribe("trace/s2-q0-g0");
    const head = await client.next("snapshot", (one) => one.channel === "trace/s2-q0-g0");
    expect(head.items[0]?.data).toMatchObject({ part: "head", trace: { step: 2, completion: "answer 2" } });
    client.send({ type: "subscribe", id: "hinted", channel: "trace/old-1", step: 1 });
    expect((await client.next("subscribed", (one) => one.id === "hinted")).channel).toBe("trace/old-1");
    const found = (await (await fetch(new URL("/v2/traces/old-3", monitor.url))).json()) as Trace;
    expect(found).toMatchObject({ id: "old-3", step: 3 });
    client.subscribe("trace/s9-q0-g0");
    expect(await client.next("error")).toMatchObject({ code: "not_found" });
    const listed = (await (await fetch(new URL("/v2/traces?step=3", monitor.url))).json()) as { traces: Trace[] };
    expect(listed.traces.map((one) => one.id)).toEqual(["old-3", "s3-q0-g0"]);
    const wrong = await fetch(new URL("/v2/traces/old-4?step=2", monitor.url));
    expect(wrong.status).toBe(404);
  });

  it("one damaged shard hides neither the run nor the others", async () => {
    const directory = await runWithShards(3);
    await writeFile(join(directory, "rollouts", "step-00002.parquet"), "PAR1 no more");
    const hub = await replayRun(directory);
    const steps = hub
      .channel("traces")
      .entries()
      .map((entry) => (entry.data as { step: number }).step);
    expect([...new Set(steps)]).toEqual([1, 3]);
    expect(
      hub
        .channel("logs")
        .entries()
        .map((entry) => (entry.data as { text: string }).text),
    ).toEqual([expect.stringMatching(/^rollouts of step 2 are left out: .*step-00002\.parquet/)]);
    expect(await hub.findTrace("old-2", null)).toBeNull();
    expect(await hub.findTrace("old-1", null)).toMatchObject({ id: "old-1" });
  });

  it("that come after the page has connected are shown whole, not sampled", async () => {
    const replay = await openReplay(await runWithShards(80));
    const monitor = await startMonitor({ source: replay.hub });
    cleanups.push(() => monitor.close());
    const client = connectMonitor(monitor.url);
    cleanups.push(() => client.close());
    const counts = new Promise<number>((resolve) => {
      client.subscribe("traces", (event) => {
        if (event.kind === "gap") resolve(-event.dropped);
        else if (event.items.length > 0) resolve(event.items.length);
      });
    });
    await replay.traces;
    expect(await counts).toBe(160);
  });
});

describe("monitor.json", () => {
  async function announced() {
    const monitor = await startMonitor({ source: new MonitorHub() });
    cleanups.push(() => monitor.close());
    return { directory: root, monitor, withdraw: await announceMonitor(root, monitor.url) };
  }

  it("is for its owner only, and holds no secret", async () => {
    const monitor = await startMonitor({ source: new MonitorHub(), token: "very secret" });
    cleanups.push(() => monitor.close());
    await announceMonitor(root, monitor.url);
    expect((await stat(join(root, "monitor.json"))).mode & 0o777).toBe(0o600);
    expect(await readFile(join(root, "monitor.json"), "utf8")).not.toContain("secret");
  });

  it("left behind by a killed run is recognised when another monitor has got the port", async () => {
    const { directory, monitor } = await announced();
    await monitor.close();
    const other = await startMonitor({ source: new MonitorHub(), port: monitor.port });
    cleanups.push(() => other.close());
    const said: string[] = [];
    expect(await findMonitor(directory, (remark) => said.push(remark))).toBeNull();
    expect(said).toEqual([
      `monitor.json names ${monitor.url} (process ${process.pid}), but another monitor answers there now; showing the folder instead`,
    ]);
  });

  it("that names a program which is no monitor, or nobody, is not believed", async () => {
    const { createServer } = await import("node:http");
    const stranger = createServer((_, response) => response.end("ok\n"));
    await new Promise<void>((resolve) => stranger.listen(0, "127.0.0.1", resolve));
    cleanups.push(() => stranger.close());
    const { port } = stranger.address() as { port: number };
    const file = { schema_version: 1, pid: 1, startedAt: 1, instance: "x" };
    for (const url of [`http://127.0.0.1:${port}/`, "http://127.0.0.1:9/", "file:///etc/passwd"]) {
      await writeFile(join(root, "monitor.json"), JSON.stringify({ ...file, url }));
      expect(await findMonitor(root)).toBeNull();
    }
  });

  it("of a newer monitor stays when an older one withdraws", async () => {
    const { directory, withdraw } = await announced();
    const newer = await startMonitor({ source: new MonitorHub() });
    cleanups.push(() => newer.close());
    await announceMonitor(directory, newer.url);
    await withdraw();
    expect(await findMonitor(directory)).toMatchObject({ url: newer.url });
  });
});

describe("a run of 10,000 steps with a checkpoint at each", () => {
  it("opens within seconds, sends a bounded state, and every point of every curve", async () => {
    const folder = await newRun("long");
    folder.append("run.started", 0, STARTED);
    const names = METRICS.map((metric) => metric.name.replace("<k>", "1"));
    for (let step = 1; step <= 10_000; step++) {
      const values = Object.fromEntries(names.map((name, i) => [name, step + i / 8]));
      folder.append("lifecycle.changed", step, { machine: "lifecycle", value: { operating: "training" } });
      folder.append("metrics.recorded", step, { phase: 1, values });
      folder.append("checkpoint.written", step, { step, path: `checkpoints/step-${step}` });
    }
    await folder.close();
    const from = performance.now();
    const target = await openTarget(folder.directory, {}, true);
    cleanups.push(() => target.close());
    const client = connectMonitor(target.url);
    cleanups.push(() => client.close());
    const first = <T>(channel: "run" | "metrics") =>
      new Promise<readonly T[]>((resolve) => {
        client.subscribe(channel, (event) => event.kind === "snapshot" && resolve(event.items as readonly T[]));
      });
    const [runs, records] = await Promise.all([
      first<{ checkpoints: { step: number }[]; checkpointCount?: number }>("run"),
      first<{ step: number; values: Record<string, number> }>("metrics"),
    ]);
    // It takes 0.8 s on two idle cores; before states were bounded it took a hundred times as long.
    expect(performance.now() - from).toBeLessThan(15_000);
    expect(records.length).toBe(10_000);
    expect(records[9_998]?.values["reward/mean"]).toBe(9_999);
    const [run] = runs;
    expect(run?.checkpoints.length).toBe(LIMITS.listed);
    expect(run?.checkpoints.at(-1)?.step).toBe(10_000);
    expect(run?.checkpointCount).toBe(10_000);
    expect(JSON.stringify(run).length).toBeLessThan(16_000);
  });
});
