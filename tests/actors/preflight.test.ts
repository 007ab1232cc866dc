/** What preflight finds is raised as alerts, so that it stands on the terminal and on the page. */
import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { perSourceFirst } from "../../src/actors/run/preflight.js";
import type { ConfigInput } from "../../src/config/schema.js";
import type { AdvantagePart } from "../../src/contracts/advantage.js";
import type { Engine, MicroBatchSize } from "../../src/contracts/engine.js";
import type { FactData } from "../../src/contracts/fact.js";
import type { RewardOutcome } from "../../src/contracts/reward.js";
import { createFakeEngine } from "../../src/testing.js";
import { failure } from "../helpers/errors.js";
import { demonstrations, fakeRun, rewardOf } from "./fake-run.js";

const onePhase = { phases: [{ maxTokens: 300, steps: 1 }] };
const run = async (preflight: "refuse" | "warn") => ({
  run: { directory: await mkdtemp(join(tmpdir(), "weir-preflight-")), preflight },
});
const parity = rewardOf(({ rollout }) => rollout.sampleIndex % 2);
const noFamily: RewardOutcome = { kind: "failed", code: "WEIR_E_REWARD_SOURCE", reason: "no family for triviaqa" };

/** Sources of 24 tasks with long prompts. */
const LONG = Array.from({ length: 24 }, () => "long:a");

/** Tasks of the sources given, in turn; each prompt some 30 tokens, or some 300 for `long:` sources. */
async function tasksOf(sources: readonly string[]): Promise<string> {
  const file = join(await mkdtemp(join(tmpdir(), "weir-preflight-")), "tasks.jsonl");
  const rows = sources.map((source, index) => ({
    data_source: source.replace("long:", ""),
    prompt: [{ role: "user", content: `${source.startsWith("long:") ? "word ".repeat(150) : ""}Box ${index}?` }],
    reward_model: { ground_truth: "Therefore, the answer is a coin." },
    extra_info: { index },
  }));
  await writeFile(file, rows.map((row) => JSON.stringify(row)).join("\n"));
  return file;
}

async function alertsOf(over: Parameters<typeof fakeRun>[0], reward = parity) {
  const { system, alerts, metrics } = await fakeRun({ ...onePhase, ...over }, reward);
  await system.start();
  await system.done.catch(() => undefined);
  return { alerts: alerts.filter(({ rule }) => rule === "preflight"), metrics };
}

