import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { register, scoreLines } from "../../src/cli/commands/score.js";
import { exitCodeOf } from "../../src/cli/output.js";

const paper = { mode: "paper", requireThink: true } as const;
const line = (data_source: string, response: string, ground_truth: string) =>
  JSON.stringify({ data_source, response, ground_truth, extra: 1 });
const qa = (answer: string, gold = "Therefore, the answer is Paris.") =>
  line("musique_0_20000", `<think>x</think>Therefore, the answer is ${answer}.`, gold);

describe("scoring lines", () => {
  it("gives score, outcome and pred per line, by the mode", () => {
    const text = [qa("Paris"), "", qa("Paris, France"), line("docmath", "no idea", "the answer is 5")].join("\n");
    expect(scoreLines(text, "f", paper)).toEqual([
      { score: 1, outcome: "scored", pred: "Paris" },
      { score: 0, outcome: "scored", pred: "Paris, France" },
      { score: 0, outcome: "scored", pred: null },
    ]);
    expect(scoreLines(text, "f", { ...paper, mode: "released" })[1]?.score).toBe(1);
  });

  it("gives no number where the gold answer cannot be read in the paper's mode", () => {
    const [result] = scoreLines(qa("Paris", "Paris"), "f", paper);
    expect(result).toMatchObject({ score: null, outcome: "failed", pred: "Paris" });
    expect(result?.reason).toMatch(/Therefore, the answer is X/);
  });

  it("reads the whole response without </think> where that is not required", () => {
    const text = line("musique", "the answer is Paris", "the answer is Paris");
    expect(scoreLines(text, "f", paper)[0]).toEqual({ score: 0, outcome: "scored", pred: null });
    expect(scoreLines(text, "f", { ...paper, requireThink: false })[0]?.score).toBe(1);
  });

  it.each([
    ["an unknown data source", line("gsm8k", "x", "y"), /^WEIR_E_REWARD_SOURCE: f line 2: .*"gsm8k"/, 1],
    ["a line that is no JSON", "{", /^WEIR_E_DATA: expected JSON in f line 2/, 3],
    ["a missing field", '{"data_source":"musique"}', /^WEIR_E_DATA: f line 2 .*response/s, 3],
    ["a field of another type", '{"data_source":1,"response":"","ground_truth":""}', /WEIR_E_DATA.*data_source/s, 3],
  ])("names the line of %s", (_, bad, message, code) => {
    let error: unknown;
    try {
      scoreLines(`${qa("Paris")}\n${bad}`, "f", paper);
    } catch (caught) {
      error = caught;
    }
    expect((error as Error).message).toMatch(message);
    expect(exitCodeOf(error)).toBe(code);
  });
});

describe("weir score", () => {
  let folder: string;
  let written: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "weir-score-"));
    written = "";
    vi.spyOn(process.stdout, "write").mockImplementation((text) => {
      written += text;
      return true;
    });
  });
  afterEach(() => {
    vi.restoreAllMocks();
    rmSync(folder, { recursive: true });
  });

  const weir = async (...args: string[]) => {
    const program = new Command().exitOverride().configureOutput({ writeErr: () => {} });
    register(program);
    for (const command of program.commands) command.exitOverride().configureOutput({ writeErr: () => {} });
    await program.parseAsync(["node", "weir", "score", ...args]);
  };

  it("prints one JSON line per line of the file", async () => {
    const file = join(folder, "in.jsonl");
    writeFileSync(file, `${qa("Paris")}\r\n${qa("Rome")}\n`);
    await weir("--mode", "released", "--in", file, "--json");
    expect(written).toBe(
      '{"score":1,"outcome":"scored","pred":"Paris"}\n{"score":0,"outcome":"scored","pred":"Rome"}\n',
    );
  });

  it("prints nothing when a line is bad", async () => {
    const file = join(folder, "in.jsonl");
    writeFileSync(file, `${qa("Paris")}\nnope\n`);
    await expect(weir("--in", file)).rejects.toThrow(/WEIR_E_DATA.*line 2/);
    expect(written).toBe("");
  });

  it("refuses a missing file, an unknown mode and a missing option", async () => {
    await expect(weir("--in", join(folder, "none"))).rejects.toThrow(/WEIR_E_FILE_MISSING/);
    for (const args of [
      ["--mode", "strict", "--in", "x"],
      ["--mode", "paper"],
    ]) {
      const error = await weir(...args).catch((caught: unknown) => caught);
      expect(exitCodeOf(error)).toBe(2);
    }
  });
});
