import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { announceMonitor, MonitorHub, startMonitor } from "../../monitor/server/index.js";
import { register, serveCommand, snapshotCommand, tailCommand } from "../../src/cli/commands/monitor.js";
import { connectTarget, openTarget } from "../../src/cli/monitor-target.js";
import { RunFolder, writeRollouts } from "../../src/store/index.js";
import { STARTED } from "../helpers/facts.js";
import { alert, trace } from "../monitor/support.js";

let root: string;
let printed: string[];
const cleanups: (() => unknown)[] = [];
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "weir-cli-monitor-"));
  printed = [];
  vi.spyOn(process.stdout, "write").mockImplementation((text) => {
    printed.push(String(text));
    return true;
  });
  vi.spyOn(process.stderr, "write").mockImplementation(() => true);
});
afterEach(async () => {
  vi.restoreAllMocks();
  for (const clean of cleanups.splice(0).reverse()) await clean();
  await rm(root, { recursive: true, force: true });
});

const lines = () =>
  printed
    .join("")
    .split("\n")
    .filter((line) => line !== "");

/** A finished run of six steps with an alert at the fourth. */
async function pastRun(): Promise<string> {
  const folder = await RunFolder.create({ root, id: "r1", seed: 1, config: {}, dataset: {} });
  folder.append("run.started", 0, STARTED);
  folder.append("phase.entered", 1, { k: 1, minTokens: 0, maxTokens: 120, fromStep: 1 });
  for (let step = 1; step <= 6; step++) {
    folder.append("metrics.recorded", step, { phase: 1, values: { "reward/mean": step / 10 } });
    await writeRollouts(join(folder.directory, "rollouts"), step, [trace(`t-${step}`, { step })]);
  }
  folder.append("alert.raised", 4, { alert: alert(4) });
  folder.append("run.finished", 6, { status: "completed" });
  await folder.close();
  return folder.directory;
}

