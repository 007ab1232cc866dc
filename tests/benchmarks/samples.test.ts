/** The made files in the format of each data set (tests/fixtures/benchmarks/samples): every row is read, and scores by hand are right. */
import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import type { Judge } from "../../src/contracts/judge.js";
import { readRecords } from "../../src/data/records.js";
import { BENCHMARK_NAMES, builtIn } from "./recorded.js";

const folder = fileURLToPath(new URL("../fixtures/benchmarks/samples/", import.meta.url));
const files = new Map(readdirSync(folder).map((file) => [file.split(".")[0] as string, folder + file]));
const { signal } = new AbortController();

/** Calls answers equal that are the same text. */
const strict: Judge = {
  kind: "strict",
  specificationVersion: 1,
  ask: async ({ prediction, gold }) => ({ kind: "verdict", value: prediction === gold ? 1 : 0, reply: "" }),
};

async function itemsOf(name: string) {
  const part = builtIn(name, "paper");
  const rows = await readRecords(files.get(name) as string);
  return rows.map((row, index) => part.item(row, index));
}

/** Scores of one response to each row, in order. */
async function scoresOf(name: string, responses: readonly string[]): Promise<(number | null)[]> {
  const part = builtIn(name, "paper");
  const values: (number | null)[] = [];
  for (const [index, item] of (await itemsOf(name)).entries()) {
    const score = await part.score(item, responses[index] as string, { signal, judge: strict, requireThink: false });
    values.push(score.kind === "scored" ? score.value : null);
  }
  return values;
}

describe("sample files", () => {
  it("are there for every benchmark, and every row is read under an id of its own", async () => {
    expect([...files.keys()].sort()).toEqual([...BENCHMARK_NAMES].sort());
    for (const name of files.keys()) {
      const items = await itemsOf(name);
      expect(items.length, name).toBe(4);
      expect(new Set(items.map(({ id }) => id)).size, name).toBe(4);
    }
  });

  it("score as by hand: answers in words", async () => {
    const said = ["Belva", "Dunmar the Elder", "Hollin", ""].map((name) => `Therefore, the answer is ${name}.`);
    for (const name of ["2wikimqa", "hotpotqa", "musique", "narrativeqa", "qasper"])
      expect(await scoresOf(name, said), name).toEqual([1, 1, 0, 0]);
    expect(await scoresOf("frames", said)).toEqual([1, 0, 0, 0]);
    expect(await scoresOf("corpusqa", ["The answer is: Belva", "Dunmar", "The answer is: Hollin", "no"])).toEqual([
      1, 1, 0, 0,
    ]);
    expect(await scoresOf("aa_lcr", ["Belva", "It was Dunmar", "Farrow", ""])).toEqual([1, 0, 1, 0]);
  });

  it("score as by hand: numbers, letters, repeated messages, several texts", async () => {
    const numbers = ["2", "111.0", "57", "190"].map((text) => `Therefore, the answer is ${text}.`);
    expect(await scoresOf("docmath", numbers)).toEqual([1, 1, 0, 1]);
    const letters = [
      "The correct answer is (A).",
      "The correct answer is B",
      "It is (C).",
      "The correct answer is (A).",
    ];
    expect(await scoresOf("longbench_v2", letters)).toEqual([1, 1, 0, 0]);
    // The third lacks one of 36 characters: 2 · 35 / (35 + 36).
    expect(
      await scoresOf("mrcr", [
        "k0XyCorda was founded by Dunmar in 1911.",
        "Elsin was founded by Farrow in 1875.",
        "k2XyGathe was founded by Hollin in 199.",
        "k3Xy",
      ]),
    ).toEqual([1, 0, 70 / 71, 0]);
    expect(await scoresOf("ruler", ["1802 and 1911", "1911", "1990", "1802, 1803"])).toEqual([1, 0.5, 1, 1]);
  });

  it("score as by hand: rewards of verl rows", async () => {
    const responses = [
      // Of 6 pairs of lines 5 are in order.
      "[Answer]\nArlon\nCorda\nElsin\nGathe",
      // Precision 1/2, recall 1/2.
      "[Answer]\nGathe\nArlon",
      "They are \\boxed{146/2} years apart.",
      "Hollin.",
    ];
    expect(await scoresOf("verl", responses)).toEqual([5 / 6, 0.5, 1, 0]);
  });
});
