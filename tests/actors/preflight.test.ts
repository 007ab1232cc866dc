/** What preflight finds is raised as alerts, so that it stands on the terminal and on the page. */
import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { perSourceFirst } from "../../src/actors/run/preflight.js";
import type { ConfigInput } from "../../src/config/schema.js";
import type { Engine, MicroBatchSize } from "../../src/contracts/engine.js";
import type { RewardOutcome } from "../../src/contracts/reward.js";
import { createFakeEngine } from "../../src/testing.js";
import { failure } from "../helpers/errors.js";
import { demonstrations, fakeRun, rewardOf } from "./fake-run.js";

const onePhase = { phases: [{ maxTokens: 300, steps: 1 }] };
const parity = rewardOf(({ rollout }) => rollout.sampleIndex % 2);
const noFamily: RewardOutcome = { kind: "failed", code: "WEIR_E_REWARD_SOURCE", reason: "no family for triviaqa" };

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
      { level: "warn", metric: "group/zero_variance_share", value: 1, id: "0-preflight-1", culprits: [] },
    ]);
    // Four prompts of four responses.
    expect(alerts[0]?.text).toMatch(/all 16 trial responses got the reward 0\.25.*warmup\.data/);
    const warmup = { data: [await demonstrations()], batchRows: 4, epochs: 1 };
    expect((await alertsOf({ warmup }, equal)).alerts).toEqual([]);
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
      /67 % of the 3 training tasks will never be issued: 2 are longer than the last phase \(300 tokens\): raise phases/,
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
