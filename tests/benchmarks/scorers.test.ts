/** What the recorded cases do not show: judges that raise or fail, the paper's rules, thinking that is required, and differences on purpose. */
import { describe, expect, it } from "vitest";
import type { BenchmarkRow, BenchmarkScore } from "../../src/contracts/benchmark.js";
import type { Judge, JudgeUse } from "../../src/contracts/judge.js";
import { createFakeJudge } from "../../src/testing.js";
import { builtIn } from "./recorded.js";
import { EXAMPLES, verlRow } from "./rows.js";

const { signal } = new AbortController();
interface Wish {
  readonly row?: BenchmarkRow;
  readonly judge?: Judge | null;
  readonly mode?: "paper" | "released";
  readonly requireThink?: boolean;
}

function scoreOf(name: string, response: string, wish: Wish = {}): Promise<BenchmarkScore> {
  const { judge = null, mode = "paper", requireThink = false } = wish;
  const row = wish.row ?? (EXAMPLES.find((one) => one.name === name)?.row as BenchmarkRow);
  const part = builtIn(name, mode);
  return part.score(part.item(row, 0), response, { signal, judge, requireThink });
}

async function resultOf(name: string, response: string, wish: Wish = {}): Promise<number | string> {
  const score = await scoreOf(name, response, wish);
  return score.kind === "scored" ? score.value : score.code;
}

describe("max(rule, judge)", () => {
  const use: JudgeUse = { requests: 2, seconds: 0.5, promptTokens: 90, completionTokens: 7, cached: false };

  it("asks about a wrong answer only, with question, answer and gold as they are written", async () => {
    const judge = createFakeJudge([{ kind: "verdict", value: 1, reply: "[[YES]]", use }]);
    expect(await resultOf("musique", "Therefore, the answer is Paris.", { judge })).toBe(1);
    expect(judge.seen).toEqual([]);
    expect(await scoreOf("musique", "Therefore, the answer is Paname.", { judge })).toEqual({
      kind: "scored",
      value: 1,
      scores: { em: 0, sub_em: 0, f1: 0, longbench_f1: 0, rule: 0, judge: 1 },
      prediction: "Paname",
      judge: use,
    });
    expect(judge.seen).toEqual([{ problem: "What is the capital of France?", prediction: "Paname", gold: "Paris" }]);
  });

  it("does not ask without an answer: that is a 0", async () => {
    const judge = createFakeJudge([1]);
    expect(await resultOf("musique", "I do not know.", { judge })).toBe(0);
    expect(await resultOf("corpusqa", "", { judge })).toBe(0);
    expect(judge.seen).toEqual([]);
  });

  it("leaves a response unscored where the judge fails or is late, with what it took", async () => {
    const failed = createFakeJudge([{ kind: "failed", code: "WEIR_E_JUDGE", reason: "503", use }]);
    expect(await scoreOf("frames", "Therefore, the answer is Lyon.", { judge: failed })).toEqual({
      kind: "unscored",
      code: "WEIR_E_JUDGE",
      reason: "503",
      judge: use,
    });
    const late = createFakeJudge([{ kind: "timedOut", afterMs: 5, reason: "no answer within 5 ms" }]);
    expect(await resultOf("docmath", "Therefore, the answer is 7.", { judge: late })).toBe("WEIR_E_JUDGE");
    expect(await resultOf("aa_lcr", "The High Court.", { judge: late })).toBe("WEIR_E_JUDGE");
  });

  it("asks DocMath's judge about the cleaned response where the release finds no number", async () => {
    const judge = createFakeJudge([0]);
    await scoreOf("docmath", "</think>Therefore, the answer is one thousand.", { judge, mode: "released" });
    expect(judge.seen).toEqual([{ problem: "What is left?", prediction: "one thousand", gold: "1000" }]);
  });

  it("needs a judge for CorpusQA, AA-LCR and rewards by a model", async () => {
    for (const name of ["corpusqa", "aa_lcr"]) expect(await resultOf(name, "x")).toBe("WEIR_E_ACTOR_MISSING");
    const row = verlRow("model_verify", { golden_label: "x" }, "model_judge");
    expect(await resultOf("verl", "y", { row })).toBe("WEIR_E_ACTOR_MISSING");
    expect(await resultOf("verl", "y", { row, judge: createFakeJudge([1]) })).toBe(1);
    expect(await resultOf("verl", "x", { row })).toBe(1);
  });
});

