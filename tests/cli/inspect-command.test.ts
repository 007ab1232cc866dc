import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { inspectCommand } from "../../src/cli/commands/inspect.js";
import { RunFolder } from "../../src/store/index.js";
import { OUTCOMES, sampleTrace } from "../store/trace-sample.js";

let printed: string[];
let run: string;

beforeEach(async () => {
  printed = [];
  vi.spyOn(process.stdout, "write").mockImplementation((text) => {
    printed.push(String(text));
    return true;
  });
  const root = await mkdtemp(join(tmpdir(), "weir-inspect-"));
  const folder = await RunFolder.create({ root, id: "run", seed: 1, config: {}, dataset: {}, clock: () => 0 });
  folder.append("run.started", 0, {});
  folder.append("phase.entered", 1, { k: 1, minTokens: 0, maxTokens: 240, fromStep: 1 });
  folder.append("metrics.recorded", 3, { phase: 1, values: { "reward/mean": 0.123456789 } });
  folder.append("step.committed", 3, {});
  folder.append("evaluation.finished", 3, { stage: "rl", buckets: { "1-240": { n: 8, correct: 6 } } });
  folder.append("run.finished", 3, { status: "completed" });
  const traces = OUTCOMES.map((outcome, index) => sampleTrace(index, outcome));
  const hostile = { ...sampleTrace(9, { kind: "abstained", reason: "no" }), completion: "\u001b[2Jgone" };
  await folder.rollouts(3, [...traces, hostile]);
  await folder.checkpoint(3, (directory) => writeFile(join(directory, "weights"), "abc"), {});
  await folder.close();
  run = folder.directory;
});

afterEach(() => {
  vi.restoreAllMocks();
});

const output = () => printed.join("");

describe("weir inspect", () => {
  it("says why a run failed", async () => {
    const root = await mkdtemp(join(tmpdir(), "weir-inspect-"));
    const folder = await RunFolder.create({ root, id: "failed", seed: 1, config: {}, dataset: {}, clock: () => 0 });
    folder.append("run.finished", 2, { status: "failed", error: "WEIR_E_NOTHING_TRAINED: no update" });
    await folder.close();
    await inspectCommand(folder.directory, {});
    expect(output()).toMatch(/^state +failed: WEIR_E_NOTHING_TRAINED: no update$/m);
  });

  it("summarises a run for a person", async () => {
    expect(await inspectCommand(run, {})).toBe(0);
    expect(output()).toMatch(/state\s+completed\nsteps\s+3\nphase 1\s+1 to 240 tokens, from step 1\n/);
    expect(output()).toMatch(/checkpoint\s+step-00003\n/);
    expect(output()).toMatch(/reward\/mean\s+0\.123457/);
    expect(output()).toMatch(/1-240\s+8\s+75\.0 %/);
  });

  it("lists the rollouts of a step and shows one with its reward", async () => {
    await inspectCommand(run, { step: "3" });
    expect(output()).toMatch(/r0\s+scored\s+1\s+0\.5\s+0\s+length/);
    expect(output()).toMatch(/r3\s+timedOut\s+–\s+–/);
    printed = [];
    await inspectCommand(run, { rollout: "r0" });
    expect(output()).toContain('outcome    scored 1 (rule 1, judge 0), answer "Peru"');
    printed = [];
    await inspectCommand(run, { rollout: "r2", json: true });
    expect(JSON.parse(output())).toEqual(sampleTrace(2, OUTCOMES[2] as (typeof OUTCOMES)[number]));
  });

  it("does not let a response reach the terminal's controls", async () => {
    await inspectCommand(run, { rollout: "r9" });
    await inspectCommand(run, { step: "3" });
    expect(output()).not.toContain("\u001b");
    expect(output()).toContain("\uFFFD[2Jgone");
  });

  it("says with its exit code that a checkpoint is damaged", async () => {
    await writeFile(join(run, "checkpoints", "step-00003", "weights"), "abd");
    expect(await inspectCommand(run, {})).toBe(0);
    expect(await inspectCommand(run, { verify: true, json: true })).toBe(3);
    expect(output()).toContain("weights has another content than was written");
  });

  it.each<[string, { step?: string; rollout?: string }, string]>([
    ["a step without rollouts", { step: "9" }, "WEIR_E_RUN_FOLDER"],
    ["a step that is no number", { step: "x" }, "WEIR_E_USAGE"],
    ["an unknown rollout", { rollout: "none" }, "WEIR_E_USAGE"],
  ])("refuses %s", async (_, options, code) => {
    await expect(inspectCommand(run, options)).rejects.toMatchObject({ code });
  });

  it("refuses a folder that is no run", async () => {
    await expect(inspectCommand(tmpdir(), {})).rejects.toMatchObject({ code: "WEIR_E_FILE_MISSING" });
  });
});
