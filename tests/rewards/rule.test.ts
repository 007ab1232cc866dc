import { describe, expect, it } from "vitest";
import { createConfiguredJudge } from "../../src/actors/judge/configured-judge.js";
import { createHybridReward, createRuleReward } from "../../src/actors/reward/reward.js";
import { configSchema } from "../../src/config/schema.js";
import type { RewardMode } from "../../src/contracts/reward.js";
import { rewardFamily } from "../../src/rewards/family.js";
import { log10 } from "../../src/rewards/log10.js";
import { parseNumericAnswer, releasedNumbersEqual, releasedValue } from "../../src/rewards/numbers.js";
import { normaliseAnswer, parseQaAnswer } from "../../src/rewards/qa.js";
import { ruleOutcome, scoreByRule } from "../../src/rewards/rule.js";
import { answerPart, strip, withoutEndText } from "../../src/rewards/text.js";
import { createFakeJudge, exampleRollout, exampleTask } from "../../src/testing.js";

const signal = new AbortController().signal;

/** Score in both modes: [paper, released]. */
function both(source: string, answer: string, gold: string): [number, number] {
  const score = (mode: RewardMode) =>
    scoreByRule({ source, response: `<think>x</think> ${answer}`, goldAnswers: [gold] }, { mode, requireThink: true })
      .score;
  return [score("paper"), score("released")];
}

describe("the family of a data source", () => {
  it.each([
    ["docmath_0_20000", "numeric"],
    ["long_toc_choices_40000_plus", "multiple-choice"],
    ["musique_0_20000", "qa"],
    ["multihoprag_20000_40000", "qa"],
    ["long_toc_choices_of_docmath", "multiple-choice"],
  ])("%s is %s", (source, family) => {
    expect(rewardFamily(source)).toBe(family);
  });

  it("refuses an unknown one by name, with the known ones", () => {
    expect(() => rewardFamily("gsm8k")).toThrow(
      /WEIR_E_REWARD_SOURCE.*long_toc_choices, docmath, multihoprag, musique.*"gsm8k"/,
    );
  });
});

describe("paper and release side by side [paper, released]", () => {
  const says = (x: string) => `Therefore, the answer is ${x}.`;
  it.each([
    ["Paris", "Paris", [1, 1]],
    ["the PARIS!", "Paris", [1, 1]],
    ["Paris, France", "Paris", [0, 1]],
    ["the", "Paris", [0, 1]],
    ["?!", "Paris", [0, 1]],
    ["Berlin", "Paris", [0, 0]],
    ["the", "A", [0, 1]],
    ["a", "A", [1, 1]],
  ] as const)("QA %j for %j: %j", (answer, gold, expected) => {
    expect(both("musique", says(answer), says(gold))).toEqual(expected);
  });

  it.each([
    ["12.5", "12.5", [1, 1]],
    ["12.50", "12.5", [1, 1]],
    ["1,250", "1250", [1, 1]],
    ["-5", "5", [0, 1]],
    ["12500", "12.5", [0, 1]],
    ["100.1", "100", [0, 1]],
    ["007", "7", [1, 0]],
    ["0.125", ".125", [1, 1]],
    ["1.2.3", "0", [0, 1]],
    ["$5", "5", [1, 1]],
    ["-0", "0", [1, 1]],
    ["90071992547409931", "90071992547409932", [0, 1]],
  ] as const)("numeric %j for %j: %j", (answer, gold, expected) => {
    expect(both("docmath", says(answer), says(gold))).toEqual(expected);
  });

  it.each([
    ["The correct answer is (B).", [1, 1]],
    ["The correct answer is B.", [1, 1]],
    ["The correct answer is Based on the text (A).", [0, 1]],
    ["The correct answer is (A).", [0, 0]],
    ["Therefore, the answer is (B).", [1, 0]],
  ] as const)("multiple choice %j for B: %j", (answer, expected) => {
    expect(both("long_toc_choices", answer, "The correct answer is (B).")).toEqual(expected);
  });
});