describe("preflight", () => {
  it("raises nothing where nothing is wrong", async () => {
    expect((await alertsOf({})).alerts).toEqual([]);
  });

  it("raises that every trial response got one reward, with the reward, unless a warm-up comes first", async () => {
    const equal = rewardOf(() => 0.25);
    const { alerts } = await alertsOf({}, equal);
    expect(alerts).toMatchObject([
      { level: "error", metric: "group/zero_variance_share", value: 1, id: "0-preflight-1", culprits: [] },
    ]);
    // Four prompts of four responses, and twelve more prompts before it is believed.
    expect(alerts[0]?.text).toMatch(/all 64 trial responses got the reward 0\.25.*warmup\.data/);
    const warmup = { data: [await demonstrations()], batchRows: 4, epochs: 1 };
    expect((await alertsOf({ warmup }, equal)).alerts).toEqual([]);
  });

  it("does not refuse hard tasks that are solved now and then", async () => {
    let calls = 0;
    const seldom = rewardOf(() => (++calls === 20 ? 1 : 0));
    const { system, alerts } = await fakeRun({ ...onePhase, ...(await run("refuse")) }, seldom);
    const trained = new Promise<void>((resolve) => {
      system.state$.subscribe(({ lifecycle }) => lifecycle === "training" && resolve());
    });
    await system.start();
    await trained;
    await system.stop({ abort: true });
    expect(alerts.filter(({ rule }) => rule === "preflight")).toEqual([]);
  });

  it.each([
    [
      "equal rewards",
      {},
      /all 64 trial responses got the reward 0.*use easier .*set run\.preflight to warn/,
      ["equal_rewards"],
    ],
    [
      "prompts that are all cut",
      { data: { overlong: "truncate" as const }, rollout: { groupSize: 4, promptsPerStep: 3, maxTokens: 4_000 } },
      /100 % of the 24 training prompts were cut in the middle.*data\.overlong: drop.*Besides, all/,
      ["truncated_prompts", "equal_rewards"],
    ],
  ] as const)("refuses %s with every cause, and nothing is trained", async (_, over, message, causes) => {
    const config = { ...onePhase, ...(await run("refuse")), ...over };
    const given = "data" in over ? { ...config, data: { ...over.data, train: [await tasksOf(LONG)] } } : config;
    const { system } = await fakeRun(
      given as Partial<ConfigInput>,
      rewardOf(() => 0),
    );
    const found: FactData["preflight.finished"][] = [];
    system.facts$.subscribe((fact) => fact.type === "preflight.finished" && found.push(fact.data));
    await system.start();
    const error = await failure(() => system.done, "WEIR_E_PREFLIGHT");
    expect(error.message).toMatch(message);
    expect(error.details).toEqual({ causes });
    // The journal says it, too.
    expect(found[0]?.findings.filter(({ refuses }) => refuses).map(({ cause }) => cause)).toEqual(causes);
  });

  it("trains all the same with `warn`, and with an advantage that does not compare responses", async () => {
    const raw: AdvantagePart = { kind: "raw", specificationVersion: 1, handle: ({ rewards }) => [...rewards] };
    for (const [preflight, actors] of [
      ["warn", {}],
      ["refuse", { advantage: raw }],
    ] as const) {
      const { system } = await fakeRun(
        { ...onePhase, ...(await run(preflight)) },
        rewardOf(() => 1),
        { actors },
      );
      const reached: string[] = [];
      system.state$.subscribe(({ lifecycle }) => reached.push(lifecycle));
      await system.start();
      await system.done.catch(() => undefined);
      expect(reached).toContain("training");
    }
  });

  it("raises that no group had variance where rewards differ between prompts only", async () => {
    const byTask = rewardOf(({ task }) => (task.id.length + Number(task.id.match(/\d+$/)?.[0] ?? 0)) % 2);
    const { alerts } = await alertsOf({}, byTask);
    expect(alerts.map(({ text }) => text).join()).toMatch(/responses to each trial prompt got equal rewards/);
  });

  it("raises the share of unscorable responses, and which data source they are, of how many tasks", async () => {
    const train = [await tasksOf(["musique", "triviaqa", "musique", "triviaqa", "musique", "musique"])];
    const reward = rewardOf(({ task, rollout }) => (task.source === "triviaqa" ? noFamily : rollout.sampleIndex % 2));
    const { alerts } = await alertsOf({ data: { train } }, reward);
    expect(alerts).toMatchObject([{ level: "warn", metric: "reward/scored_share", threshold: 1 }]);
    expect(alerts[0]?.text).toMatch(/WEIR_E_REWARD_SOURCE.*triviaqa (\d+) of \1 \(33 % of the tasks\)/);
  });

  it("raises how many tasks are never issued: lightly for a few, as a warning for most", async () => {
    const few = await alertsOf({ data: { train: [await tasksOf(["a", "a", "a", "long:a"])] } });
    expect(few.alerts).toMatchObject([{ level: "info", metric: "data/never_issued_share", value: 0.25 }]);
    expect(few.metrics[0]?.values).toEqual({ "data/never_issued_share": 0.25 });
    const most = await alertsOf({ data: { train: [await tasksOf(["a", "long:a", "long:a"])] } });
    expect(most.alerts).toMatchObject([{ level: "warn" }]);
    expect(most.alerts[0]?.text).toMatch(
      /67 % of the 3 training tasks will never be issued: 2 are longer than the last phase \(300 tokens\); raise phases/,
    );
  });

  it("refuses a reward that scores nothing by its own code, and by WEIR_E_REWARD where it gave none", async () => {
    const source = await fakeRun(
      onePhase,
      rewardOf(() => noFamily),
    );
    await source.system.start();
    await failure(() => source.system.done, "WEIR_E_REWARD_SOURCE");
    const silent = await fakeRun(
      onePhase,
      rewardOf(() => ({ kind: "abstained", reason: "no opinion" })),
    );
    await silent.system.start();
    const error = await failure(() => silent.system.done, "WEIR_E_REWARD");
    expect(error.message).toMatch(/no opinion.*repair the reward/);
  });
});

