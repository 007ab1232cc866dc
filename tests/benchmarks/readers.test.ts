/** What each benchmark reads from a row, what it asks, and what it says about a row that it cannot read. */
import { describe, expect, it } from "vitest";
import type { BenchmarkRow } from "../../src/contracts/benchmark.js";
import { builtIn } from "./recorded.js";
import { EXAMPLES, verlRow } from "./rows.js";

const rowOf = (name: string): BenchmarkRow =>
  (EXAMPLES.find((one) => one.name === name) as (typeof EXAMPLES)[number]).row;
const itemOf = (name: string, over: BenchmarkRow = {}, index = 7) =>
  builtIn(name).item({ ...rowOf(name), ...over }, index);

describe("readers of benchmarks", () => {
  it("take id, source, gold answers and question from the columns of each data set", () => {
    const read = (name: string) => {
      const { id, source, golds, meta } = itemOf(name);
      return [id, source, golds, meta.question];
    };
    expect(read("hotpotqa")).toEqual(["a1", "hotpotqa", ["Paris", "City of Paris"], "What is the capital of France?"]);
    expect(read("docmath")).toEqual(["complong-testmini-7", "docmath/complong", ["1000"], "What is left?"]);
    expect(read("frames")).toEqual(["7", "frames", ["Paris"], "What is the capital of France?"]);
    expect(read("longbench_v2")).toEqual(["66f3", "Single-Document QA", ["B"], "Who?"]);
    expect(read("mrcr")).toEqual(["7", "2 needles", ["aYoRoses are red."], undefined]);
    expect(read("ruler")).toEqual(["4", "ruler", ["12", "34"], undefined]);
    expect(read("corpusqa")).toEqual(["financial_en_12", "financial_en", ["7.5 million"], "How much?"]);
    expect(read("aa_lcr")).toEqual(["5", "Legal", ["the High Court"], "Which court?"]);
    expect(read("verl")).toEqual(["7", "T1.1 Global Cohesive Retrieval", ["Doc 2", "Doc 1"], "Which documents?"]);
  });

  it("ask by the paper's template, or by the row's own messages", () => {
    const prompt = (name: string) => itemOf(name).messages.map(({ role, content }) => `${role}: ${content}`);
    expect(prompt("qasper")).toEqual([
      "user: Read the text and answer the question.\n\n<text>\nParis is the capital.\n</text>\n\nWhat is the capital of France?\n\n" +
        'Format your response as follows: "Therefore, the answer is (insert answer here)".',
    ]);
    expect(prompt("longbench_v2")).toEqual([
      "user: Read the text and answer the question.\n\n<text>\nBob did.\n</text>\n\nWho?\n(A) Ada\n(B) Bob\n(C) Cy\n(D) Di\n\n" +
        'Format your response as follows: "The correct answer is (A/B/C/D)".',
    ]);
    expect(prompt("docmath")[0]).toContain("<text>\nSales were 1,250.\nCosts were 250.\n</text>");
    expect(prompt("frames")[0]).toContain("<text>\nFrance\nParis is the capital.\n</text>");
    expect(prompt("aa_lcr")[0]).toContain("<text>\nDocument 1:\nOne.\n\nDocument 2:\nTwo.\n</text>");
    expect(prompt("mrcr")).toEqual(["user: Write a poem.", "assistant: Roses.", "user: Prepend aYo to the poem."]);
    expect(prompt("corpusqa")).toEqual(["user: Reports … How much?"]);
    expect(itemOf("ruler", { answer_prefix: " The numbers are" }).messages[0]?.content).toBe(
      "One of the special magic numbers is: 12. What are they? The numbers are",
    );
  });

  it("tell subsets apart: LongBench-E, RULER's tasks, a verl row's reward or data source", () => {
    expect(itemOf("hotpotqa", { dataset: "hotpotqa_e" }).source).toBe("hotpotqa_e");
    expect(itemOf("ruler", { task: "vt" }).source).toBe("vt");
    expect(itemOf("ruler", { input: "Answer the question based on the given documents. …" }).source).toBe("qa");
    expect(builtIn("verl").item(verlRow("EM", { golden_label: "x" }), 0).source).toBe("EM");
    expect(itemOf("docmath", { question_id: 5 }).source).toBe("docmath");
  });

  it("read true and false of DocMath as Python writes them, and numbers with all their digits", () => {
    expect(itemOf("docmath", { ground_truth: true }).golds).toEqual(["True"]);
    expect(itemOf("docmath", { ground_truth: 0.1 }).golds).toEqual(["0.1"]);
    expect(itemOf("docmath", { ground_truth: 1e21 }).golds).toEqual(["1000000000000000000000"]);
  });

  it("read ground truths of verl as text, number, list, or object in an object's or JSON text's form", () => {
    const golds = (truth: BenchmarkRow[string], source = "EM") => builtIn("verl").item(verlRow(source, truth), 0).golds;
    expect(golds("x")).toEqual(["x"]);
    expect(golds(7)).toEqual(["7"]);
    expect(golds(["x", "y"])).toEqual(["x", "y"]);
    expect(golds([{ golden_label: "old" }, { golden_label: "new" }])).toEqual(["new"]);
    expect(golds('{"golden_label": "x"}')).toEqual(["x"]);
    expect(golds('{"data": [[1]]}', "multitableqa_pretraining")).toEqual(['{"data": [[1]]}']);
    const text = {
      ...verlRow("EM", null),
      reward_model: '{"ground_truth": "x"}',
      extra_info: '{"reward_mode": "SubEM"}',
    };
    expect(builtIn("verl").item(text, 0)).toMatchObject({ golds: ["x"], source: "SubEM", meta: { metric: "sub_em" } });
  });
});

