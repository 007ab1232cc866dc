/** Run folders of earlier builds: shown as they are, and continued or refused by a code. */
import { cp, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { replayRun } from "../../monitor/server/index.js";
import { createTrainingSystem } from "../../src/actors/run/training-system.js";
import { configOfRun } from "../../src/cli/commands/train.js";
import { OLD_NAMES } from "../../src/config/old-names.js";
import { CheckpointStore } from "../../src/store/checkpoint-store.js";
import { readRollouts, summariseRun } from "../../src/store/index.js";
import { readFacts } from "../../src/store/journal.js";
import { parityReward } from "../e2e/tiny-run.js";
import { OWN_FIXTURES, temporaryFolder } from "../helpers/fixtures.js";

/** A copy of an old run with its model and tasks. */
async function oldRun(commit: string): Promise<{ readonly root: string; readonly run: string }> {
  const root = join(await temporaryFolder(), "copy");
  await cp(join(OWN_FIXTURES, "old-runs", commit), root, { recursive: true });
  return { root, run: join(root, "run") };
}

/** The settings that a moved run is resumed with. */
const moved = (root: string) => [
  `run.directory=${root}`,
  `model.path=${join(root, "model")}`,
  `data.train=[${join(root, "tasks.jsonl")}]`,
  `data.heldout=[${join(root, "tasks.jsonl")}]`,
];

async function edit(path: string, change: (text: string) => string): Promise<void> {
  await writeFile(path, change(await readFile(path, "utf8")));
}

const names = OLD_NAMES as { readonly [K in keyof typeof OLD_NAMES]: Record<string, unknown> };
const present = Object.fromEntries(Object.entries(OLD_NAMES).map(([name, table]) => [name, { ...table }]));
afterEach(() => {
  for (const [name, table] of Object.entries(names)) {
    for (const key of Object.keys(table)) delete table[key];
    Object.assign(table, present[name]);
  }
});

describe("a run of the build eaa069b", () => {
  it("is inspected whole: steps, phases, evaluations, metrics, ledger, checkpoint", async () => {
    const { run } = await oldRun("eaa069b");
    const summary = await summariseRun(run, { verify: true });
    expect(summary).toMatchObject({
      id: "run",
      facts: 32,
      steps: 4,
      lifecycle: "stopped",
      finished: { status: "stopped" },
      phases: [
        { k: 1, minTokens: 0, maxTokens: 70, fromStep: 1 },
        { k: 2, minTokens: 70, maxTokens: 300, fromStep: 4 },
      ],
      heldout: { before: { "1-70": { n: 2, correct: 0, unscored: 0, meanReward: 0 } } },
      metrics: { step: 4, phase: 2 },
      ledger: { trained: 32, dropped: 8 },
      checkpoints: [{ name: "step-00004", step: 4, damaged: null }],
      rolloutSteps: [1, 2, 3, 4],
      remarks: [],
    });
    expect(summary.metrics?.values["reward/mean"]).toBe(0.75);
    expect(summary.alerts.map(({ rule, metric }) => [rule, metric])).toEqual([
      ["preflight", "response/truncated_share"],
    ]);
    expect(await readRollouts(join(run, "rollouts"), 4)).toHaveLength(8);
  });

  it("is shown by the monitor", async () => {
    const { run } = await oldRun("eaa069b");
    const hub = await replayRun(run);
    expect(hub.run).toMatchObject({
      id: "run",
      live: false,
      status: "stopped",
      step: 4,
      plannedSteps: 6,
      phases: [
        { k: 1, fromStep: 1, toStep: 3 },
        { k: 2, fromStep: 4, toStep: null },
      ],
      evaluations: [{ stage: "before", step: 0 }],
    });
    expect(hub.run?.checkpoints.map(({ step }) => step)).toEqual([1, 2, 3, 4]);
    expect(hub.metrics.records().filter((record) => record.values["group/kept"] === 2)).toHaveLength(4);
    expect(hub.channel("alerts").entries()).toHaveLength(1);
    expect(hub.channel("traces").entries()).toHaveLength(40);
    expect(
      hub
        .channel("logs")
        .entries()
        .map((entry) => (entry.data as { text: string }).text),
    ).not.toContainEqual(expect.stringContaining("damaged"));
  });

  it("goes on from its checkpoint to its end", async () => {
    const { root, run } = await oldRun("eaa069b");
    const config = await configOfRun(run, moved(root));
    const system = createTrainingSystem(config, { actors: { reward: parityReward }, resume: run });
    await system.start();
    expect(await system.done).toMatchObject({ status: "completed", runDirectory: run });
    const facts = [...readFacts(join(run, "journal.ndjson"))];
    expect(facts.filter(({ type }) => type === "step.committed").map(({ step }) => step)).toEqual([1, 2, 3, 4, 5, 6]);
    expect(facts.map(({ seq }) => seq)).toEqual(facts.map((_, index) => index + 1));
    const changed = facts.flatMap((fact) => (fact.type === "config.changed" ? [fact.data.path] : []));
    expect(changed).toEqual(["run.directory", "model.path", "data.train", "data.heldout"]);
    expect((await summariseRun(run, { verify: true })).remarks).toEqual([]);
  });

  it("is not continued without the part that it was started with, and stays as it was", async () => {
    const { root, run } = await oldRun("eaa069b");
    const before = await readFile(join(run, "journal.ndjson"), "utf8");
    const system = createTrainingSystem(await configOfRun(run, moved(root)), { resume: run });
    await expect(system.start()).rejects.toMatchObject({ code: "WEIR_E_ACTOR_MISSING" });
    expect(await readFile(join(run, "journal.ndjson"), "utf8")).toBe(before);
  });
});

describe("names that have changed since", () => {
  it("of facts, their fields and metrics are read from a journal as the present ones, by inspect and by the monitor", async () => {
    const { run } = await oldRun("eaa069b");
    names.metrics["reward/average"] = "reward/mean";
    names.facts["step.done"] = "step.committed";
    names.factFields["step.committed"] = { taken: "kept" };
    await edit(join(run, "journal.ndjson"), (text) =>
      text
        .replaceAll('"reward/mean"', '"reward/average"')
        .replaceAll('"step.committed"', '"step.done"')
        .replaceAll(/("groups":\d+,)"kept"/g, '$1"taken"'),
    );
    const summary = await summariseRun(run, { verify: false });
    expect(summary).toMatchObject({ facts: 32, steps: 4, metrics: { values: { "reward/mean": 0.75 } }, remarks: [] });
    const hub = await replayRun(run);
    expect(hub.metrics.latest.get("reward/mean")).toBe(0.75);
    expect(hub.metrics.latest.has("reward/average")).toBe(false);
    const committed = [...readFacts(join(run, "journal.ndjson"))].flatMap((fact) =>
      fact.type === "step.committed" ? [fact.data.kept] : [],
    );
    expect(committed).toEqual([2, 2, 2, 2]);
  });

  it("of options do not keep a run from going on", async () => {
    const { root, run } = await oldRun("eaa069b");
    names.options["loss.range.low"] = "loss.clipLow";
    await edit(join(run, "config.json"), (text) => text.replace('"clipLow": 0.2,', '"range": { "low": 0.25 },'));
    const config = await configOfRun(run, moved(root));
    expect(config.loss.clipLow).toBe(0.25);
    const system = createTrainingSystem(config, { actors: { reward: parityReward }, resume: run });
    await system.start();
    await system.stop();
    const facts = [...readFacts(join(run, "journal.ndjson"))];
    expect(facts.filter((fact) => fact.type === "config.changed" && fact.data.path.startsWith("loss"))).toEqual([]);
  });

  it("of a checkpoint's state are read as the present ones", async () => {
    names.checkpointState["progress.rlSteps"] = "progress.step";
    const folder = await temporaryFolder();
    const store = await CheckpointStore.open(folder, { keep: 2, clock: () => 0 });
    const state = { progress: { rlSteps: 4, sequence: 9 } };
    await store.write({ step: 4, state, writeInto: (draft) => writeFile(join(draft, "weights"), "w") });
    expect((await store.latest()).checkpoint?.state).toEqual({ progress: { step: 4, sequence: 9 } });
  });

  it("of an option that is no longer there refuses to resume with what to do, and leaves the run to be looked at", async () => {
    const { root, run } = await oldRun("eaa069b");
    names.options["loss.bound"] = { removed: "set loss.largestRatio instead" };
    await edit(join(run, "config.json"), (text) => text.replace('"clipLow": 0.2,', '"clipLow": 0.2, "bound": 3,'));
    await expect(configOfRun(run, moved(root))).rejects.toMatchObject({
      code: "WEIR_E_CONFIG",
      message: expect.stringContaining('option "loss.bound" is no longer there: set loss.largestRatio instead'),
    });
    expect((await summariseRun(run, { verify: true })).steps).toBe(4);
    expect((await replayRun(run)).run?.step).toBe(4);
  });
});