describe("modes of the seven that the rules score", () => {
  it("paper: exact match with any accepted answer; released: substring of the first one", async () => {
    const values = async (response: string) => [
      await resultOf("hotpotqa", response, { mode: "paper" }),
      await resultOf("hotpotqa", response, { mode: "released" }),
    ];
    expect(await values("the answer is city of paris")).toEqual([1, 1]);
    expect(await values("the answer is Paris, Texas")).toEqual([0, 1]);
    expect(await values("the answer is par")).toEqual([0, 1]);
    const row = { ...(EXAMPLES[1]?.row as BenchmarkRow), answers: ["Paris", "Lutetia"] };
    expect(await resultOf("hotpotqa", "the answer is Lutetia", { row })).toBe(1);
    expect(await resultOf("hotpotqa", "the answer is Lutetia", { row, mode: "released" })).toBe(0);
  });

  it("paper reads numbers exactly, with their sign; released has its tolerances", async () => {
    const values = async (response: string) => [
      await resultOf("docmath", response, { mode: "paper" }),
      await resultOf("docmath", response, { mode: "released" }),
    ];
    expect(await values("the answer is 1 thousand")).toEqual([1, 1]);
    expect(await values("the answer is -1000")).toEqual([0, 1]);
    expect(await values("the answer is 1001")).toEqual([0, 1]);
    expect(await values("the answer is \\boxed{1000}")).toEqual([1, 0]);
  });

  it("compares true and false of DocMath as words", async () => {
    const row = { ...(EXAMPLES.find(({ name }) => name === "docmath")?.row as BenchmarkRow), ground_truth: false };
    expect(await resultOf("docmath", "the answer is False", { row })).toBe(1);
    expect(await resultOf("docmath", "the answer is True", { row })).toBe(0);
  });

  it("leaves a response unscored whose gold answer no rule can read", async () => {
    const row = { ...(EXAMPLES[1]?.row as BenchmarkRow), answers: ["."] };
    expect(await resultOf("hotpotqa", "the answer is x", { row })).toBe("WEIR_E_DATA");
  });
});

describe("thinking", () => {
  it("has no part in an answer, and a response without its end has none where that is required", async () => {
    for (const { name, row, right } of EXAMPLES) {
      const judge = name === "corpusqa" || name === "aa_lcr" ? createFakeJudge([1]) : null;
      const wish = { row, judge, requireThink: true };
      expect(await resultOf(name, right, wish), name).toBe(0);
      expect(await resultOf(name, `<think>${right}</think>`, wish), name).toBe(0);
      // ROUGE-L of equal texts is a little below 1, as in its package.
      expect(await resultOf(name, `<think>No.</think>\n${right}<|im_end|>`, wish), name).toBeCloseTo(1, 7);
    }
  });
});

