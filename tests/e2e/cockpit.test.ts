/** The cockpit in a headless browser, against a scripted hub: from an alarm to the token, knobs, comparison, search, address, exports. */
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { describe, expect, it } from "vitest";
import { MonitorHub } from "../../monitor/server/index.js";
import type { MonitorCommand } from "../../monitor/server/source.js";
import { openTarget } from "../../src/cli/monitor-target.js";
import { RunFolder, writeRollouts } from "../../src/store/index.js";
import { hasBrowser, sayWhenMissing } from "../helpers/browser.js";
import { cockpitRun, KNOBS, LEARNING_RATE, measuredTrace, SPIKE, valuesOf } from "../helpers/cockpit.js";
import { STARTED } from "../helpers/facts.js";
import { PageTests, violations } from "../helpers/page.js";

sayWhenMissing("cockpit tests");

const tests = new PageTests();

/** Number of pixels of a chart that have a colour, given as 0–255 with a tolerance of 12. */
const pixels = (page: Page, chart: string, colour: readonly [number, number, number]) =>
  page.evaluate(
    ([id, wanted]) => {
      const canvas = document.querySelector<HTMLCanvasElement>(`[data-chart="${id}"] canvas`);
      const data = canvas?.getContext("2d")?.getImageData(0, 0, canvas.width, canvas.height).data ?? [];
      let count = 0;
      for (let i = 0; i < data.length; i += 4)
        if ((data[i + 3] ?? 0) > 100 && wanted.every((value, k) => Math.abs((data[i + k] ?? 0) - value) < 12)) count++;
      return count;
    },
    [chart, colour] as const,
  );

const hot = (page: Page) => page.locator(".completion .hot");

/** A past run with a spike in its folder; `extra` gives its rewards another level. */
async function pastRun(id: string, steps: number, extra = 0): Promise<string> {
  const folder = await RunFolder.create({
    root: await tests.folder("cockpit"),
    id,
    seed: 1,
    config: { run: { seed: steps } },
    dataset: {},
  });
  folder.append("run.started", 0, STARTED);
  folder.append("phase.entered", 1, { k: 1, minTokens: 0, maxTokens: 100, fromStep: 1 });
  for (let step = 1; step <= steps; step++) {
    const values = { ...valuesOf(step, step === 14), "reward/mean": 0.1 + extra };
    folder.append("metrics.recorded", step, { phase: 1, values });
  }
  folder.append("alert.raised", 14, { alert: SPIKE });
  await folder.close();
  const rollouts = join(folder.directory, "rollouts");
  await mkdir(rollouts, { recursive: true });
  await writeRollouts(
    rollouts,
    14,
    [0, 1].flatMap((q) => [0, 1, 2, 3].map((g) => measuredTrace(14, q, g, g === 1 ? 5 : -1))),
  );
  return folder.directory;
}

