/** The built page in a headless browser, against a scripted hub: what a person sees and can do. */
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { describe, expect, it } from "vitest";
import { type CommandEffect, MonitorHub, startMonitor } from "../../monitor/server/index.js";
import { openTarget } from "../../src/cli/monitor-target.js";
import { RunFolder, writeRollouts } from "../../src/store/index.js";
import { METRICS } from "../../src/streams/telemetry/metrics.js";
import { actor, mailboxes, STAGES, wholeTree } from "../helpers/actors.js";
import { hasBrowser, sayWhenMissing } from "../helpers/browser.js";
import { factOf, STARTED, type Told } from "../helpers/facts.js";
import { PageTests, violations } from "../helpers/page.js";
import { alert, trace } from "../monitor/support.js";

sayWhenMissing("page tests");

const tests = new PageTests();
const { cleanups } = tests;
const open = (hub: MonitorHub) => tests.open(hub);

/** A run of two phases with a spike, twelve steps in. */
function scriptedRun(): { hub: MonitorHub; step: (n: number) => void } {
  const hub = new MonitorHub();
  let seq = 0;
  hub.publishRun({ id: "scripted" });
  const tell = (...line: Told) => hub.publishFact(factOf(++seq, line, 1_767_225_600_000 + line[1] * 1_000));
  tell("run.started", 0, { ...STARTED, seed: 1 });
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

const CRASH = "WEIR_E_ENGINE_CRASHED: the sampler's process ended with signal SIGKILL";

/** A whole pipeline in the hub: one sampler restarts, the reward has failed, lags 0 to 4 against a bound of 3. */
function troubledPipeline(hub: MonitorHub): void {
  const lost = { state: "restarting", restarts: 1, busy: 0, detail: CRASH } as const;
  const failed = { state: "failed", restarts: 3, dropped: 12, detail: "3 attempts failed" } as const;
  hub.publishPipeline(mailboxes());
  hub.publishActors(wholeTree({ "sampler-2": lost, reward: failed, rollout: { state: "waitingForRoom" } }), {
    bound: 3,
    tokens: [500, 250, 150, 75, 25],
  });
  const data = { actor: "sampler-2", state: "restarting", reason: CRASH, restarts: 1 } as const;
  hub.publishFact(factOf(900, ["actor.changed", 12, data], 1_767_225_700_000));
}

/** The rows of the histogram: lag, tokens, part of the batch, mark. */
const lags = (page: Page) =>
  page.locator(".lags li").evaluateAll((rows) =>
    rows.map((row) => {
      const texts = [...row.children].map((cell) => cell.textContent ?? "");
      return texts.filter((text) => text !== "").join(" ");
    }),
  );

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
    expect(await page.locator('[data-queue="rollouts"]').textContent()).toContain("5 / 8");
    expect(await page.locator(".alerts").textContent()).toMatch(/kl spike.*step 9/);
    step(13);
    await page.getByText("step 13").first().waitFor();
    await page.locator('[data-chart="reward"] .readout b', { hasText: "0.82" }).waitFor();
    expect(complaints).toEqual([]);
  });

  it("draws the supervision tree: states in words, work, mailboxes with their peak, counts and versions", async () => {
    const { hub } = scriptedRun();
    hub.publishPipeline(mailboxes());
    hub.publishActors(wholeTree(), { bound: 0, tokens: [1_000] });
    const { page, complaints } = await open(hub);
    await page.locator('[data-actor="publish"]').waitFor();
    const names = await page.locator(".actors tbody th").allTextContents();
    const [rollout, ...others] = STAGES;
    expect(names.map((name) => name.replace(/^[▾▸]/, ""))).toEqual([
      "run",
      "engine",
      rollout,
      "sampler-1",
      "sampler-2",
      "sampler-3",
      ...others,
    ]);
    const cells = async (row: string) => (await page.locator(`[data-actor="${row}"] td`).allTextContents()).slice(0, 9);
    expect(await cells("rollout")).toEqual(["running", "3 / 4", "3 / 8", "8", "–", "4000", "0", "0", ""]);
    expect(await cells("sampler-1")).toEqual(["running", "1 / 1", "", "", "", "1301", "0", "0", "v11"]);
    expect(await cells("filter")).toEqual(["running", "1 / 1", "3 / 8", "8", "–", "2500", "37", "0", ""]);
    expect(await cells("update")).toEqual(["running", "1 / 1", "3 / 8", "8", "–", "1000", "0", "0", "v12"]);
    // 3 of 8 wait, and the tick is at the most that ever waited.
    const part = async (selector: string) => (await page.locator(selector).boundingBox()) ?? { x: 0, width: 0 };
    const mailbox = '[data-actor="group"] .bar';
    const [bar, level, peak] = [await part(mailbox), await part(`${mailbox} .level`), await part(`${mailbox} .peak`)];
    expect(level.width / bar.width).toBeCloseTo(3 / 8, 1);
    expect((peak.x + 1 - bar.x) / bar.width).toBeCloseTo(6 / 8, 1);
    expect(await page.getByRole("meter", { name: "queue group-in: 3 of 8, at most 6" }).count()).toBe(1);
    expect(await lags(page)).toEqual(["0 1000 100 % bound"]);
    expect(await page.locator(".changes").textContent()).toBe("none");
    expect(complaints).toEqual([]);
  });

  it("shows a sampler that is lost as restarting, then running, with the reason and the time; and nothing jumps", async () => {
    const { hub } = scriptedRun();
    hub.publishPipeline(mailboxes());
    hub.publishActors(wholeTree(), { bound: 3, tokens: [1_000] });
    const { page, complaints } = await open(hub);
    const state = page.locator('[data-actor="sampler-2"] .actor-state');
    await state.getByText("running").waitFor();
    const places = () =>
      page.locator('.actors th, [data-actor="reward"] td, .traces').evaluateAll((all) =>
        all.map((one) => {
          const { x, y, width } = one.getBoundingClientRect();
          return [x, y, width].map(Math.round).join(" ");
        }),
      );
    const before = await places();
    troubledPipeline(hub);
    await state.getByText("restarting").waitFor();
    expect(await state.textContent()).toBe(`restarting · ${CRASH}`);
    expect(await page.locator('[data-actor="reward"] td').allTextContents()).toEqual([
      "failed · 3 attempts failed",
      "3 / 4",
      "8 / 8",
      "8",
      "–",
      "3500",
      "12",
      "3",
      "",
    ]);
    expect(await page.locator('[data-actor="reward"] .bar.full').count()).toBe(1);
    expect(await lags(page)).toEqual([
      "0 500 50.0 %",
      "1 250 25.0 %",
      "2 150 15.0 %",
      "3 75 7.5 % bound",
      "4 25 2.5 % over",
    ]);
    // Text and colour both tell the states apart.
    const colour = (name: string) =>
      page.locator(`[data-actor="${name}"] .actor-state b`).evaluate((text) => getComputedStyle(text).color);
    expect(new Set([await colour("sampler-1"), await colour("sampler-2"), await colour("reward")]).size).toBe(3);
    const data = { actor: "sampler-2", state: "running", reason: null, restarts: 1 } as const;
    hub.publishFact(factOf(901, ["actor.changed", 12, data], 1_767_225_703_000));
    hub.publishActors(wholeTree({ "sampler-2": { restarts: 1, handled: 1_234_567_890 } }), null);
    await state.getByText("running").waitFor();
    const changes = await page.locator(".changes li").allTextContents();
    expect(changes).toHaveLength(2);
    expect(changes[0]).toMatch(/^\d\d:\d\d:43 sampler-2 restarting → running · restart 1$/);
    expect(changes[1]).toMatch(/^\d\d:\d\d:40 sampler-2 restarting · restart 1WEIR_E_ENGINE_CRASHED/);
    expect(await page.locator('[data-actor="sampler-2"]').textContent()).toContain("1.23G");
    expect(await places()).toEqual(before);
    expect(complaints).toEqual([]);
  });

  it("folds many samplers away, says how they are, and opens them by keyboard", async () => {
    const { hub } = scriptedRun();
    const more = Array.from({ length: 61 }, (_, i) => actor(`sampler-${i + 4}`, { parent: "rollout" }));
    hub.publishActors([...wholeTree({ "sampler-2": { state: "restarting" } }), ...more], null);
    const { page } = await open(hub);
    await page.locator('[data-actor="rollout"]').getByText("64 actors, 1 restarting").waitFor();
    expect(await page.locator('[data-actor^="sampler-"]').count()).toBe(0);
    const twist = page.getByRole("button", { name: "actors under rollout" });
    expect(await twist.getAttribute("aria-expanded")).toBe("false");
    await twist.focus();
    await page.keyboard.press("Enter");
    await page.locator('[data-actor="sampler-64"]').waitFor();
    expect(await twist.getAttribute("aria-expanded")).toBe("true");
    expect(await page.locator('[data-actor^="sampler-"]').count()).toBe(64);
    // The table scrolls within its place.
    expect((await page.locator(".scroller").boundingBox())?.height).toBeLessThanOrEqual(480);
  });

  it("of a past run shows what restarted, and no pipeline where the journal says nothing of it", async () => {
    const hub = new MonitorHub();
    hub.publishRun({ id: "past", live: false, status: "completed" });
    const { page } = await open(hub);
    expect(await page.locator(".pipeline").count()).toBe(0);
    const data = { actor: "engine", state: "restarting", reason: CRASH, restarts: 1 } as const;
    hub.publishFact(factOf(1, ["actor.changed", 3, data]));
    await page.locator(".changes li", { hasText: "engine restarting" }).waitFor();
    expect(await page.locator(".tree").textContent()).toContain("not kept for a past run");
  });

  it("shows a trace with its reward, its tokens and its group, as text only", async () => {
    const { hub } = scriptedRun();
    const hostile = '<img src=x onerror="document.title=1"><script>alert(1)</script>';
    hub.publishTrace(
      trace("hostile", {
        time: 99,
        taskId: "task-hostile",
        completion: hostile,
        tokens: [
          {
            id: 1,
            text: hostile,
            logprob: -2.5,
            entropy: 1,
            weight: null,
            advantage: null,
            ratio: null,
            klOld: null,
            klRef: null,
            lossShare: null,
          },
        ],
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
    const again = await startMonitor({ source: hub, webRoot: tests.webRoot, port: monitor.port });
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

  it("says why a run failed, with the code, at the top of the page; of a past run too", async () => {
    const { hub } = scriptedRun();
    const { page } = await open(hub);
    expect(await page.getByTestId("ending").count()).toBe(0);
    const error = "WEIR_E_JUDGE: expected a verdict, the judge answered 500 to every question; look at its log";
    hub.publishFact({
      schema_version: 1,
      seq: 99,
      type: "run.finished",
      step: 12,
      time: 1,
      data: { status: "failed", error },
    });
    const ending = page.getByRole("alert");
    await ending.waitFor();
    expect(await ending.textContent()).toBe(
      "The run failedWEIR_E_JUDGEexpected a verdict, the judge answered 500 to every question; look at its log",
    );
    expect((await ending.boundingBox())?.y).toBeLessThan(120);
    hub.publishRun({ live: false });
    await page.getByTestId("status").getByText("failed · past run").waitFor();
    expect(await ending.isVisible()).toBe(true);
  });

  it("does not call a run running that it no longer hears of", async () => {
    const { hub } = scriptedRun();
    const { page, monitor } = await open(hub);
    expect(await page.getByTestId("status").textContent()).toBe("running");
    await monitor.close();
    await page.locator(".connection.lost").waitFor();
    expect(await page.getByTestId("status").textContent()).toBe("unknown · last seen running");
  });

  it("calls a run that is over by its end when its monitor goes", async () => {
    const { hub } = scriptedRun();
    const { page, monitor } = await open(hub);
    hub.publishRun({ status: "completed", endedAt: 1_767_225_700_000 });
    await monitor.close();
    await page.getByText("monitor closed with the run").waitFor();
    expect(await page.getByTestId("status").textContent()).toBe("completed");
  });

  it("shows an alert's value and limit in the unit of each", async () => {
    const { hub } = scriptedRun();
    hub.publishAlert({ ...alert(11), z: 8.14, threshold: 6, value: 0.0312 });
    hub.publishAlert({ ...alert(12), id: "12-kl_limit", rule: "kl_limit", z: 40, threshold: 0.5, value: 0.7 });
    hub.publishAlert({ ...alert(12), rule: "equal_rewards", metric: "reward/std", z: null, threshold: 0, value: 0 });
    const { page } = await open(hub);
    const numbers = page.locator(".alerts .numbers");
    expect(await numbers.allTextContents()).toEqual([
      "reward/std 0",
      "kl/old_k3 0.7 nats · limit 0.5 nats",
      "kl/old_k3 0.0312 nats · z 8.14 (limit 6)",
      "kl/old_k3 0.7 nats · z 12 (limit 0.5)",
    ]);
  });

  it("preflight's warnings are alerts, once, also when the run is resumed", async () => {
    const { hub } = scriptedRun();
    const warnings = ["half of the responses were cut"];
    const raised = { ...alert(0, warnings[0]), rule: "preflight", level: "warn" as const };
    for (const seq of [100, 101])
      hub.publishFact({
        schema_version: 1,
        seq,
        type: "alert.raised",
        step: 0,
        time: seq,
        data: { alert: { ...raised, id: `preflight-${seq}` } },
      });
    const { page } = await open(hub);
    expect(await page.locator(".alerts li.warn .text").allTextContents()).toEqual(warnings);
  });

  it("shows what preflight found with its remedies, and folds a panel without findings", async () => {
    const { hub } = scriptedRun();
    const finding = { cause: "equal_rewards", refuses: true, what: "every reward was 0", remedy: "use a warm-up" };
    const found = (findings: readonly (typeof finding)[], seq: number) =>
      hub.publishFact({
        ...{ schema_version: 1, seq, type: "preflight.finished", step: 0, time: seq },
        data: {
          ...{ rollouts: 16, truncatedShare: 0.25, zeroVarianceShare: 1, neverIssuedShare: 0, tasksPerPhase: [3, 4] },
          ...{ rewardHistogram: { "0": 16 }, outcomes: { scored: 16 }, memory: "0.41 GiB planned", warnings: [] },
          findings,
        },
      });
    found([finding], 100);
    const { page } = await open(hub);
    const panel = page.locator("section[aria-label=Preflight]");
    expect(await panel.locator("li").textContent()).toBe("Refused: every reward was 0Remedy: use a warm-up");
    expect(await panel.locator("dd").allTextContents()).toContain("0.41 GiB planned");
    found([], 101);
    await page.waitForFunction(() => document.querySelector("section[aria-label=Preflight] details:not([open])"));
    expect(await panel.locator("summary").textContent()).toMatch(/Preflight\s+nothing to change/);
  });

  it("opens the rollout behind an alert of long ago out of the run folder, and by its link", async () => {
    const folder = await mkdtemp(join(tmpdir(), "weir-page-run-"));
    cleanups.push(() => rm(folder, { recursive: true, force: true }));
    await mkdir(join(folder, "rollouts"));
    await writeRollouts(join(folder, "rollouts"), 9, [
      trace("other", { step: 9 }),
      trace("rollout-1-of-old", { step: 9, taskId: "task-of-old" }),
    ]);
    const { hub } = scriptedRun();
    hub.useFolder(folder);
    const culprits = [{ rolloutId: "rollout-1-of-old", contribution: 0.4, tokenIndex: 3 }];
    hub.publishAlert({ ...alert(9, "look here"), id: "old", culprits });
    const { page, monitor } = await open(hub);
    await page.getByRole("button", { name: "rollout-1-of-old" }).click();
    await page.getByTestId("trace-detail").getByText("task-of-old").waitFor();
    const link = page.url();
    expect(link).toContain("trace=rollout-1-of-old&step=9&token=3");
    await page.goto("about:blank");
    await page.goto(link);
    await page.getByTestId("trace-detail").getByText("task-of-old").waitFor();
    await page.goto("about:blank");
    await page.goto(`${monitor.url}#trace=no-such-rollout`);
    await page.getByText("neither in memory nor in the run's rollouts").waitFor();
  });

  it("plots what the run's own parts publish, and cuts no legend or title off", async () => {
    const { hub } = scriptedRun();
    const own = "custom/citations_per_document_and_language_of_the_answer";
    const buckets = Object.fromEntries(Array.from({ length: 8 }, (_, k) => [`accuracy/bucket_${k + 1}`, k / 8]));
    for (let step = 13; step <= 16; step++)
      hub.publishMetric({ step, phase: 2, time: step, values: { ...buckets, [own]: step } });
    const { page, complaints } = await open(hub);
    const chart = page.locator(`[data-chart="own-${own}"]`);
    await chart.locator("canvas").waitFor();
    expect(await chart.locator(".readout").textContent()).toContain("value 16");
    const cut = await page.locator(".chart").evaluateAll((cards) =>
      cards.flatMap((card) =>
        [...card.querySelectorAll("h3, .readout li")].flatMap((text) => {
          const [inner, outer] = [text.getBoundingClientRect(), card.getBoundingClientRect()];
          const clipped =
            inner.right > outer.right || inner.bottom > outer.bottom || text.scrollWidth > text.clientWidth + 1;
          return clipped ? [text.textContent] : [];
        }),
      ),
    );
    expect(cut).toEqual([]);
    expect(await page.locator('[data-chart="accuracy"] .readout li').count()).toBe(8);
    expect(complaints).toEqual([]);
  });

  it("on a phone the alerts stand before the curves and nothing is wider than the screen", async () => {
    const { hub } = scriptedRun();
    troubledPipeline(hub);
    const { page } = await open(hub);
    await page.setViewportSize({ width: 390, height: 844 });
    const top = async (selector: string) => (await page.locator(selector).first().boundingBox())?.y ?? 0;
    expect(await top(".alarm")).toBeLessThan(500);
    expect(await top(".alarm")).toBeLessThan(await top(".chart"));
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(390);
    // A row of the tree is a block there: its last cell is within the screen.
    const last = page.locator('[data-actor="update"] td').last();
    await last.scrollIntoViewIfNeeded();
    const { x = 0, width = 0 } = (await last.boundingBox()) ?? {};
    expect([x > 0, x + width < 390, await last.textContent()]).toEqual([true, true, "v12"]);
  });

  it.each(["light", "dark"] as const)("has no fault that axe-core knows of (%s)", async (colorScheme) => {
    const { hub } = scriptedRun();
    troubledPipeline(hub);
    const { page } = await open(hub);
    await page.locator(".lags li.beyond").waitFor();
    await page.emulateMedia({ colorScheme });
    await page.locator(`[data-theme="${colorScheme}"]`).waitFor();
    expect(await violations(page)).toEqual([]);
    await page.locator(".list tbody tr").first().click();
    await page.getByTestId("trace-detail").waitFor();
    await page.locator('[data-chart="reward"] .table-toggle').click();
    hub.publishRun({ status: "failed", note: "WEIR_E_JUDGE: no verdict" });
    await page.getByRole("alert").waitFor();
    expect(await violations(page)).toEqual([]);
    await page.keyboard.press("?");
    await page.locator(".help[open]").waitFor();
    expect(await violations(page)).toEqual([]);
  });

  it("has none either before there is a run, to a viewer, and when the line is lost", async () => {
    const empty = await open(new MonitorHub());
    expect(await violations(empty.page)).toEqual([]);
    const { hub } = scriptedRun();
    hub.publishRun({ live: false, status: "stopped", note: "the run's process ended unexpectedly" });
    const past = await open(hub);
    await past.page.getByTestId("ending").waitFor();
    expect(await violations(past.page)).toEqual([]);
    await empty.monitor.close();
    await empty.page.locator(".connection.lost").waitFor();
    expect(await violations(empty.page)).toEqual([]);
  });

  it("can be used with the keyboard alone: every control is reached, and a trace is opened and closed", async () => {
    const { page } = await open(scriptedRun().hub);
    const names: string[] = [];
    for (let i = 0; i < 60; i++) {
      await page.keyboard.press("Tab");
      names.push(
        await page.evaluate(() => {
          const at = document.activeElement;
          return (
            at?.closest("[data-command]")?.getAttribute("data-command") ??
            at?.getAttribute("aria-label") ??
            at?.textContent ??
            ""
          );
        }),
      );
      if (names.at(-1)?.includes("open trace rollout-12")) break;
    }
    expect(names).toEqual(expect.arrayContaining(["pause", "checkpoint", "stop", "Alerts, newest first", "rollout-1"]));
    await page.keyboard.press("Enter");
    await page.getByTestId("trace-detail").waitFor();
    await page.keyboard.press("Escape");
    await page.getByTestId("trace-detail").waitFor({ state: "detached" });
  });

  it("draws a past run of 10,000 steps within seconds", async () => {
    const root = await mkdtemp(join(tmpdir(), "weir-page-long-"));
    cleanups.push(() => rm(root, { recursive: true, force: true }));
    const folder = await RunFolder.create({ root, id: "long", seed: 1, config: {}, dataset: {} });
    folder.append("run.started", 0, STARTED);
    const names = METRICS.map((metric) => metric.name.replace("<k>", "1"));
    for (let step = 1; step <= 10_000; step++) {
      const values = Object.fromEntries(names.map((name, i) => [name, Math.sin(step / 500 + i)]));
      folder.append("metrics.recorded", step, { phase: 1, values });
      folder.append("checkpoint.written", step, { step, path: `checkpoints/step-${step}` });
    }
    await folder.close();
    const from = performance.now();
    const target = await openTarget(folder.directory, { webRoot: tests.webRoot }, true);
    cleanups.push(() => target.close());
    const page = await tests.newPage();
    await page.goto(target.url);
    await page.locator('[data-chart="memory"] canvas').waitFor();
    expect(await page.locator(".steps").textContent()).toContain("step 10000");
    // Two idle cores need 1.5 s for all of it, reading the folder and starting the page included.
    expect(performance.now() - from).toBeLessThan(20_000);
  });
});
