/** The built page in a headless browser, against a scripted hub: what a person sees and can do. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Browser, Page } from "playwright-core";
import { build } from "vite";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { type CommandEffect, MonitorHub, type RunningMonitor, startMonitor } from "../../monitor/server/index.js";
import type { FactType } from "../../src/contracts/fact.js";
import { hasBrowser, launchBrowser, sayWhenMissing } from "../helpers/browser.js";
import { alert, trace } from "../monitor/support.js";

sayWhenMissing("page tests");

let browser: Browser;
let webRoot: string;
const cleanups: (() => unknown)[] = [];

beforeAll(async () => {
  if (!hasBrowser) return;
  webRoot = await mkdtemp(join(tmpdir(), "weir-page-"));
  await build({
    configFile: fileURLToPath(new URL("../../monitor/web/vite.config.ts", import.meta.url)),
    logLevel: "error",
    build: { outDir: webRoot, emptyOutDir: true },
  });
  browser = await launchBrowser();
});
afterAll(async () => {
  await browser?.close();
  if (webRoot) await rm(webRoot, { recursive: true, force: true });
});
afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean();
});

/** A run of two phases with a spike, twelve steps in. */
function scriptedRun(): { hub: MonitorHub; step: (n: number) => void } {
  const hub = new MonitorHub();
  let seq = 0;
  const fact = (type: FactType, step: number, data: Record<string, never>) =>
    hub.publishFact({ schema_version: 1, seq: ++seq, type, step, time: 1_767_225_600_000 + step * 1_000, data });
  const tell = (type: FactType, step: number, data: object) => fact(type, step, data as Record<string, never>);
  tell("run.started", 0, { id: "scripted", seed: 1 });
  tell("lifecycle.changed", 0, { machine: "lifecycle", value: { operating: "training" } });
  const step = (n: number) => {
    if (n === 1) tell("phase.entered", 1, { k: 1, minTokens: 0, maxTokens: 120, fromStep: 1 });
    if (n === 7) tell("phase.entered", 7, { k: 2, minTokens: 120, maxTokens: 240, fromStep: 7 });
    const phase = n < 7 ? 1 : 2;
    const values = {
      "reward/mean": 0.3 + 0.04 * n,
      "reward/std": 0.1,
      [`accuracy/bucket_${phase}`]: 0.3 + 0.04 * n,
      "kl/old_k3": n === 9 ? 0.7 : 0.01,
      "entropy/mean": 1 - 0.03 * n,
      "clip/fraction": 0.02,
      "response/length_mean": 40 + n,
      "gradient/norm": 1,
    };
    tell("metrics.recorded", n, { phase, values });
    if (n === 9) tell("alert.raised", 9, { alert: alert(9) });
    hub.publishTrace(trace(`rollout-${n}`, { step: n, phase, taskId: `task-${n}`, time: n }));
  };
  for (let n = 1; n <= 12; n++) step(n);
  hub.publishPipeline([
    { name: "rollouts", bound: 8, depth: 5, highWater: 8, waitingProducers: 1, waitingConsumers: 0, passed: 40 },
  ]);
  return { hub, step };
}

async function open(hub: MonitorHub): Promise<{ page: Page; monitor: RunningMonitor; complaints: string[] }> {
  const monitor = await startMonitor({ source: hub, webRoot });
  cleanups.push(() => monitor.close());
  const page = await browser.newPage({ viewport: { width: 1440, height: 1400 } });
  cleanups.push(() => page.close());
  const complaints: string[] = [];
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(error.message));
  await page.goto(monitor.url);
  await page.locator(".connection.live").waitFor();
  return { page, monitor, complaints };
}

/** Number of pixels of a chart's canvas that fit; 0 when there is no canvas. Runs in the page. */
const pixels = (page: Page, chart: string, test: string) =>
  page.evaluate(
    ([id, body]) => {
      const canvas = document.querySelector<HTMLCanvasElement>(`[data-chart="${id}"] canvas`);
      const data = canvas?.getContext("2d")?.getImageData(0, 0, canvas.width, canvas.height).data ?? [];
      let count = 0;
      for (let i = 0; i < data.length; i += 4) {
        const [r = 0, b = 0, a = 0] = [data[i], data[i + 2], data[i + 3]];
        if (body === "strong-blue" ? a > 200 && b > 150 && r < 60 : a > 0 && a < 40 && b > r) count++;
      }
      return count;
    },
    [chart, test] as const,
  );

