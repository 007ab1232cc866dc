import { mkdtemp, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { inspectCommand } from "../../src/cli/commands/inspect.js";
import { RunFolder } from "../../src/store/index.js";
import { COMMITTED, STARTED } from "../helpers/facts.js";
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
  folder.append("run.started", 0, STARTED);
  folder.append("phase.entered", 1, { k: 1, minTokens: 0, maxTokens: 240, fromStep: 1 });
  folder.append("metrics.recorded", 3, { phase: 1, values: { "reward/mean": 0.123456789 } });
  folder.append("step.committed", 3, COMMITTED);
  folder.append("evaluation.finished", 3, {
    stage: "rl",
    buckets: { "1-240": { n: 8, correct: 6, unscored: 0, meanReward: 0.75 } },
  });
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
    expect(output()).toContain("weights does not have the content that was written");
  });

  it("shows what is whole of a damaged folder, names what is not, and says so with its exit code", async () => {
    const journal = join(run, "journal.ndjson");
    const lines = (await readFile(journal, "utf8")).split("\n");
    // The second of six facts, the phase; the end of the file is a line that was being written.
    lines[1] = "\0".repeat(20);
    await writeFile(journal, `${lines.join("\n")}{"schema_ver`);
    const from = Buffer.byteLength(`${lines[0]}\n`);
    expect(await inspectCommand(run, {})).toBe(3);
    expect(output()).toMatch(/state\s+completed\nsteps\s+3\n/);
    expect(output()).toMatch(
      new RegExp(
        `damaged\\s+journal\\.ndjson: line 2 \\(bytes ${from} to ${from + 21}\\), and 1 more line: it is damaged; left out`,
      ),
    );
    expect(output()).toMatch(/1-240\s+8\s+75\.0 %/);
  });

  it("finds a rollout beside a damaged file of rollouts, which is named", async () => {
    const notes: string[] = [];
    vi.spyOn(process.stderr, "write").mockImplementation((text) => notes.push(String(text)) > 0);
    await writeFile(join(run, "rollouts", "step-00007.parquet"), "PAR1 this is none PAR1");
    expect(await inspectCommand(run, { rollout: "r0" })).toBe(0);
    expect(output()).toContain("scored 1 (rule 1");
    expect(notes.join("")).toMatch(/skipped: WEIR_E_RUN_FOLDER.*step-00007\.parquet.*other steps can/);
    await expect(inspectCommand(run, { step: "7" })).rejects.toMatchObject({ code: "WEIR_E_RUN_FOLDER" });
    await expect(inspectCommand(run, { rollout: "none" })).rejects.toThrow(/damaged steps were skipped/);
    expect(await inspectCommand(run, { verify: true })).toBe(3);
    expect(output()).toMatch(/damaged\s+WEIR_E_RUN_FOLDER.*step-00007/);
  });

  it("counts a ledger that lacks a line as far as it can be read", async () => {
    const entry = { schema_version: 1, groupId: "g", taskId: "t", phase: 1, step: 1, policyVersion: 0 };
    const states = ["issued", "damaged", "scored", "trained"];
    const lines = states.map((state) =>
      state === "damaged" ? "{" : JSON.stringify({ ...entry, rolloutId: "a", state }),
    );
    await writeFile(join(run, "ledger.ndjson"), `${lines.join("\n")}\n`);
    expect(await inspectCommand(run, {})).toBe(3);
    expect(output()).toMatch(/rollouts\s+issued 0, generated 0, scored 0, trained 1, dropped 0/);
    expect(output()).toMatch(/damaged\s+ledger\.ndjson: line 2 .*\n.*ledger\.ndjson: 1 entry does not follow/);
  });

  it.each<[string, (folder: string) => Promise<unknown>, string, RegExp]>([
    ["is empty", () => Promise.resolve(), "WEIR_E_FILE_MISSING", /has no config\.json/],
    [
      "is of a newer version",
      (folder) => writeFile(join(folder, "config.json"), '{"schema_version": 2, "id": "x"}'),
      "WEIR_E_RUN_FOLDER",
      /a newer weir wrote.*schema 2, this one reads 1.*use that version/,
    ],
    [
      "has a cut config.json",
      (folder) => writeFile(join(folder, "config.json"), '{"schema_version": 1, "i'),
      "WEIR_E_RUN_FOLDER",
      /config\.json is damaged: .*restore/,
    ],
    [
      "has a config.json without an id",
      (folder) => writeFile(join(folder, "config.json"), '{"schema_version": 1, "created": 1}'),
      "WEIR_E_RUN_FOLDER",
      /config\.json is damaged: "id"/,
    ],
  ])("refuses a folder that %s, fittingly", async (_, make, code, message) => {
    const folder = await mkdtemp(join(tmpdir(), "weir-norun-"));
    await make(folder);
    const error = await inspectCommand(folder, {}).catch((caught) => caught);
    expect(error).toMatchObject({ code, message: expect.stringMatching(message) });
  });

  it("misses the end of a journal that a checkpoint knew, and a byte that is no text", async () => {
    const journal = join(run, "journal.ndjson");
    const whole = await readFile(journal);
    await writeFile(journal, whole.subarray(0, whole.indexOf("\n") + 1));
    expect(await inspectCommand(run, {})).toBe(3);
    expect(output()).toMatch(
      new RegExp(
        `damaged\\s+journal\\.ndjson: it has \\d+ bytes, but step-00003 needs ${whole.length}; its end is missing`,
      ),
    );
    printed = [];
    const spoilt = Buffer.from(whole);
    // 0xff begins no UTF-8 sequence; inside a text JSON alone would let it pass.
    spoilt[whole.indexOf("completed")] = 0xff;
    await writeFile(journal, spoilt);
    expect(await inspectCommand(run, {})).toBe(3);
    expect(output()).toMatch(/damaged\s+journal\.ndjson: line 6 .*it is damaged/);
  });

  it("shows a run that wrote nothing but its configuration", async () => {
    const folder = await mkdtemp(join(tmpdir(), "weir-bare-"));
    await writeFile(join(folder, "config.json"), await readFile(join(run, "config.json"), "utf8"));
    expect(await inspectCommand(folder, {})).toBe(0);
    expect(output()).toMatch(/state\s+starting/);
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

describe("weir inspect --guard", () => {
  const alarm = { id: "7-kl_limit-kl/update", rule: "kl_limit", metric: "kl/update" } as const;

  /** Lines of the table without its rule and the width of its columns. */
  const told = () =>
    output()
      .split("\n")
      .filter((line) => !line.startsWith("─"))
      .map((line) => line.trim().replaceAll(/ +/g, " "))
      .join("\n");

  async function guardedRun(state: string): Promise<string> {
    const root = await mkdtemp(join(tmpdir(), "weir-inspect-"));
    const config = { model: { path: "m" }, data: { train: ["t"] }, phases: [{ maxTokens: 100, steps: 9 }] };
    const folder = await RunFolder.create({ root, id: "guarded", seed: 1, config, dataset: {}, clock: () => 0 });
    folder.append("guard.judged", 7, {
      ...{
        stage: "rl",
        miniBatch: 1,
        verdict: "skip",
        reason: "the step moves the policy by 9 nats",
        rule: "kl_limit",
      },
      ...{ scale: null, kl: 9, gradNorm: 1.5, loss: 0 },
    });
    folder.append("lifecycle.changed", 7, { machine: "guard", value: state });
    folder.append("alert.raised", 7, {
      alert: {
        ...{ ...alarm, level: "error", value: 9, threshold: 0.5, z: null, step: 7, phase: 1, policyVersion: 6 },
        ...{ text: "the KL of the update is 9 nats", culprits: [], time: 0 },
      },
    });
    folder.append("alert.ended", 13, { ...alarm, fromStep: 7, toStep: 8, worst: 9 });
    folder.append("run.rolledBack", 5, {
      ...{ fromStep: 14, toStep: 5, reason: "by hand", rule: null, undone: 64, count: 1 },
      by: { kind: "operator", name: "cli" },
    });
    folder.append("knob.turned", 5, {
      ...{ path: "optimiser.learningRate", old: 1e-3, new: 5e-4, reason: "after a rollback" },
      by: { kind: "rollback", name: "" },
    });
    await folder.close();
    return folder.directory;
  }

  it("tells verdicts, alarms from begin to end, rollbacks and knobs in order", async () => {
    expect(await inspectCommand(await guardedRun("suspicious"), { guard: true })).toBe(0);
    expect(told()).toBe(
      [
        "1 verdicts other than commit, 1 alarms (0 not ended), 1 rollbacks",
        "the states of its statechart follow from these verdicts",
        "",
        "step what",
        "7 skip optimiser step 2, kl_limit: the step moves the policy by 9 nats (KL 9 nats, gradient norm 1.5)",
        "7 guard suspicious",
        "7 alarm error kl_limit: the KL of the update is 9 nats",
        "13 ends kl_limit on kl/update: steps 7 to 8, worst 9",
        "5 rollback from step 14 to the end of step 5, asked for by operator; 64 rollouts undone; number 1; by hand",
        "5 knob optimiser.learningRate: 0.001 to 0.0005 by rollback: after a rollback",
        "",
      ].join("\n"),
    );
  });

  it("says so where the states do not follow from the verdicts", async () => {
    expect(await inspectCommand(await guardedRun("exhausted"), { guard: true })).toBe(3);
    expect(output()).toContain("do NOT follow");
  });
});
