import { mkdtemp, readdir, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { register } from "../../src/cli/commands/data.js";
import { readTasks } from "../../src/data/read-tasks.js";

let printed: string[];
let noted: string[];

beforeEach(() => {
  printed = [];
  noted = [];
  vi.spyOn(process.stdout, "write").mockImplementation((text) => {
    printed.push(String(text));
    return true;
  });
  vi.spyOn(process.stderr, "write").mockImplementation((text) => {
    noted.push(String(text));
    return true;
  });
});

afterEach(() => {
  vi.restoreAllMocks();
  process.exitCode = undefined;
});

/** Runs `weir data …` in this process; usage errors of commander are thrown. */
async function data(...argv: string[]): Promise<string> {
  const program = new Command("weir");
  register(program);
  for (const command of program.commands.flatMap((parent) => [parent, ...parent.commands])) command.exitOverride();
  await program.parseAsync(["node", "weir", "data", ...argv]);
  return printed.join("");
}

describe("weir data make", () => {
  it("writes training, held-out and demonstration rows for each bucket and family", async () => {
    const out = join(await mkdtemp(join(tmpdir(), "weir-make-")), "set");
    const argv = ["make", out, "--facts", "4-6,8-10", "--family", "multi-hop", "multiple-choice", "--count", "3"];
    const report = JSON.parse(await data(...argv, "--heldout", "2", "--demonstrations", "2", "--json"));
    expect(report.files).toEqual({
      train: { path: join(out, "train.parquet"), rows: 12 },
      heldout: { path: join(out, "heldout.parquet"), rows: 8 },
      demonstrations: { path: join(out, "demonstrations.jsonl"), rows: 4 },
    });
    expect((await readdir(out)).sort()).toEqual(["demonstrations.jsonl", "heldout.parquet", "train.parquet"]);
    const train = await readTasks(join(out, "train.parquet"));
    expect(train.map((task) => task.meta.index)).toEqual(Array.from({ length: 12 }, (_, i) => i));
    expect(new Set(train.map((task) => task.id)).size).toBe(12);
    expect(train[0]?.meta.facts).toBeLessThanOrEqual(6);
    expect(train[11]?.meta.facts).toBeGreaterThanOrEqual(8);
    const [row = ""] = (await readFile(join(out, "demonstrations.jsonl"), "utf8")).split("\n");
    expect(JSON.parse(row).response).toMatch(/<\/think>\n\nTherefore, the answer is /);
  });

  it("writes the same for the same seed and something else for another", async () => {
    const root = await mkdtemp(join(tmpdir(), "weir-make-"));
    const make = async (name: string, seed: string) => {
      await data(
        "make",
        join(root, name),
        "--facts",
        "4-6",
        "--count",
        "2",
        "--heldout",
        "0",
        "--format",
        "jsonl",
        "--seed",
        seed,
      );
      return readFile(join(root, name, "train.jsonl"), "utf8");
    };
    const first = await make("a", "1");
    expect(await make("b", "1")).toBe(first);
    expect(await make("c", "2")).not.toBe(first);
  });

  it.each(["multi-hop", "numeric", "multiple-choice"])("makes %s questions of plain names alone", async (family) => {
    const out = await mkdtemp(join(tmpdir(), "weir-make-"));
    const argv = [
      "make",
      out,
      "--plain-names",
      "--facts",
      "10-14",
      "--family",
      family,
      "--count",
      "12",
      "--heldout",
      "12",
    ];
    await data(...argv, "--format", "jsonl", "--demonstrations", "2");
    for (const name of ["train.jsonl", "heldout.jsonl"]) {
      const tasks = await readTasks(join(out, name));
      expect(tasks).toHaveLength(12);
      // One capitalised word of at most eight letters, as the option says.
      for (const { document } of tasks)
        for (const [, subject] of document?.matchAll(/ of ([A-Z][^.]*?) is /g) ?? [])
          expect(subject).toMatch(/^[A-Z][a-z]{2,7}$/);
    }
  });

  it.each<[string, string[], RegExp]>([
    ["no length", [], /one of --facts or --tokens/],
    ["both lengths", ["--facts", "1-2", "--tokens", "1-2"], /one of --facts or --tokens/],
    ["a range that falls", ["--facts", "9-2"], /--facts: expected MIN-MAX/],
    ["an unknown family", ["--facts", "4-6", "--family", "poetry"], /--family: expected multi-hop.*"poetry"/],
    ["a count that is none", ["--facts", "4-6", "--count", "many"], /--count: expected a whole number ≥ 1, got "many"/],
    [
      "a share above one",
      ["--facts", "4-6", "--near-distractors", "2"],
      /--near-distractors: expected a number between/,
    ],
  ])("refuses %s", async (_, argv, message) => {
    await expect(data("make", "/nonexistent/out", ...argv)).rejects.toMatchObject({
      code: "WEIR_E_USAGE",
      message: expect.stringMatching(message),
    });
  });
});

describe("weir data stats", () => {
  const fixture = new URL("../fixtures/data/verl-structs.parquet", import.meta.url).pathname;

  it("prints counts and lengths, as text and as JSON", async () => {
    expect(JSON.parse(await data("stats", fixture, "--json"))).toMatchObject({
      count: 3,
      sources: { docmath_20000_40000: 1, long_toc_choices_40000_plus: 1, musique_0_20000: 1 },
      unit: "characters",
    });
    printed = [];
    expect(await data("stats", fixture)).toMatch(/3 tasks, fingerprint [0-9a-f]{64}[\s\S]*musique_0_20000\s+1\n/);
  });

  it("asks for the tokenizer that buckets are counted in", async () => {
    await expect(data("stats", fixture, "--buckets", "100")).rejects.toThrow(/--model/);
    await expect(data("stats", fixture, "--buckets", "9,3")).rejects.toThrow(/growing numbers/);
  });
});

describe("weir data stats of doubtful data", () => {
  const fixture = (name: string) => new URL(`../fixtures/cases/${name}`, import.meta.url).pathname;

  it("counts the rows that no rule can score, and says why", async () => {
    const report = JSON.parse(await data("stats", fixture("06-longbench/other-subsets.jsonl"), "--json"));
    expect(report).toMatchObject({ count: 3, unscorable: { withoutRule: 2, unreadableGolds: 0 } });
    expect(noted.join("")).toMatch(/no reward rule for the data sources "multifieldqa_en" \(1\), "triviaqa" \(1\)/);
    printed = [];
    const bare = JSON.parse(await data("stats", fixture("05-gold-without-sentence/bare.jsonl"), "--json"));
    expect(bare.unscorable).toEqual({ withoutRule: 0, unreadableGolds: 8 });
  });

  it("names the task whose prompt has a token that the model lacks", async () => {
    const folder = "17-model-folders-refused-or-misnamed";
    await expect(
      data("stats", "--model", fixture(`${folder}/tokenizer-bigger`), fixture(`${folder}/new-token.jsonl`)),
    ).rejects.toThrow(
      /WEIR_E_TOKENIZER: .*new-token\.jsonl, task "musique:0:[0-9a-f]{8}": the token "<new>" has the id 400/,
    );
  });
});

describe("weir data show", () => {
  const fixture = (name: string) => new URL(`../fixtures/cases/${name}`, import.meta.url).pathname;
  const rows = (text: string) =>
    text
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));

  it("prints tasks as they are read, one JSON line each", async () => {
    const [task, ...others] = rows(await data("show", "--json", fixture("06-longbench/two-answers.jsonl")));
    expect(others).toEqual([]);
    expect(Object.keys(task)).toEqual(["id", "source", "question", "messages", "goldAnswers", "meta"]);
    expect(task).toMatchObject({
      source: "hotpotqa",
      question: "Who?",
      goldAnswers: ["Therefore, the answer is Paris.", "Therefore, the answer is City of Paris."],
      meta: { id: "abc", index: 0 },
    });
    expect(task.messages).toHaveLength(1);
    expect(noted).toEqual([]);
  });

  it("prints several files and stops at a limit; a prompt without a document has no question", async () => {
    const bare = fixture("05-gold-without-sentence/bare.jsonl");
    const tasks = rows(await data("show", "--json", "--limit", "9", bare, fixture("06-longbench/other-subsets.jsonl")));
    expect(tasks.map(({ source }) => source)).toEqual([...Array(8).fill("musique"), "multifieldqa_en"]);
    expect(tasks[0].question).toBeNull();
  });

  it("shows what no rule can score, and says so apart from the result", async () => {
    expect(rows(await data("show", "--json", fixture("05-gold-without-sentence/bare.jsonl")))).toHaveLength(8);
    expect(noted.join("")).toMatch(/bare\.jsonl, row 0: .*"coin".*row 4: .*\n.*3 more rows/s);
  });

  it("prints text that drives no terminal, as JSON too", async () => {
    const file = join(await mkdtemp(join(tmpdir(), "weir-show-")), "rows.jsonl");
    const codes = "\u001b[2J\u009b31m\u007f";
    const row = {
      data_source: "musique",
      prompt: `hi${codes}`,
      reward_model: { ground_truth: `the answer is ${codes}x` },
    };
    await writeFile(file, JSON.stringify(row));
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not be printed.
    const control = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/;
    expect(await data("show", file)).not.toMatch(control);
    printed = [];
    const json = await data("show", "--json", file);
    expect(json).not.toMatch(control);
    expect(JSON.parse(json).messages[0].content).toBe(`hi${codes}`);
  });

  it("ends with the error of an unreadable file", async () => {
    await expect(data("show", fixture("15-file-encoding/latin1.jsonl"))).rejects.toThrow(
      /WEIR_E_DATA.*line 1 is not UTF-8/,
    );
    await expect(data("show", "/nonexistent.jsonl")).rejects.toThrow(/WEIR_E_FILE_MISSING/);
    await expect(data("show", fixture("06-longbench"))).rejects.toThrow(/WEIR_E_DATA.*it is a folder/);
  });
});
