import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { bookNames } from "../../src/data/synthetic/book-names.js";
import { loadFactBook } from "../../src/data/synthetic/fact-book.js";
import {
  type CorpusOptions,
  DEMO_RELATIONS,
  demoTokenizer,
  generateTasks,
  planBatches,
  WARMSTART_PLAN,
  WarmstartCorpus,
  type WarmstartRound,
  warmstartRate,
} from "../../src/data/synthetic/index.js";
import { loadTokenizer } from "../../src/model/io/tokenizer.js";

const OPTIONS: CorpusOptions = {
  seed: 5,
  facts: [8, 12],
  questions: 8,
  twoHopShare: 0.5,
  directShare: [0.5, 0],
  documentWeight: 0.1,
};

const definition = demoTokenizer();
const folder = await mkdtemp(join(tmpdir(), "weir-test-"));
afterAll(() => rm(folder, { recursive: true, force: true }));
await writeFile(join(folder, "tokenizer.json"), JSON.stringify(definition));
const tokenizer = await loadTokenizer(folder);
const realNames = [...bookNames(loadFactBook("train", true)), ...bookNames(loadFactBook("heldout", true))];

describe("demo tokenizer", () => {
  it("is the same each time it is built", () => {
    expect(demoTokenizer()).toEqual(definition);
  });

  it("spells each name of both parts as one token", () => {
    expect(realNames.filter((name) => tokenizer.encode(` ${name}`).length !== 1)).toEqual([]);
  });

  it("gives back any text that it has encoded", () => {
    const [task] = generateTasks({
      seed: 1,
      count: 1,
      split: "heldout",
      length: { facts: [10, 10] },
      countTokens: (messages) => messages.length,
    });
    for (const text of [
      task?.messages[0]?.content as string,
      "São Tomé — 12,5 %\n\n\n\tx",
      "<think>\n</think>\n\nnaïve 🙂",
    ]) {
      expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
    }
  });

  it("spells each fixed word of a prompt as one token", () => {
    const text = "What is the capital of the largest neighbour of the smallest neighbour of the language?";
    expect(tokenizer.encode(text).length).toBe(16);
    expect(tokenizer.encode("<|im_start|>user\n<think>\n</think>\n\nTherefore, the answer is").length).toBe(12);
  });
});

describe("warm-start corpus", () => {
  const corpus = new WarmstartCorpus();

  it("makes row i from its number alone", () => {
    expect(corpus.row(7, OPTIONS)).toEqual(new WarmstartCorpus().row(7, OPTIONS));
    expect(corpus.row(7, OPTIONS)).not.toEqual(corpus.row(8, OPTIONS));
  });

  it("asks several different questions about one document, and every quoted fact stands in it", () => {
    for (let index = 0; index < 20; index++) {
      const row = corpus.row(index, OPTIONS);
      const document = row.find(({ weight }) => weight === 0.1)?.text as string;
      const answers = row.filter(({ weight }) => weight === 1).map(({ text }) => text);
      expect(answers.length).toBe(8);
      for (const answer of answers) {
        expect(answer).toMatch(/^(The .+\.\n\n)?Therefore, the answer is \w+\.<\|im_end\|>$/);
        const quoted = answer.startsWith("The ") ? (answer.split("\n\n")[0] as string) : "";
        for (const sentence of quoted.split(/(?<=\.) /)) expect(document).toContain(sentence);
      }
      const text = row.map((piece) => piece.text).join("");
      const questions = text.match(/What is [^?]+\?/g) ?? [];
      expect(new Set(questions).size).toBe(questions.length);
    }
  });

  it("speaks of fictional worlds: any name may stand in any place", () => {
    const rows = Array.from({ length: 200 }, (_, index) => corpus.row(index, OPTIONS)).flat();
    const text = rows.map((piece) => piece.text).join("");
    const asCapital = new Set([...text.matchAll(/The capital of (\w+) is/g)].map(([, name]) => name));
    const cities = new Set([
      ...(loadFactBook("train", true).values.get("city") ?? []),
      ...(loadFactBook("heldout", true).values.get("city") ?? []),
    ]);
    expect([...asCapital].filter((name) => cities.has(name as string)).length).toBeGreaterThan(20);
  });

  it("answers one-hop questions directly as often as asked, two-hop questions never", () => {
    const direct = Array.from({ length: 100 }, (_, index) => corpus.row(index, OPTIONS))
      .flatMap((row) => row.filter(({ weight }) => weight === 1))
      .filter(({ text }) => text.startsWith("Therefore")).length;
    // Half of the questions are one-hop (a few more in documents with few chains), half of those are direct.
    expect(direct / 800).toBeGreaterThan(0.2);
    expect(direct / 800).toBeLessThan(0.35);
  });
});

describe("warm-start plan", () => {
  it("puts each row into one batch, rows of like length together", () => {
    const stage = { name: "test", rows: 320, corpus: OPTIONS };
    const lengthOf = (row: number): number => (row * 37) % 100;
    const batches = planBatches(stage, 32, lengthOf, (items) => [...items].reverse());
    expect(batches.length).toBe(10);
    expect(new Set(batches.flat()).size).toBe(320);
    const spread = batches.map((batch) => Math.max(...batch.map(lengthOf)) - Math.min(...batch.map(lengthOf)));
    expect(Math.max(...spread)).toBeLessThan(15);
  });

  it("raises the rate linearly and lowers it to the floor", () => {
    const [round] = WARMSTART_PLAN.rounds as [WarmstartRound];
    expect(warmstartRate(WARMSTART_PLAN, round, 0, 1000)).toBeCloseTo(2e-5, 8);
    expect(warmstartRate(WARMSTART_PLAN, round, 99, 1000)).toBeGreaterThan(1.9e-3);
    expect(warmstartRate(WARMSTART_PLAN, round, 1000, 1000)).toBeCloseTo(2e-4, 8);
    expect(DEMO_RELATIONS.length).toBe(4);
  });
});