describe.skipIf(!hasBrowser)("the cockpit", () => {
  it("goes from a chart's marker to the alarm, and from the alarm in one click to the token that caused it", async () => {
    const { hub } = cockpitRun();
    const { page, complaints } = await tests.open(hub);
    await page.locator('[data-chart="kl"] .alarm-mark').click();
    const alarm = page.locator(`[data-alarm="${SPIKE.id}"]`);
    await expect.poll(() => alarm.getAttribute("class")).toBe("error selected");
    expect(await alarm.locator(".numbers").textContent()).toBe(
      "kl/update 0.62 nats · limit 0.05 nats · worst 0.9 nats",
    );
    expect(await alarm.locator(".culprits button").allTextContents()).toEqual(
      SPIKE.culprits.map((one) => one.rolloutId),
    );
    await page.getByRole("button", { name: "s14-q0-g1", exact: true }).click();
    await page.getByTestId("trace-detail").waitFor();
    expect(await hot(page).getAttribute("data-token")).toBe("5");
    expect(await hot(page).textContent()).toBe(" in");
    // The heat is that of the quantity that raised the alarm, and this token is the hottest.
    expect(await page.locator('.detail input[name="shading"]:checked + span').textContent()).toBe("KL to old");
    expect(await hot(page).getAttribute("class")).toBe("h5 hot");
    expect(await page.locator(".completion .h1, .completion .h2, .completion .h3, .completion .h4").count()).toBe(0);
    expect(await page.locator(".scale").textContent()).toBe("00.5 natsnext hottest (n)");
    expect(await page.getByTestId("token-numbers").textContent()).toMatch(
      /ratio1\.62KL to old0\.31 natsKL to reference0\.038 natsloss share2\.1 %/,
    );
    // And on to another of the group.
    expect(await page.locator(".group button").count()).toBe(4);
    await page.locator(".group button").first().click();
    await page.getByTestId("trace-detail").getByText("sample 0").waitFor();
    expect(complaints).toEqual([]);
  });

  it("does the same for a past run, whose rollouts lie in its folder or in that of a rollback", async () => {
    const folder = await pastRun("past", 20);
    const rollouts = join(folder, "rollouts");
    await mkdir(join(rollouts, "rolledback-1"));
    await writeRollouts(join(rollouts, "rolledback-1"), 14, [measuredTrace(14, 0, 1, 5), measuredTrace(14, 0, 2, -1)]);
    await writeRollouts(rollouts, 14, [measuredTrace(14, 7, 0, -1)]);
    const target = await openTarget(folder, { webRoot: tests.webRoot }, true);
    tests.cleanups.push(() => target.close());
    const { page } = await tests.visit(target.url);
    await page.getByRole("button", { name: "s14-q0-g1", exact: true }).click();
    await page.getByTestId("trace-detail").waitFor();
    expect(await hot(page).textContent()).toBe(" in");
    expect(await page.locator(".group button").allTextContents()).toEqual(["1", "0"]);
  });

  it("shows every quantity with its scale in its unit, and goes through the tokens by key", async () => {
    const { hub } = cockpitRun();
    const { page } = await tests.open(hub, "#trace=s14-q0-g1&step=14&token=0");
    await page.getByTestId("trace-detail").waitFor();
    const shade = (name: string) => page.locator(".detail .choice label", { hasText: name }).click();
    const legend = async (name: string, scale: RegExp) => {
      await shade(name);
      await expect.poll(() => page.locator(".scale").textContent()).toMatch(scale);
    };
    await legend("−log p", /^03 nats/);
    await legend("advantage", /^−202next/);
    await legend("ratio", /^0\.61711\.62next/);
    await legend("loss share", /^−505 %/);
    await legend("KL to reference", /^00\.05 nats/);
    await page.locator(".completion").focus();
    await page.keyboard.press("ArrowRight");
    await expect.poll(() => hot(page).getAttribute("data-token")).toBe("1");
    await legend("KL to old", /^00\.5 nats/);
    await page.keyboard.press("n");
    await page.locator('.completion .hot[data-token="5"]').waitFor();
    await page.locator('.completion [data-token="6"]').click();
    await expect.poll(() => page.getByTestId("token-numbers").textContent()).toContain('token 6" Lisbon"');
  });

  it("marks behaviours by the form of a line, counts them, and goes from one to the next", async () => {
    const { hub } = cockpitRun();
    const { page } = await tests.open(hub, "#trace=s14-q0-g1&step=14&token=0");
    const legend = page.getByTestId("behaviours");
    await legend.waitFor();
    expect(await legend.locator("li").allTextContents()).toEqual([
      "grounding 2, judge 3",
      "subgoal setting 0, judge 0",
      "backtracking 0, judge 0",
      "verification 1, judge 1",
    ]);
    expect(await page.locator(".completion .b-grounding").allTextContents()).toEqual(["The", " Lisbon"]);
    expect(await page.locator(".completion .b-verification").allTextContents()).toEqual([" treaty", " was", " signed"]);
    const styleOf = (behaviour: string) =>
      page
        .locator(`.completion .b-${behaviour}`)
        .first()
        .evaluate((element) => getComputedStyle(element).borderBottomStyle);
    expect([await styleOf("grounding"), await styleOf("verification")]).toEqual(["solid", "dotted"]);
    const next = legend.getByRole("button", { name: /^grounding/ });
    for (const token of ["1", "6", "1"]) {
      await next.click();
      await expect.poll(() => hot(page).getAttribute("data-token")).toBe(token);
    }
    await page.locator('.completion [data-token="2"]').click();
    await expect.poll(() => page.getByTestId("token-numbers").textContent()).toContain("grounding, verification");
    expect(await legend.getByRole("button", { name: /^backtracking/ }).isDisabled()).toBe(true);
  });

  it("tells the guard's story: alarms from begin to end, verdicts, the rollback, turned knobs", async () => {
    const { hub, tell } = cockpitRun();
    const { page, complaints } = await tests.open(hub);
    const timeline = page.locator(".timeline");
    expect(await timeline.locator("header .unit").textContent()).toBe(
      "2 alarms (1 active) · 2 verdicts · 1 rollback · 2 knob turns",
    );
    const marks = await timeline
      .locator(".track .mark")
      .evaluateAll((all) => all.map((one) => one.getAttribute("aria-label") ?? ""));
    expect(marks[0]).toBe(`kl limit, steps 14–16: ${SPIKE.text}`);
    expect(marks).toContain(
      "step 13: mini-batch 0: shrink to 0.79 of the step (KL 0.08 nats, limit 0.05, KL of the trial 0.08 nats)",
    );
    expect(marks).toContain(
      "step 12: rollback from step 16 to the end of step 12: KL 0.9 nats, limit 0.05 (guard kl_limit; 24 rollouts undone)".replace(
        "step 12: ",
        "step 16: ",
      ),
    );
    expect(marks).toContain("step 12: optimiser.learningRate 0.002 → 0.0005 (guard kl_limit)");
    // The alarm's bar reaches from its first to its last step, of twenty.
    const box = async (selector: string) => (await page.locator(selector).first().boundingBox()) ?? { x: 0, width: 0 };
    const [bar, track] = [await box(".lane .mark.error"), await box(".lane .track")];
    expect((bar.x - track.x) / track.width).toBeCloseTo(13 / 19, 1);
    expect(bar.width / track.width).toBeCloseTo(2 / 19, 1);
    tell("guard.judged", 21, {
      ...{ stage: "rl", miniBatch: 1, gradNorm: 80, loss: 1, kl: null, scale: null },
      verdict: "skip",
      reason: "gradient norm 80",
      rule: "gradient_spike",
    });
    await timeline.locator(".events").getByText("step 21 · mini-batch 1: skip (gradient norm 80)").waitFor();
    // A mark leads to its steps.
    await timeline.getByRole("button", { name: /^step 13: mini-batch 0/ }).click();
    await page.getByText("Reset zoom").waitFor();
    expect(page.url()).toContain("zoom=1%7E25");
    expect(complaints).toEqual([]);
  });

  it("redraws the curve from the step that a rollback went back to, with a mark, and keeps the undone stretch pale", async () => {
    const { hub } = cockpitRun();
    const { page } = await tests.open(hub);
    await page.locator('[data-chart="reward"] canvas').waitFor();
    expect(await page.locator(".steps").textContent()).toContain("step 20 / 40");
    await page.locator('[data-chart="gradient"] .table-toggle').click();
    const cells = await page.locator('[data-chart="gradient"] tbody tr').allTextContents();
    // The spikes of steps 14 and 15 (norm 9) have been undone.
    expect([cells.length, cells.filter((text) => /^1[45]9$/.test(text))]).toEqual([20, []]);
    await page.locator('[data-chart="gradient"] .table-toggle').click();
    await page.locator('[data-chart="gradient"] canvas').waitFor();
    const red = await pixels(page, "gradient", [194, 47, 47]);
    const { hub: calm } = cockpitRun();
    calm.publishRun({ rollbacks: [] });
    const { page: other } = await tests.open(calm);
    await other.locator('[data-chart="gradient"] canvas').waitFor();
    expect(red).toBeGreaterThan((await pixels(other, "gradient", [194, 47, 47])) + 20);
  });

  it("turns a knob from the page: bounds, the command, and who turned it from what to what", async () => {
    const { hub, tell } = cockpitRun();
    const sent: Pick<MonitorCommand, "name" | "args">[] = [];
    hub.onCommand(({ name, args, by }) => {
      sent.push({ name, args });
      if (name === "set") {
        const turn = { path: String(args.path), old: 0.0005, new: Number(args.value), reason: null };
        tell("knob.turned", 20, { ...turn, by: { kind: "operator", name: `${by.role} at ${by.address}` } });
      }
      return { accepted: true, effect: { ok: true, text: "done at step 20" } };
    });
    const { page, complaints } = await tests.open(hub);
    const knob = page.locator(`[data-knob="${LEARNING_RATE.path}"]`);
    expect(await knob.locator("input").inputValue()).toBe("0.0005");
    expect(await knob.locator(".note").textContent()).toBe("configured 0.001");
    await knob.locator("input").fill("2");
    expect([await knob.locator(".note").textContent(), await knob.locator("button").isDisabled()]).toEqual([
      "expected 0 to 1",
      true,
    ]);
    await knob.locator("input").fill("1e-4");
    await page.keyboard.press("Enter");
    await page.locator(".toast.done", { hasText: "Set optimiser.learningRate done at step 20" }).waitFor();
    expect(sent).toEqual([{ name: "set", args: { path: LEARNING_RATE.path, value: 1e-4 } }]);
    await page.locator(".turns li").nth(2).waitFor();
    expect(await page.locator(".turns li").first().textContent()).toMatch(
      /optimiser\.learningRate 0\.0005 → 0\.0001 · step 20 · operator at 127\.0\.0\.1$/,
    );
    expect(await knob.locator("input").inputValue()).toBe("0.0001");
    const group = page.locator('[data-knob="rollout.groupSize"]');
    await group.locator("input").fill("2.5");
    expect(await group.locator(".note").textContent()).toBe("expected whole number, 1 to 1024");
    // Emptied, an option takes its default.
    await page.locator('[data-knob="loss.clipHigh"] input').fill("0.3");
    await page.keyboard.press("Enter");
    await page.locator(".toast.done", { hasText: "loss.clipHigh" }).waitFor();
    expect(sent.at(-1)?.args).toEqual({ path: "loss.clipHigh", value: 0.3 });
    expect(complaints).toEqual([]);
  });

  it("asks before it rolls back, and skips a batch, a phase and replaces a part", async () => {
    const { hub } = cockpitRun();
    const sent: unknown[] = [];
    hub.onCommand(({ name, args }) => {
      sent.push([name, args]);
      return { accepted: true, effect: { ok: true, text: "done" } };
    });
    const { page } = await tests.open(hub);
    await page.locator('[data-command="rollback"]').click();
    await page.getByText("Keep the run as it is").click();
    expect(sent).toEqual([]);
    await page.locator('[data-command="rollback"]').click();
    const dialog = page.getByRole("dialog", { name: "Roll back the run?" });
    await dialog.locator("input").fill("99");
    expect(await dialog.getByRole("button", { name: "Roll back" }).isDisabled()).toBe(true);
    await dialog.locator("input").fill("17");
    await dialog.getByRole("button", { name: "Roll back" }).click();
    await page.locator(".toast.done").first().waitFor();
    await page.locator('[data-command="skipBatch"]').click();
    await page.locator('[data-command="skipPhase"]').click();
    await page.locator('[data-command="replace"]').click();
    await page.getByRole("dialog", { name: "Replace a part" }).getByLabel("registered name").fill("gspo");
    await page.getByRole("button", { name: "Replace", exact: true }).click();
    await page.locator(".toast.done", { hasText: "Replace part loss gspo" }).waitFor();
    expect(sent).toEqual([
      ["rollback", { toStep: 17 }],
      ["skipBatch", {}],
      ["skipPhase", {}],
      ["replace", { kind: "loss", name: "gspo" }],
    ]);
  });

  it("of a past run shows the knobs as they were left, and offers nothing to turn", async () => {
    const { hub } = cockpitRun();
    hub.publishRun({ live: false, status: "completed" });
    const { page } = await tests.open(hub);
    expect(await page.locator(`[data-knob="${LEARNING_RATE.path}"] output`).textContent()).toBe("0.0005");
    expect(await page.locator(".knobs input, .knobs button").count()).toBe(0);
    expect(await page.locator(".turns li").count()).toBe(2);
  });

  it("draws past runs over one another, each with its line, hides one, and marks options that differ", async () => {
    const target = await openTarget(await pastRun("first", 20), { webRoot: tests.webRoot }, true, [
      await pastRun("second", 30, 0.5),
      await pastRun("third", 10, 0.8),
    ]);
    tests.cleanups.push(() => target.close());
    const { page, complaints } = await tests.visit(target.url);
    const readout = page.locator('[data-chart="reward"] .readout li');
    await readout.nth(2).waitFor();
    expect(await readout.allTextContents()).toEqual(["first 0.1", "second 0.6", "third 0.9"]);
    await page.locator('[data-chart="reward"] canvas').waitFor();
    // Blue, orange and green: the first three runs.
    const colours = [
      [0, 104, 181],
      [184, 106, 0],
      [0, 128, 92],
    ] as const;
    for (const colour of colours) expect(await pixels(page, "reward", colour)).toBeGreaterThan(50);
    await page.locator(".runs label", { hasText: "second" }).click();
    await readout.nth(2).waitFor({ state: "detached" });
    expect([await pixels(page, "reward", colours[1]), page.url().includes("hide=second")]).toEqual([0, true]);
    // A chart of several curves names each once, with a value per run that is drawn.
    const kl = (await page.locator('[data-chart="kl"] .readout li').allTextContents()).map((text) => text.trim());
    expect(kl.filter((text) => /^update ± se 0\.00\d+ · 0\.00\d+$/.test(text))).toHaveLength(1);
    await page.locator(".config summary").click();
    const seed = page.locator(".config-table tr.differs", { hasText: "run.seed" });
    await seed.waitFor();
    expect(await seed.locator("td").allTextContents()).toEqual(["20", "30", "10"]);
    expect(await violations(page)).toEqual([]);
    expect(complaints).toEqual([]);
  });

  it("finds metrics by regular expression, pins one to the board, and keeps it all in the address", async () => {
    const { hub } = cockpitRun();
    const { page, monitor } = await tests.open(hub);
    await page.keyboard.press("m");
    await page.keyboard.type("^kl/(ref|old)|step_sec");
    await page.locator(".find output", { hasText: "2 charts" }).waitFor();
    expect(await page.locator(".chart").evaluateAll((all) => all.map((one) => one.getAttribute("data-chart")))).toEqual(
      ["kl", "time"],
    );
    await page.getByTestId("metric-search").fill("update$");
    await page.locator('[data-chart="kl"]').waitFor();
    await page.getByTestId("metric-search").fill("no such metric");
    await page.getByText("no metric has such a name").waitFor();
    hub.publishMetric({ step: 21, phase: 2, time: 1, values: { "lag/mean": 1 } });
    await page.getByTestId("metric-search").fill("^lag");
    await page.locator('[data-chart="metric-lag/mean"]').getByText("pin").click();
    await page.getByTestId("metric-search").fill("");
    expect(await page.locator(".chart").first().getAttribute("data-chart")).toBe("metric-lag/mean");
    await page.locator(`[data-alarm="${SPIKE.id}"] > button`).click();
    await page.getByRole("button", { name: "s14-q0-g3", exact: true }).click();
    await page.getByTestId("trace-detail").waitFor();
    await page.locator(".toolbar").getByLabel("ignore outliers").check();
    const { hash } = new URL(page.url());
    expect([...new URLSearchParams(hash.slice(1)).keys()].sort()).toEqual([
      "alarm",
      "outliers",
      "pin",
      "shade",
      "step",
      "token",
      "trace",
      "zoom",
    ]);
    const { page: again } = await tests.visit(`${monitor.url}${hash}`);
    await again.getByTestId("trace-detail").waitFor();
    expect(await hot(again).getAttribute("data-token")).toBe("2");
    expect(await again.locator(".alerts li.selected").getAttribute("data-alarm")).toBe(SPIKE.id);
    expect(await again.locator(".chart").first().getAttribute("data-chart")).toBe("metric-lag/mean");
    await again.getByText("Reset zoom").waitFor();
    expect(await again.locator(".toolbar").getByLabel("ignore outliers").isChecked()).toBe(true);
  });

  it("saves a chart as CSV and as a picture, and all metrics of the zoomed steps as CSV", async () => {
    const { hub } = cockpitRun();
    const { page } = await tests.open(hub, "#zoom=18~19");
    await page.locator('[data-chart="reward"] canvas').waitFor();
    const save = async (click: () => Promise<void>) => {
      const [download] = await Promise.all([page.waitForEvent("download"), click()]);
      const path = await download.path();
      return { name: download.suggestedFilename(), content: await readFile(path) };
    };
    const menu = page.locator('[data-chart="reward"] .menu');
    await menu.locator("summary").click();
    const csv = await save(() => menu.getByText("CSV").click());
    expect(csv.name).toBe("cockpit-reward.csv");
    const lines = csv.content.toString().trim().split("\r\n");
    expect([lines.length, lines[0]]).toEqual([3, "run,step,phase,time_ms,reward/mean,reward/std"]);
    expect(lines[1]).toMatch(/^cockpit,18,2,\d+,0\.\d+,0\.2$/);
    await menu.locator("summary").click();
    const png = await save(() => menu.getByText("PNG").click());
    expect([png.name, png.content.subarray(1, 4).toString()]).toEqual(["cockpit-reward.png", "PNG"]);
    expect(png.content.readUInt32BE(16)).toBeGreaterThan(200);
    const all = await save(() => page.getByRole("button", { name: "Save CSV" }).click());
    expect(all.content.toString().split("\r\n")[0]).toContain(
      "gradient/norm,kl/old_k3,kl/ref,kl/update,response/length_mean",
    );
  });

  it("says how long a run has still to go, and shows its options with a search", async () => {
    const { hub } = cockpitRun();
    const { page } = await tests.open(hub);
    expect(await page.getByTestId("eta").textContent()).toBe("about 80 s left");
    await page.locator(".config summary").click();
    await page.locator(".config-table tbody tr").first().waitFor();
    await page.getByLabel("Search options").fill("learning");
    expect(await page.locator(".config-table tbody tr").allTextContents()).toEqual(["optimiser.learningRate0.001"]);
    hub.publishRun({ status: "paused" });
    await page.getByTestId("eta").waitFor({ state: "detached" });
  });

  it.each(["light", "dark"] as const)("has no fault that axe-core knows of (%s)", async (colorScheme) => {
    const { hub } = cockpitRun();
    hub.onCommand(() => ({ accepted: true, effect: { ok: true, text: "done" } }));
    const { page } = await tests.open(hub);
    await page.emulateMedia({ colorScheme });
    await page.locator(`[data-theme="${colorScheme}"]`).waitFor();
    await page.locator('[data-chart="kl"] .alarm-mark').click();
    await page.getByRole("button", { name: "s14-q0-g1", exact: true }).click();
    await page.getByTestId("token-numbers").waitFor();
    await page.locator('[data-chart="reward"] .menu summary').click();
    await page.locator(".config summary").click();
    expect(await violations(page)).toEqual([]);
    await page.locator(".detail .choice label", { hasText: "advantage" }).click();
    await page.getByTestId("metric-search").fill("kl/");
    await page.locator(`[data-knob="${KNOBS[0]?.path}"] input`).fill("-1");
    expect(await violations(page)).toEqual([]);
    await page.locator('[data-command="rollback"]').click();
    await page.getByRole("dialog").waitFor();
    expect(await violations(page)).toEqual([]);
  });

  it("on a phone nothing is wider than the screen, also with a trace and its numbers", async () => {
    const { hub } = cockpitRun();
    const { page } = await tests.open(hub, "#trace=s14-q0-g1&step=14&token=5&shade=klOld");
    await page.setViewportSize({ width: 390, height: 844 });
    await page.getByTestId("token-numbers").waitFor();
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(390);
    const top = async (selector: string) => (await page.locator(selector).first().boundingBox())?.y ?? 0;
    expect(await top(".timeline")).toBeLessThan(await top(".alarm"));
    expect(await top(".alarm")).toBeLessThan(await top(".chart"));
    const choice = (await page.locator(".detail .choice").boundingBox()) ?? { x: 0, width: 999 };
    expect(choice.x + choice.width).toBeLessThanOrEqual(390);
  });

  it("shows an empty guard in a line, and a hub without knobs without them", async () => {
    const hub = new MonitorHub();
    hub.publishRun({ id: "calm", live: false, status: "completed" });
    const { page } = await tests.open(hub);
    await page.getByText("nothing has happened").waitFor();
    expect(await page.locator(".knobs, .lanes").count()).toBe(0);
  });
});
