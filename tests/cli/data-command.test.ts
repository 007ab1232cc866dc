import { mkdtemp, readdir, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { register } from "../../src/cli/commands/data.js";
import { readTasks } from "../../src/data/read-tasks.js";

let printed: string[];

beforeEach(() => {
  printed = [];
  vi.spyOn(process.stdout, "write").mockImplementation((text) => {
    printed.push(String(text));
    return true;
  });
  vi.spyOn(process.stderr, "write").mockImplementation(() => true);
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