describe("the trial batch", () => {
  const item = (source: string, n: number) => ({ task: { source }, n });
  it("has each data source once before any twice, and four prompts at least", () => {
    const order = [item("a", 0), item("a", 1), item("a", 2), item("a", 3), item("a", 4), item("b", 5), item("c", 6)];
    expect(perSourceFirst(order).map(({ n }) => n)).toEqual([0, 5, 6, 1]);
    expect(perSourceFirst(order.slice(0, 5)).map(({ n }) => n)).toEqual([0, 1, 2, 3]);
    const many = Array.from({ length: 40 }, (_, n) => item(`s${n}`, n));
    expect(perSourceFirst(many)).toHaveLength(12);
  });
});

describe("the memory that is planned", () => {
  it("refuses a run whose plan does not fit, with and without a warm-up, and names the options", async () => {
    const fake = createFakeEngine();
    const engine: Engine = {
      ...fake,
      planMemory: async () => ({ peakBytes: 3e9, budgetBytes: 2e9, text: "2.79 GiB planned, 1.86 GiB free" }) as never,
    };
    const warmup = { data: [await demonstrations()], batchRows: 4, epochs: 1 };
    for (const over of [{}, { warmup }]) {
      const config = { ...onePhase, ...(await run("refuse")), ...over };
      const { system } = await fakeRun(config, parity, { actors: { engine: async () => engine } });
      await system.start();
      const error = await failure(() => system.done, "WEIR_E_PREFLIGHT");
      expect(error.message).toMatch(/2\.79 GiB planned, 1\.86 GiB free.*lower update\.microBatchTokens/);
      expect(error.details).toEqual({ causes: ["memory"] });
    }
  });

  it("counts the trial step, and snapshots where they share the machine's free memory", async () => {
    const sizes: MicroBatchSize[] = [];
    const planned = async (over: Partial<ConfigInput>) => {
      const fake = createFakeEngine();
      const engine: Engine = {
        ...fake,
        planMemory: async (size) => {
          sizes.push(size);
          return { ...(await fake.planMemory(size, { signal: new AbortController().signal })), budgetBytes: 1 };
        },
      };
      const { system, alerts } = await fakeRun(
        { ...onePhase, ...over },
        rewardOf(() => 1),
        { actors: { engine: async () => engine } },
      );
      const memory = new Promise<string>((resolve) => {
        system.facts$.subscribe((fact) => fact.type === "preflight.finished" && resolve(fact.data.memory));
      });
      await system.start();
      const text = await memory;
      await system.stop({ abort: true }).catch(() => undefined);
      return { text, warned: alerts.filter(({ metric }) => metric === "engine/rss_bytes") };
    };
    const shared = await planned({});
    expect(shared.text).toMatch(/; snapshots take up to 0\.00 GiB besides/);
    expect(shared.warned).toMatchObject([
      { threshold: 1, text: expect.stringMatching(/guard\.snapshots\.place=disk saves it/) },
    ]);
    // Two that the run has, two that its checkpoint names, one that is being written: weights and two moments each.
    const { parameters, trainedParameters } = createFakeEngine().trainer.model;
    expect(shared.warned[0]?.value).toBe(5 * 4 * (parameters + 2 * trainedParameters));
    expect((await planned({ guard: { snapshots: { place: "disk" }, trial: false } })).warned).toEqual([]);
    expect((await planned({ engine: { memoryGiB: 1 } })).warned).toEqual([]);
    expect(sizes.map(({ trial }) => trial)).toEqual([true, false, true]);
  });
});