describe("rewards of verl rows", () => {
  const math = (gold: string, answer: string, judge: Judge | null = null) =>
    resultOf("verl", answer, { row: verlRow("math_longcot_math_verify", { golden_label: gold }), judge });

  it("read the last box, whatever came before", async () => {
    expect(await math("12", "First \\boxed{1}, no: \\boxed{12}.")).toBe(1);
    expect(await math("12", "First \\boxed{12}, no: \\boxed{1}.")).toBe(0);
    expect(await math("\\frac{1}{2}", "\\boxed{\\frac{1}{2}} and \\boxed{")).toBe(1);
  });

  it("take numbers with a decimal point as equal to six decimals", async () => {
    expect(await math("12", "\\boxed{11.99999999}")).toBe(1);
    expect(await math("12", "\\boxed{11.9999}")).toBe(0);
  });

  it("tell words apart by their letters in order", async () => {
    expect(await math("Paris", "\\boxed{Pairs}")).toBe(0);
    expect(await math("New York", "\\boxed{\\text{new york}}")).toBe(1);
  });

  it("say nothing about mathematics that they cannot compare, and ask the judge", async () => {
    const matrix = "\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}";
    expect(await math(matrix, `\\boxed{${matrix}}`)).toBe(1);
    expect(await math(matrix, "\\boxed{\\begin{bmatrix}1&2\\\\3&4\\end{bmatrix}}")).toBe("WEIR_E_REWARD");
    expect(await math(matrix, "\\boxed{\\begin{bmatrix}1&2\\\\3&4\\end{bmatrix}}", createFakeJudge([1]))).toBe(1);
    expect(await math(matrix, "I do not know.")).toBe(0);
  });

  it("give a 0 to answers that are made to break a parser, soon", async () => {
    const deep = (open: string, close: string, depth = 200) => `\\boxed{${open.repeat(depth)}13${close.repeat(depth)}}`;
    const answers = [
      ...[
        deep("(", ")"),
        deep("[", ",1)"),
        deep("\\frac{1}{", "}", 39),
        deep("\\frac{1}{", "}", 41),
        deep("{", ""),
        deep("-(", ""),
      ],
      ...[
        "\\boxed{",
        "\\boxed{}",
        "\\boxed{1^".repeat(40),
        `\\boxed{${"9^".repeat(200)}9}`,
        `\\boxed{${"!".repeat(300)}}`,
      ],
      ...["answer".repeat(80), "$".repeat(499), "1,".repeat(249), "\\sqrt[".repeat(80), "=".repeat(500)],
    ];
    const started = performance.now();
    for (const answer of answers) expect(await math("12", answer), answer.slice(0, 40)).toBe(0);
    expect(performance.now() - started).toBeLessThan(5_000);
  });

  it("read a response of 200,000 lines", async () => {
    const row = (mode: string) => verlRow("longbench_pro", { doc_ids: ["a", "b"] }, mode);
    const lines = `[Answer]\n${"x\n".repeat(200_000)}a\nb`;
    expect(await resultOf("verl", lines, { row: row("NDCG") })).toBeCloseTo(
      2 / Math.log2(3) / (2 + 1 / Math.log2(3)),
      12,
    );
    expect(await resultOf("verl", lines, { row: row("SubEM") })).toBe(1);
  });

  it("compare cells of tables by value", async () => {
    const row = verlRow("multitableqa_pretraining", { golden_label: '{"data": [["a", 1.0], ["b", 2]]}' });
    expect(await resultOf("verl", '<answer>{"data": [["a", 1], ["c", 2]]}</answer>', { row })).toBe(1 / 3);
  });

  it("refuse a summary too long to be compared, and take one that is long", async () => {
    const row = (gold: string) => verlRow("longbench_pro", { doc_ids: [gold] }, "Summary");
    const words = "river ".repeat(6_000);
    expect(await resultOf("verl", words, { row: row(words) })).toBe("WEIR_E_REWARD");
    expect(await resultOf("verl", words.replaceAll("river ", "river. "), { row: row("The river.") })).toBeCloseTo(
      2 / 3,
      6,
    );
  });
});

describe("other scorers", () => {
  it("MRCR: the answer begins with the random string, letter for letter", async () => {
    expect(await resultOf("mrcr", "aYoRoses are red.")).toBe(1);
    expect(await resultOf("mrcr", "ayoRoses are red.")).toBe(0);
    expect(await scoreOf("mrcr", "aYo")).toMatchObject({ value: 0, prediction: "" });
  });

  it("RULER: share of the expected texts, one of them for question answering", async () => {
    expect(await resultOf("ruler", "12 only")).toBe(0.5);
    const row = { ...(EXAMPLES.find(({ name }) => name === "ruler")?.row as BenchmarkRow), task: "qa_1" };
    expect(await resultOf("ruler", "12 only", { row })).toBe(1);
  });
});