describe("weir monitor", () => {
  it("snapshot prints what happened around a step of a past run", async () => {
    const code = await snapshotCommand(await pastRun(), { around: 4, window: 1, json: true });
    expect(code).toBe(0);
    const found = JSON.parse(printed.join("")) as Record<string, { step: number }[]>;
    expect(found.metrics?.map((record) => record.step)).toEqual([3, 4, 5]);
    expect(found.alerts?.map((one) => one.step)).toEqual([4]);
    expect(found.traces?.map((one) => one.step)).toEqual([3, 4, 5]);
    expect(found.run).toMatchObject({ id: "r1", status: "completed", live: false });
  });

  it("snapshot finds the rollouts of steps that the list no longer holds", async () => {
    const folder = await RunFolder.create({ root, id: "r3", seed: 1, config: {}, dataset: {} });
    folder.append("run.started", 0, STARTED);
    for (let step = 1; step <= 3; step++) {
      folder.append("metrics.recorded", step, { phase: 1, values: { "reward/mean": step / 10 } });
      // The list holds a thousand: those of step 1 are beyond it.
      const rollouts = Array.from({ length: step === 1 ? 2 : 600 }, (_, i) => trace(`s${step}-q${i}-g0`, { step }));
      await writeRollouts(join(folder.directory, "rollouts"), step, rollouts);
    }
    await folder.close();
    await snapshotCommand(folder.directory, { around: 1, window: 0, json: true });
    const found = JSON.parse(printed.join("")) as { traces: { id: string }[] };
    expect(found.traces.map((one) => one.id)).toEqual(["s1-q0-g0", "s1-q1-g0"]);
  });

  it("snapshot prints a table for people", async () => {
    await snapshotCommand(await pastRun(), { around: 1, window: 1 });
    expect(lines()[0]).toMatch(/metric\s+step 1\s+step 2/);
    expect(lines().find((line) => line.startsWith("reward/mean"))).toMatch(/0\.1\s+0\.2/);
  });

  it("tail of a past run prints every event once and ends", async () => {
    const code = await tailCommand(await pastRun(), { channels: ["metrics", "alerts"], json: true });
    expect(code).toBe(0);
    const events = lines().map((line) => JSON.parse(line) as { channel: string; data: { step: number } });
    expect(events.filter((event) => event.channel === "metrics").map((event) => event.data.step)).toEqual([
      1, 2, 3, 4, 5, 6,
    ]);
    expect(events.filter((event) => event.channel === "alerts").map((event) => event.data.step)).toEqual([4]);
  });

  it("tail of a live run prints what comes and ends with the run", async () => {
    const hub = new MonitorHub();
    hub.publishRun({ id: "live", status: "running" });
    const monitor = await startMonitor({ source: hub });
    cleanups.push(() => monitor.close());
    const seen = new Promise<void>((resolve) => {
      vi.spyOn(process.stdout, "write").mockImplementation((text) => {
        printed.push(String(text));
        if (String(text).includes("step 1 ")) resolve();
        return true;
      });
    });
    hub.publishMetric({ step: 1, phase: 1, time: 1, values: { "reward/mean": 0.5 } });
    const tail = tailCommand(monitor.url, { channels: ["metrics"] });
    await seen;
    hub.publishRun({ status: "completed" });
    expect(await tail).toBe(0);
    expect(lines()).toEqual(["metrics   step 1 phase 1  reward/mean=0.5"]);
  });

  it("follows a run that is being written and has no monitor of its own", async () => {
    const folder = await RunFolder.create({ root, id: "r2", seed: 1, config: {}, dataset: {} });
    cleanups.push(() => folder.close());
    folder.append("run.started", 0, STARTED);
    folder.append("metrics.recorded", 1, { phase: 1, values: { "reward/mean": 0.1 } });
    const target = await openTarget(folder.directory);
    cleanups.push(() => target.close());
    expect(target).toMatchObject({ live: true, ours: true });
    const client = await connectTarget(target, undefined);
    cleanups.push(() => client.close());
    const steps: number[] = [];
    const events = client.events("metrics");
    const take = async () => {
      const { value } = await events.next();
      if (value && value.kind !== "gap") steps.push(...value.items.map((record: { step: number }) => record.step));
    };
    await take();
    folder.append("metrics.recorded", 2, { phase: 1, values: { "reward/mean": 0.2 } });
    await take();
    expect(steps).toEqual([1, 2]);
  });

  it("says of a run that it follows when its process is gone without an end", async () => {
    const folder = await RunFolder.create({ root, id: "r4", seed: 1, config: {}, dataset: {} });
    folder.append("run.started", 0, STARTED);
    const target = await openTarget(folder.directory);
    cleanups.push(() => target.close());
    const client = await connectTarget(target, undefined);
    cleanups.push(() => client.close());
    const ended = new Promise<string | null>((resolve) => {
      client.subscribe("run", (event) => {
        const run = event.kind === "gap" ? undefined : event.items.at(-1);
        if (run?.status === "stopped") resolve(run.note);
      });
    });
    folder.append("metrics.recorded", 1, { phase: 1, values: { "reward/mean": 0.1 } });
    await folder.close();
    expect(await ended).toMatch(/^the run's process ended unexpectedly/);
  });

  it("reads the folder, and says why, when its monitor.json names another run's monitor", async () => {
    const directory = await pastRun();
    const first = await startMonitor({ source: new MonitorHub() });
    await announceMonitor(directory, first.url);
    await first.close();
    const other = await startMonitor({ source: new MonitorHub(), port: first.port });
    cleanups.push(() => other.close());
    const said = vi.spyOn(process.stderr, "write").mockImplementation(() => true);
    const target = await openTarget(directory);
    cleanups.push(() => target.close());
    expect(target).toMatchObject({ live: false, ours: true });
    expect(target.url).not.toBe(other.url);
    expect(String(said.mock.calls[0]?.[0])).toMatch(/^monitor\.json names .* another monitor answers there now/);
  });

  it("prints the address of a live run's own monitor and ends", async () => {
    const directory = await pastRun();
    const monitor = await startMonitor({ source: new MonitorHub() });
    cleanups.push(() => monitor.close());
    cleanups.push(await announceMonitor(directory, monitor.url));
    expect(await serveCommand(directory, { host: "127.0.0.1", port: 0 })).toBe(0);
    expect(lines()).toEqual([monitor.url]);
  });

  it.each([
    [["monitor"], "WEIR_E_USAGE"],
    [["monitor", "/nowhere/at/all"], "WEIR_E_FILE_MISSING"],
    [["monitor", "tail", "/nowhere/at/all"], "WEIR_E_FILE_MISSING"],
    [["monitor", "tail", "x", "--token-env", "WEIR_NO_SUCH_TOKEN"], "WEIR_E_USAGE"],
    [["monitor", "tail", "x", "--channels", "gossip"], "commander.invalidArgument"],
    [["monitor", "snapshot", "x"], "commander.missingMandatoryOptionValue"],
    [["monitor", "snapshot", "x", "--around", "soon"], "commander.invalidArgument"],
  ])("%j is refused with %s", async (argv, code) => {
    const program = new Command("weir").exitOverride();
    register(program);
    for (const command of program.commands.flatMap((one) => [one, ...one.commands])) command.exitOverride();
    await expect(program.parseAsync(argv, { from: "user" })).rejects.toMatchObject({ code });
  });
});