describe.skipIf(!hasBrowser)("the page", () => {
  it("draws curves, phase bands and states, and goes on drawing while the run goes on", async () => {
    const { hub, step } = scriptedRun();
    const { page, complaints } = await open(hub);
    await page.locator('[data-chart="reward"] canvas').waitFor();
    expect(await page.locator("canvas").count()).toBeGreaterThanOrEqual(7);
    expect(await pixels(page, "reward", "strong-blue")).toBeGreaterThan(100);
    // The tint of a phase is faint: nearly transparent pixels on an otherwise clear canvas.
    expect(await pixels(page, "reward", "band")).toBeGreaterThan(2_000);
    expect(await page.locator(".steps").textContent()).toMatch(/step 12.*phase 2.*240/);
    expect(await page.getByTestId("state-lifecycle").textContent()).toBe("operating ▸ training");
    expect(await page.locator(".gauges li").textContent()).toContain("5 / 8");
    expect(await page.locator(".alerts").textContent()).toMatch(/kl spike.*step 9/);
    step(13);
    await page.getByText("step 13").first().waitFor();
    await page.locator('[data-chart="reward"] .readout b', { hasText: "0.82" }).waitFor();
    expect(complaints).toEqual([]);
  });

  it("shows a trace with its reward, its tokens and its group, as text only", async () => {
    const { hub } = scriptedRun();
    const hostile = '<img src=x onerror="document.title=1"><script>alert(1)</script>';
    hub.publishTrace(
      trace("hostile", {
        time: 99,
        taskId: "task-hostile",
        completion: hostile,
        tokens: [{ id: 1, text: hostile, logprob: -2.5, entropy: 1 }],
        outcome: { kind: "scored", value: 0.25, parts: { rule: 0.25, judge: 0 }, prediction: "Oslo" },
        reward: 0.25,
      }),
    );
    const { page, complaints } = await open(hub);
    await page.locator(".list tbody tr").first().click();
    const detail = page.getByTestId("trace-detail");
    await detail.waitFor();
    expect(await detail.locator("h4").textContent()).toBe("task-hostile");
    expect(await detail.locator(".facts").textContent()).toMatch(/reward0\.25.*rule0\.25.*judge0.*parsed answerOslo/);
    expect(await detail.locator(".completion").textContent()).toBe(hostile);
    expect(await detail.locator(".completion span").getAttribute("class")).toBe("h7");
    expect(await page.locator(".detail img, .detail script").count()).toBe(0);
    await page.keyboard.press("j");
    await page.getByTestId("trace-detail").getByText("task-12").waitFor();
    await page.keyboard.press("/");
    await page.keyboard.type("hostile");
    await page.getByText("showing 1 of 13").waitFor();
    expect(complaints).toEqual([]);
  });

  it("pauses the run from its button: pending, accepted, effect, and then offers to resume", async () => {
    const { hub } = scriptedRun();
    const names: string[] = [];
    let finish: (effect: CommandEffect) => void = () => {};
    hub.onCommand((command) => {
      names.push(command.name);
      return { accepted: true, effect: new Promise<CommandEffect>((resolve) => (finish = resolve)) };
    });
    const { page } = await open(hub);
    await page.locator('[data-command="pause"]').click();
    await page.locator(".toast.accepted").waitFor();
    expect(names).toEqual(["pause"]);
    expect(await page.locator('[data-command="pause"]').isDisabled()).toBe(true);
    hub.publishLifecycle({ machine: "lifecycle", value: "paused" });
    hub.publishRun({ status: "paused" });
    finish({ ok: true, text: "paused after step 12" });
    await page.locator(".toast.done", { hasText: "paused after step 12" }).waitFor();
    await page.locator('[data-command="resume"]').waitFor();
    expect(await page.getByTestId("status").textContent()).toBe("paused");
  });

  it("asks before it stops, and sends what was chosen", async () => {
    const { hub } = scriptedRun();
    const sent: unknown[] = [];
    hub.onCommand(({ name, args }) => {
      sent.push([name, args]);
      return { accepted: true, effect: { ok: true, text: "stopping" } };
    });
    const { page } = await open(hub);
    await page.locator('[data-command="stop"]').click();
    await page.getByText("Keep running").click();
    expect(sent).toEqual([]);
    await page.locator('[data-command="stop"]').click();
    await page.getByText("Drain and stop").click();
    await page.locator(".toast.done").waitFor();
    expect(sent).toEqual([["stop", {}]]);
  });

  it("a past run has no buttons that steer", async () => {
    const { hub } = scriptedRun();
    hub.publishRun({ live: false, status: "completed" });
    const { page } = await open(hub);
    expect(await page.locator(".controls").count()).toBe(0);
    expect(await page.getByTestId("status").textContent()).toBe("completed · past run");
  });

  it("says when the line is lost and comes back by itself", async () => {
    const { hub, step } = scriptedRun();
    const { page, monitor } = await open(hub);
    await monitor.close();
    await page.locator(".connection.lost").waitFor();
    const again = await startMonitor({ source: hub, webRoot, port: monitor.port });
    cleanups.push(() => again.close());
    step(13);
    await page.locator(".connection.live").waitFor();
    await page.locator(".steps", { hasText: "step 13" }).waitFor();
  });

  it("every chart can be read as a table, and the keys are explained", async () => {
    const { page } = await open(scriptedRun().hub);
    await page.locator('[data-chart="reward"] .table-toggle').click();
    const rows = page.locator('[data-chart="reward"] tbody tr');
    expect(await rows.count()).toBe(12);
    expect(await rows.first().textContent()).toBe("120.78");
    await page.keyboard.press("?");
    await page.locator(".help[open]").waitFor();
    await page.keyboard.press("Escape");
    await page.locator(".help[open]").waitFor({ state: "detached" });
  });
});
