import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { Command } from "commander";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { register, type ScoredLine, type ScoreOptions, scoreLine } from "../../src/cli/commands/score.js";
import { exitCodeOf } from "../../src/cli/output.js";

const paper = { mode: "paper", requireThink: true } as const;
const line = (data_source: string, response: string, ground_truth: string) =>
  JSON.stringify({ data_source, response, ground_truth, extra: 1 });
const qa = (answer: string, gold = "Therefore, the answer is Paris.") =>
  line("musique_0_20000", `<think>x</think>Therefore, the answer is ${answer}.`, gold);

const scoreLines = (text: string, file: string, options: Omit<ScoreOptions, "in">): ScoredLine[] =>
  text.split("\n").flatMap((part, at) => scoreLine({ text: part, number: at + 1 }, file, options) ?? []);

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

  it("takes a number, a list or several accepted answers as the ground truth", () => {
    const row = (ground_truth: unknown, answer: string) =>
      JSON.stringify({ data_source: "docmath", response: `</think>Therefore, the answer is ${answer}.`, ground_truth });
    const scores = (...rows: string[]) => scoreLines(rows.join("\n"), "f", paper).map(({ score }) => score);
    expect(scores(row(5, "5"), row(5, "50"))).toEqual([1, 0]);
    expect(scores(row([7, "Therefore, the answer is 8."], "8"), row([7, 8], "9"))).toEqual([1, 0]);
    // 2^53 + 1 is no double: read as one it would be …992, and the wrong answer would be right.
    const big = row("BIG", "9007199254740993").replace('"BIG"', "9007199254740993");
    expect(scores(big, big.replace("is 9007199254740993", "is 9007199254740992"))).toEqual([1, 0]);
  });

  it("refuses a ground truth that is none", () => {
    for (const truth of ["true", "null", "[]", "{}", "[null]"]) {
      const text = `{"data_source":"docmath","response":"x","ground_truth":${truth}}`;
      expect(() => scoreLines(text, "f", paper)).toThrow(/WEIR_E_DATA: f line 1, column "ground_truth": expected text/);
    }
  });

  it("reads the whole response without </think> where that is not required", () => {
    const text = line("musique", "the answer is Paris", "the answer is Paris");
    expect(scoreLines(text, "f", paper)[0]).toEqual({ score: 0, outcome: "scored", pred: null });
    expect(scoreLines(text, "f", { ...paper, requireThink: false })[0]?.score).toBe(1);
  });

  it.each([
    ["an unknown data source", line("gsm8k", "x", "y"), /^WEIR_E_REWARD_SOURCE: f line 2: .*"gsm8k"/, 1],
    ["a line that is not JSON", "{", /^WEIR_E_DATA: expected JSON in f line 2/, 3],
    ["a missing field", '{"data_source":"musique"}', /^WEIR_E_DATA: f line 2 .*response/s, 3],
    ["a line that is not an object", "[1]", /^WEIR_E_DATA: expected a JSON object in f line 2, got \[1\]/, 3],
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

  it("reads a byte order mark, CRLF, gzip, and a last line without an end", async () => {
    const file = join(folder, "in.jsonl");
    const text = `\uFEFF${qa("Paris")}\r\n\r\n${qa("Rome")}`;
    const expected = '{"score":1,"outcome":"scored","pred":"Paris"}\n{"score":0,"outcome":"scored","pred":"Rome"}\n';
    writeFileSync(file, text);
    await weir("--in", file);
    expect(written).toBe(expected);
    written = "";
    writeFileSync(file, gzipSync(text));
    await weir("--in", file);
    expect(written).toBe(expected);
  });

  it("names the line that is not UTF-8", async () => {
    const file = join(folder, "in.jsonl");
    writeFileSync(file, Buffer.concat([Buffer.from(`${qa("Paris")}\n${qa("M")}`), Buffer.from([0xfc, 0x0a])]));
    await expect(weir("--in", file)).rejects.toThrow(/WEIR_E_DATA: "[^"]*in\.jsonl": line 2 is not UTF-8/);
    expect(written).toBe("");
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
