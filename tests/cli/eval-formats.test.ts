/** One evaluation over a file in the format of each benchmark: hand-checked numbers, from the command line to the report. */
import { readdirSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Command } from "commander";
import { afterEach, describe, expect, it, vi } from "vitest";
import { register } from "../../src/cli/commands/eval.js";
import { chatServer, completion } from "../evaluation/chat-server.js";
import { OWN_FIXTURES, temporaryFolder } from "../helpers/fixtures.js";

const SAMPLES = join(OWN_FIXTURES, "benchmarks", "samples");

const said = ["Belva", "Dunmar the Elder", "Hollin", ""].map((name) => `Therefore, the answer is ${name}.`);

/** A response to each row of each file, and the score of each. */
const CASES: Readonly<Record<string, readonly [responses: readonly string[], scores: readonly number[]]>> = {
  ...Object.fromEntries(
    ["2wikimqa", "hotpotqa", "musique", "narrativeqa", "qasper"].map((name) => [name, [said, [1, 1, 0, 0]]]),
  ),
  frames: [said, [1, 0, 0, 0]],
  corpusqa: [
    ["The answer is: Belva", "Dunmar", "The answer is: Hollin", "no"],
    [1, 1, 0, 0],
  ],
  aa_lcr: [
    ["Belva", "It was Dunmar", "Farrow", ""],
    [1, 0, 1, 0],
  ],
  docmath: [["2", "111.0", "57", "190"].map((text) => `Therefore, the answer is ${text}.`), [1, 1, 0, 1]],
  longbench_v2: [
    ["The correct answer is (A).", "The correct answer is B", "It is (C).", "The correct answer is (A)."],
    [1, 1, 0, 0],
  ],
  mrcr: [
    [
      "k0XyCorda was founded by Dunmar in 1911.",
      "Elsin was founded by Farrow in 1875.",
      "k2XyGathe was founded by Hollin in 199.",
      "k3Xy",
    ],
    // The third lacks one of 36 characters: 2 · 35 / (35 + 36).
    [1, 0, 70 / 71, 0],
  ],
  ruler: [
    ["1802 and 1911", "1911", "1990", "1802, 1803"],
    [1, 0.5, 1, 1],
  ],
  verl: [
    [
      "[Answer]\nArlon\nCorda\nElsin\nGathe",
      "[Answer]\nGathe\nArlon",
      "They are \\boxed{146/2} years apart.",
      "Hollin.",
    ],
    // Of 6 pairs of lines 5 are in order; precision and recall 1/2.
    [5 / 6, 0.5, 1, 0],
  ],
};

/** A part file with a judge that calls answers equal that are the same text. */
const STRICT = `export default { judge: { strict: { kind: "strict", specificationVersion: 1,
  ask: async ({ prediction, gold }) => ({ kind: "verdict", value: prediction === gold ? 1 : 0, reply: "" }) } } };`;

afterEach(() => {
  vi.restoreAllMocks();
  process.exitCode = 0;
});

describe("weir eval --bench over every format", () => {
  it("gives the scores by hand, per benchmark, and their mean", async () => {
    const names = readdirSync(SAMPLES).map((file) => file.split(".")[0] as string);
    expect(Object.keys(CASES).sort()).toEqual([...names].sort());
    const folder = await temporaryFolder();
    const parts = join(folder, "parts.mjs");
    await writeFile(parts, STRICT);
    // Requests come one at a time, benchmark by benchmark, in the order of the rows.
    const responses = names.flatMap((name) => CASES[name]?.[0] ?? []);
    let next = 0;
    const server = await chatServer(() => completion(responses[next++] ?? null));
    vi.spyOn(process.stdout, "write").mockReturnValue(true);
    vi.spyOn(process.stderr, "write").mockReturnValue(true);
    const program = new Command("weir").exitOverride();
    register(program);
    const policy = [
      "--endpoint",
      server.url,
      "--model",
      "policy",
      "--concurrency",
      "1",
      "--judge",
      "strict",
      "--parts",
      parts,
    ];
    const out = join(folder, "out");
    await program.parseAsync([
      "node",
      "weir",
      "eval",
      "--bench",
      ...names,
      "--bench-data",
      SAMPLES,
      ...policy,
      "--out",
      out,
    ]);
    const report = JSON.parse(await readFile(join(out, "report.json"), "utf8"));
    const means = names.map((name) => (CASES[name]?.[1] ?? []).reduce((sum, score) => sum + score, 0) / 4);
    for (const [i, name] of names.entries()) {
      const { all } = report.benchmarks[name];
      expect(all, name).toMatchObject({ items: 4, responses: 4, scored: 4 });
      expect(all.scoreOverScored.value, name).toBeCloseTo(means[i] as number, 12);
    }
    const mean = means.reduce((sum, score) => sum + score, 0) / means.length;
    expect(report.mean.scoreOverScored).toBeCloseTo(mean, 12);
    expect(report.mean.scoreOverAll).toBeCloseTo(mean, 12);
  });
});