describe("where an answer is looked for", () => {
  it("needs </think> unless told otherwise, and takes what follows the last one", () => {
    expect(answerPart("the answer is 3", true)).toBe(null);
    expect(answerPart(" the answer is 3 ", false)).toBe("the answer is 3");
    expect(answerPart("a</think>b</think> c\n", true)).toBe("c");
    expect(answerPart("a</think> \n", false)).toBe(null);
  });

  it("removes one end-of-sequence text", () => {
    expect(withoutEndText("Paris.<|im_end|>")).toBe("Paris.");
    expect(withoutEndText("Paris.</s></s>")).toBe("Paris.</s>");
    expect(withoutEndText("Paris.")).toBe("Paris.");
  });

  it("takes Python's white space for white space", () => {
    expect(strip("\u001c\u0085 x\u3000")).toBe("x");
    expect(strip("\ufeffx")).toBe("\ufeffx");
  });

  it("keeps articles inside words of any alphabet", () => {
    expect(normaliseAnswer("maïan étheö the Än")).toBe("maïan étheö än");
  });

  it("drops the special tokens that trail an answer", () => {
    expect(parseQaAnswer("the answer is Rome.<｜end▁of▁sentence｜>")).toBe("Rome");
  });
});

describe("numbers of the release", () => {
  it.each([
    ["12.5", 12.5],
    ["$-12.5", -12.5],
    ["007", 0],
    ["00", 0],
    ["00.5", 0.5],
    [".125", 125],
    ["..5", 5],
    ["...5", 0.5],
    ["-.5", -0.5],
    ["1.2.3", 0],
    ["", 0],
  ])("the release reads %j as %d", (text, value) => {
    expect(releasedValue(text)).toBe(value);
  });

  it("parses symbols in their order only, and parentheses in evaluation only", () => {
    expect(parseNumericAnswer("The Answer Is ≈$1,234.5.")).toBe("≈$1234.5");
    expect(parseNumericAnswer("the answer is $≈5")).toBe(null);
    expect(parseNumericAnswer("the answer is (12.5)")).toBe(null);
    expect(parseNumericAnswer("the answer is (12.5)", true)).toBe("12.5");
    expect(parseNumericAnswer("the answer is ...")).toBe("");
  });

  it("agrees with the C library's log10 where engines round differently (values of CPython 3.11 on glibc 2.36)", () => {
    expect(log10(1000)).toBe(3);
    expect(log10(12.5)).toBe(1.0969100130080565);
    expect(log10(0.001)).toBe(-3);
    expect(log10(2973.641)).toBe(3.4732885360991723);
    expect(log10(843.72)).toBe(2.926198343982979);
    expect(log10(6489.0)).toBe(3.8121777741587537);
    expect(log10(0)).toBe(Number.NEGATIVE_INFINITY);
    expect(log10(5e-324)).toBe(Math.log10(5e-324));
  });

  it("depends on rounding as released: 125 and 12.5 differ in training and agree in evaluation", () => {
    expect(releasedNumbersEqual(125, 12.5, "training")).toBe(false);
    expect(releasedNumbersEqual(125, 12.5, "evaluation")).toBe(true);
    expect(releasedNumbersEqual(Number.POSITIVE_INFINITY, 1, "training")).toBe(false);
  });
});

describe("the rule reward actor", () => {
  const task = exampleTask();

  it("scores the text without its end token", async () => {
    const actor = createRuleReward({ mode: "paper", requireThink: true });
    const rollout = exampleRollout(task, "<think></think>Therefore, the answer is Paris<|im_end|>");
    expect(await actor.handle({ task, rollout }, { signal })).toEqual({
      kind: "scored",
      value: 1,
      parts: { rule: 1 },
      prediction: "Paris",
    });
  });

  it("fails on a gold sentence without an answer in the paper's mode; the release scores 0", async () => {
    const input = { source: "musique", response: "</think>the answer is Paris", goldAnswers: ["Paris"] };
    const outcome = (mode: RewardMode) => ruleOutcome(scoreByRule(input, { mode, requireThink: true }), mode);
    expect(outcome("paper")).toMatchObject({ kind: "failed", code: "WEIR_E_DATA" });
    expect(outcome("released")).toMatchObject({ kind: "scored", value: 0 });
  });

  it("rejects an unknown data source", async () => {
    const actor = createRuleReward({ mode: "paper", requireThink: true });
    const other = exampleTask({ source: "gsm8k" });
    await expect(actor.handle({ task: other, rollout: exampleRollout(other, "x") }, { signal })).rejects.toThrow(
      /WEIR_E_REWARD_SOURCE/,
    );
  });
});

