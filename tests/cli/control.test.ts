/** `weir control` over runs that are under way. */
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { createTrainingSystem, type TrainingSystem } from "../../src/actors/run/training-system.js";
import { controlCommand, ordersOf } from "../../src/cli/commands/control.js";
import { configOfRun } from "../../src/cli/commands/train.js";
import type { ConfigInput } from "../../src/config/schema.js";
import type { Fact, FactType } from "../../src/contracts/fact.js";
import { readFacts } from "../../src/store/journal.js";
import { createFakeEngine } from "../../src/testing.js";
import { fakeRun } from "../actors/fake-run.js";
import { parityReward } from "../e2e/tiny-run.js";
import { failure } from "../helpers/errors.js";
import { temporaryFolder } from "../helpers/fixtures.js";

let printed: string[];
let noted: string[];
beforeEach(() => {
  printed = [];
  noted = [];
  vi.spyOn(process.stdout, "write").mockImplementation((text) => printed.push(String(text)) > 0);
  vi.spyOn(process.stderr, "write").mockImplementation((text) => noted.push(String(text)) > 0);
});
afterEach(() => vi.restoreAllMocks());

const LIVE: Partial<ConfigInput> = {
  phases: [{ maxTokens: 300, steps: 8 }],
  update: { miniBatchPrompts: null },
  monitor: { enabled: true },
};

const factsOf = <T extends FactType>(directory: string, type: T): Fact<T>[] =>
  [...readFacts(join(directory, "journal.ndjson"))].filter((fact) => fact.type === type) as Fact[] as Fact<T>[];

/** Starts a run and pauses it after a step; resolves to its folder. */
async function pausedAfter(system: TrainingSystem, step: number): Promise<string> {
  const paused = new Promise<void>((resolve) => {
    system.state$.subscribe(({ lifecycle }) => lifecycle === "paused" && resolve());
  });
  const facts = system.facts$.subscribe((fact) => {
    if (fact.type !== "step.committed" || fact.step !== step) return;
    facts.unsubscribe();
    system.pause();
  });
  await system.start();
  await paused;
  return system.runDirectory as string;
}

