/** A real run watched and steered from the page: the curve moves, pausing pauses, resuming resumes. */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Browser } from "playwright-core";
import { filter, firstValueFrom } from "rxjs";
import { build } from "vite";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { EngineFactory } from "../../src/actors/run/engine-supervisor.js";
import { createTrainingSystem } from "../../src/actors/run/training-system.js";
import { startEngine } from "../../src/model/engine/host.js";
import { hasBrowser, launchBrowser, sayWhenMissing } from "../helpers/browser.js";
import { parityReward, tinyConfig } from "./tiny-run.js";

sayWhenMissing("live page test");

let browser: Browser;
beforeAll(async () => {
  if (!hasBrowser) return;
  const page = fileURLToPath(new URL("../../dist/monitor/web/index.html", import.meta.url));
  if (!existsSync(page)) {
    const configFile = fileURLToPath(new URL("../../monitor/web/vite.config.ts", import.meta.url));
    await build({ configFile, logLevel: "error" });
  }
  browser = await launchBrowser();
});
afterAll(() => browser?.close());

describe.skipIf(!hasBrowser)("the page of a run", () => {
  it("shows it live and steers it", async () => {
    const phases = [
      { maxTokens: 70, steps: 4 },
      { maxTokens: 300, steps: 400 },
    ];
    const config = await tinyConfig({ phases, monitor: { enabled: true }, checkpoint: { everySteps: 3 } });
    const system = createTrainingSystem(config, { actors: { reward: parityReward } });
    const states: string[] = [];
    system.state$.subscribe(({ lifecycle }) => states.push(lifecycle));
    const steps: number[] = [];
    system.metrics$.subscribe((record) => record.phase > 0 && steps.push(record.step));
    await system.start();
    const page = await browser.newPage({ viewport: { width: 1440, height: 1400 } });
    await page.goto(system.monitorUrl ?? "");
    await page.locator(".connection.live").waitFor();
    await page.locator('[data-chart="reward"] canvas').waitFor();
    await page.locator(".steps", { hasText: "phase 2" }).waitFor();
    await page.locator(".list tbody tr").first().click();
    await page.getByTestId("trace-detail").locator(".reward").first().waitFor();
    expect(await page.getByTestId("trace-detail").locator(".completion span").count()).toBeGreaterThan(0);

    await page.locator('[data-command="pause"]').click();
    await page.locator(".toast.done", { hasText: "paused" }).waitFor();
    await page.getByTestId("status").getByText("paused").waitFor();
    expect(system.state.lifecycle).toBe("paused");
    const pausedAt = steps.at(-1);
    expect(await page.getByTestId("state-lifecycle").textContent()).toBe("paused");
    // Nothing moves while it is paused: the next thing that happens is what the page asks for.
    const written = firstValueFrom(system.facts$.pipe(filter((fact) => fact.type === "checkpoint.written")));
    await page.locator('[data-command="checkpoint"]').click();
    await written;
    expect(steps.at(-1)).toBe(pausedAt);

    const next = firstValueFrom(system.metrics$.pipe(filter((record) => record.step > (pausedAt ?? 0))));
    await page.locator('[data-command="resume"]').click();
    await next;
    await page.locator('[data-command="stop"]').click();
    await page.getByText("Drain and stop").click();
    expect(await system.done).toMatchObject({ status: "stopped" });
    await page.locator(".connection.lost").waitFor();
    await page.close();
  });

  it("shows that its engine was killed: restarting with the reason, then at work again", async () => {
    const config = await tinyConfig({
      phases: [{ maxTokens: 300, steps: 400 }],
      monitor: { enabled: true },
      engine: { restartDelayMs: 300 },
    });
    const pids: number[] = [];
    const engine: EngineFactory = async (modelDir, options) => {
      const started = await startEngine({ modelDir, options });
      pids.push(started.info.pid);
      return started;
    };
    const system = createTrainingSystem(config, { actors: { reward: parityReward, engine } });
    const committed = firstValueFrom(system.facts$.pipe(filter((fact) => fact.type === "step.committed")));
    await system.start();
    const page = await browser.newPage({ viewport: { width: 1440, height: 1800 } });
    await page.goto(system.monitorUrl ?? "");
    const row = page.locator('[data-actor="engine"]');
    await row.waitFor();
    await committed;
    process.kill(pids[0] ?? 0, "SIGKILL");
    await row.getByText("restarting").waitFor();
    expect(await row.locator(".actor-state").textContent()).toContain("SIGKILL");
    // A stage that was waiting for the engine fails with it, and is another line.
    const changes = page.locator(".changes li").filter({ has: page.locator("b", { hasText: /^engine$/ }) });
    await changes.first().getByText("restarting → running").waitFor();
    expect(await changes.allTextContents()).toEqual([
      expect.stringMatching(/engine restarting → running · restart 1$/),
      expect.stringMatching(/engine restarting · restart 1.*SIGKILL/),
    ]);
    await page.locator('[data-actor="run"]').getByText("running").waitFor();
    expect(await row.getByText("restarting").count()).toBe(0);
    expect(pids).toHaveLength(2);
    await system.stop();
    await page.close();
  });
});