describe("the hybrid reward actor (Eq. 14)", () => {
  const options = { mode: "paper", requireThink: true } as const;
  const task = exampleTask();
  const ask = async (text: string, judge = createFakeJudge([1]), of = task) => ({
    outcome: await createHybridReward({ ...options, judge }).handle(
      { task: of, rollout: exampleRollout(of, text) },
      { signal },
    ),
    asked: judge.seen,
  });

  it("asks the judge for a wrong parsed answer, without the document, and takes the greater", async () => {
    const { outcome, asked } = await ask("</think>the answer is Lutetia.");
    expect(outcome).toEqual({ kind: "scored", value: 1, parts: { rule: 0, judge: 1 }, prediction: "Lutetia" });
    expect(asked).toEqual([{ problem: "What is the capital of France?", prediction: "Lutetia", gold: "Paris" }]);
  });

  it("gives the judge both answers as they are written, and the first of several gold answers, once", async () => {
    const number = exampleTask({
      source: "docmath",
      goldAnswers: ["no statement", "the answer is $1.5 million.", "the answer is 2."],
    });
    const judge = createFakeJudge([0]);
    const { outcome, asked } = await ask(
      "</think>the answer is 1,250 thousand or so, because of row 3.",
      judge,
      number,
    );
    expect(asked).toEqual([
      {
        problem: "What is the capital of France?",
        prediction: "1,250 thousand or so, because of row 3",
        gold: "$1.5 million",
      },
    ]);
    expect(outcome).toMatchObject({ kind: "scored", value: 0, prediction: "1,250 thousand or so, because of row 3" });
    const right = await ask("</think>the answer is 2", createFakeJudge([0]), number);
    expect(right).toMatchObject({ asked: [], outcome: { kind: "scored", value: 1, prediction: "2" } });
  });

  it("does not ask where the rule gives 1, nothing was parsed, or the answer is a choice", async () => {
    expect((await ask("</think>the answer is Paris.")).asked).toEqual([]);
    expect((await ask("</think>no idea")).asked).toEqual([]);
    expect((await ask("</think>the answer is .")).asked).toEqual([]);
    const choice = exampleTask({ source: "long_toc_choices", goldAnswers: ["The correct answer is (B)."] });
    const { outcome, asked } = await ask("</think>The correct answer is (A).", createFakeJudge([1]), choice);
    expect(asked).toEqual([]);
    expect(outcome).toMatchObject({ kind: "scored", value: 0 });
  });

  it("is never a silent 0 when the judge fails (I1)", async () => {
    const timedOut = { kind: "timedOut", afterMs: 5, reason: "late" } as const;
    const failed = { kind: "failed", code: "WEIR_E_JUDGE", reason: "down" } as const;
    expect((await ask("</think>the answer is X", createFakeJudge([timedOut]))).outcome).toEqual(timedOut);
    expect((await ask("</think>the answer is X", createFakeJudge([failed]))).outcome).toEqual(failed);
  });

  it("fails where the prompt has no recognisable question", async () => {
    const bare = exampleTask({ messages: [{ role: "user", content: "What?" }] });
    const { outcome, asked } = await ask("</think>the answer is X", createFakeJudge([1]), bare);
    expect(outcome).toMatchObject({ kind: "failed", code: "WEIR_E_DATA" });
    expect(asked).toEqual([]);
  });

  it("needs a configured judge", () => {
    const config = configSchema.parse({ model: { path: "m" }, data: { train: ["d"] } });
    expect(() => createConfiguredJudge(config.reward, 1)).toThrow(/WEIR_E_ACTOR_MISSING.*reward\.judge\.url/);
    const judge = { ...config.reward.judge, url: "http://127.0.0.1:1/v1", model: "m" };
    expect(createConfiguredJudge({ ...config.reward, judge }, 1).kind).toBe("openai");
  });
});