describe("weir control", () => {
  it("turns knobs, which the journal names with who, old and new, and which hold after a resume", async () => {
    const { system } = await fakeRun(LIVE, parityReward);
    const run = await pausedAfter(system, 2);
    await system.setKnob("rollout.temperature", 1.2);
    expect(
      await controlCommand(run, "set", ["optimiser.learningRate=1e-4", "loss.clipHigh=null", "loss.clipLow=0.1"], {
        reason: "a trial",
      }),
    ).toBe(0);
    expect(printed.join("")).toBe(
      "optimiser.learningRate is 0.0001 now\nloss.clipHigh is the loss's own now\nloss.clipLow is 0.1 now\n",
    );
    expect(await controlCommand(run, "stop", [])).toBe(0);
    await system.done;

    const by = { kind: "operator", name: "weir-cli/1 at 127.0.0.1" };
    const turns = [
      { path: "rollout.temperature", old: 1, new: 1.2, by: { kind: "program", name: "" }, reason: null },
      { path: "optimiser.learningRate", old: 1e-3, new: 1e-4, by, reason: "a trial" },
      { path: "loss.clipLow", old: null, new: 0.1, by, reason: "a trial" },
    ];
    expect(factsOf(run, "knob.turned").map(({ data }) => data)).toEqual(turns);

    const again = createTrainingSystem(await configOfRun(run, []), {
      actors: { engine: async () => createFakeEngine(), reward: parityReward },
      resume: run,
    });
    const rates: unknown[] = [];
    again.metrics$.subscribe(({ values }) => rates.push(...[values["optimiser/learning_rate"] ?? []].flat()));
    await again.start();
    const values = Object.fromEntries(again.knobs.map(({ path, value }) => [path, value]));
    expect(values).toMatchObject({
      "rollout.temperature": 1.2,
      "optimiser.learningRate": 1e-4,
      "loss.clipLow": 0.1,
      "loss.clipHigh": null,
    });
    await again.done;
    expect(new Set(rates)).toEqual(new Set([1e-4]));
    expect(factsOf(run, "knob.turned").map(({ data }) => data)).toEqual(turns);
  });

  it("says why a command is refused, and changes nothing", async () => {
    const { system } = await fakeRun({ ...LIVE, guard: { snapshots: { everySteps: 1, keep: 2 } } }, parityReward);
    const run = await pausedAfter(system, 4);
    expect(await controlCommand(run, "set", ["optimiser.learningRate=2"])).toBe(1);
    expect(await controlCommand(run, "replace", ["los", "gspo"])).toBe(1);
    expect(await controlCommand(run, "replace", ["loss", "gsp"])).toBe(1);
    expect(await controlCommand(run, "rollback", [], { to: "0" })).toBe(1);
    const [rate, kind, name, back] = noted;
    expect(rate).toMatch(/refused: WEIR_E_KNOB: .*expected a number from 0 to 1, got 2/);
    expect(kind).toMatch(/refused: WEIR_E_ACTOR_UNKNOWN: .*did you mean "loss"/);
    expect(name).toMatch(/failed: WEIR_E_ACTOR_UNKNOWN: .*did you mean "gspo"/);
    expect(back).toMatch(/refused: WEIR_E_STATE: there is no snapshot to go back to/);
    await system.stop();
    expect(factsOf(run, "knob.turned")).toEqual([]);
    expect(factsOf(run, "run.rolledBack")).toEqual([]);
  });

  it("rolls back, which undoes later turns, skips a batch and replaces a part", async () => {
    const { system } = await fakeRun({ ...LIVE, guard: { snapshots: { everySteps: 1, keep: 8 } } }, parityReward);
    let turned: Promise<void> | null = null;
    const second = system.facts$.subscribe((fact) => {
      if (fact.type !== "step.committed" || fact.step !== 2) return;
      second.unsubscribe();
      turned = system.setKnob("optimiser.learningRate", 0.5);
    });
    const run = await pausedAfter(system, 4);
    await turned;
    expect(await controlCommand(run, "rollback", [], { to: "1", reason: "it drifted" })).toBe(0);
    expect(await controlCommand(run, "skip-batch", [], { reason: "odd data" })).toBe(0);
    expect(await controlCommand(run, "replace", ["loss", "gspo"])).toBe(0);
    expect(await controlCommand(run, "knobs", [], { json: true })).toBe(0);
    expect(await controlCommand(run, "resume", [])).toBe(0);
    await system.done;

    expect(factsOf(run, "run.rolledBack").map(({ data }) => data)).toMatchObject([
      { fromStep: 4, toStep: 1, reason: "it drifted", by: { kind: "operator", name: "weir-cli/1 at 127.0.0.1" } },
    ]);
    expect(factsOf(run, "knob.turned").map(({ data }) => [data.by.kind, data.old, data.new])).toEqual([
      ["program", 1e-3, 0.5],
      ["rollback", 0.5, 1e-3],
    ]);
    expect(factsOf(run, "guard.judged").map(({ step, data }) => [step, data.verdict, data.reason])).toEqual([
      [2, "skip", "weir-cli/1 at 127.0.0.1 had the batch skipped: odd data"],
    ]);
    expect(factsOf(run, "part.replaced").map(({ data }) => data.to)).toEqual([{ kind: "gspo", source: "built-in" }]);
    const json = printed.find((text) => text.includes('"turns"')) as string;
    const { knobs, turns } = JSON.parse(json) as { knobs: { path: string; value: number }[]; turns: unknown[] };
    expect(knobs.find(({ path }) => path === "optimiser.learningRate")?.value).toBe(1e-3);
    expect(turns).toHaveLength(2);
  });

  it("says that a run is over", async () => {
    const error = await failure(
      () => temporaryFolder().then((folder) => controlCommand(folder, "pause", [])),
      "WEIR_E_MONITOR_CONNECTION",
    );
    expect(error.message).toMatch(/no run is under way/);
  });

  it.each([
    ["set", []],
    ["set", ["optimiser.learningRate"]],
    ["set", ["optimiser.learningRate=fast"]],
    ["set", ["=1"]],
    ["replace", ["loss"]],
    ["pause", ["now"]],
    ["rolback", []],
  ])("refuses %s %s", (command, values) => {
    expect(() => ordersOf(command, values)).toThrow(/WEIR_E_USAGE/);
  });
});