describe("rows that a benchmark cannot read", () => {
  const faults: [string, BenchmarkRow, RegExp][] = [
    ["musique", { context: null }, /musique, row 7, column "context": expected text, got null/],
    ["musique", { answers: null }, /musique, row 7, column "answers": expected a list of accepted answers, got null/],
    ["musique", { dataset: "qasper" }, /musique, row 7, column "dataset": expected "musique", got "qasper"/],
    ["docmath", { paragraphs: "text" }, /docmath, row 7, column "paragraphs": expected a list of texts, got "text"/],
    ["docmath", { ground_truth: null }, /docmath, row 7, column "ground_truth": expected text, a number/],
    ["frames", { wiki_items: ["France"] }, /frames, row 7, column "wiki_items": expected a list of \{title, text\}/],
    ["longbench_v2", { choice_C: "" }, /longbench_v2, row 7, column "choice_C": expected text, got ""/],
    ["longbench_v2", { answer: "E" }, /longbench_v2, row 7, column "answer": expected one of A, B, C, D, got "E"/],
    ["mrcr", { prompt: "Write." }, /mrcr, row 7, column "prompt": expected a list of messages/],
    ["mrcr", { random_string_to_prepend: null }, /mrcr, row 7, column "random_string_to_prepend": expected text/],
    ["ruler", { outputs: [] }, /ruler, row 7, column "outputs": expected a list of texts with one at least, got \[\]/],
    ["corpusqa", { answer: null }, /corpusqa, row 7, column "answer": expected text or a number, got null/],
    ["aa_lcr", { documents: "a;b" }, /aa_lcr, row 7, column "documents": expected a list of texts/],
    ["verl", { data_source: "" }, /verl, row 7, column "data_source": expected text, got ""/],
    [
      "verl",
      { extra_info: { reward_mode: "BLEU" } },
      /column "extra_info.reward_mode": expected a metric \(accuracy, .*got "BLEU"/,
    ],
    ["verl", { reward_model: {} }, /verl, row 7, column "reward_model.ground_truth": expected text, a list of texts/],
    [
      "verl",
      { reward_model: { ground_truth: { golden_label: "x" } }, extra_info: { reward_mode: "IoU" } },
      /expected JSON text of \{ "data"/,
    ],
  ];

  it.each(faults)("%s names row and column of %j", (name, over, message) => {
    expect(() => itemOf(name, over)).toThrow(message);
    expect(() => itemOf(name, over)).toThrow(/WEIR_E_DATA/);
  });
});
