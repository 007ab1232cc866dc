import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { parsedGold, scoreByRule } from "../../src/rewards/rule.js";
import { withoutEndText } from "../../src/rewards/text.js";
import { CHOICES, NUMBERS, TEXTS } from "./paper-cases.js";

const paper = { mode: "paper", requireThink: true } as const;
const says = (answer: string) => `Therefore, the answer is${/^[:\n]/.test(answer) ? "" : " "}${answer}.`;
const score = (source: string, answer: string, gold: string) =>
  scoreByRule({ source, response: `<think>x</think>\n${answer}`, goldAnswers: [gold] }, paper).score;

describe.each(Object.entries(NUMBERS))("the paper's numeric rule reads %s", (_, cases) => {
  it.each(cases)("%j for %j: %i", (answer, gold, expected) => {
    expect(score("docmath_0_20000", says(answer), says(gold))).toBe(expected);
  });
});

describe.each(Object.entries(TEXTS))("the paper's QA rule reads %s", (_, cases) => {
  it.each(cases)("%j for %j: %i", (answer, gold, expected) => {
    expect(score("musique_0_20000", says(answer), says(gold))).toBe(expected);
  });
});

describe("the paper's multiple-choice rule", () => {
  it.each(CHOICES)("after 'The correct answer is': %j for (B): %i", (answer, expected) => {
    expect(score("long_toc_choices_0_20000", `The correct answer is${answer}`, "The correct answer is (B).")).toBe(
      expected,
    );
  });

  it.each([
    [" a person.", 0],
    [" A person who writes.", 0],
    [" a (French) person.", 0],
    [" a.", 1],
    [" (a) person", 1],
    [" A", 1],
    [" A's", 0],
    [" A-level", 0],
  ] as const)("tells the letter A from the article: %j is %i", (answer, expected) => {
    expect(score("long_toc_choices", `The correct answer is${answer}`, "The correct answer is (A).")).toBe(expected);
  });

  it("knows the letters A to J", () => {
    const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ".split("");
    const known = letters.filter((letter) =>
      parsedGold("long_toc_choices", `The correct answer is (${letter}).`, "paper"),
    );
    expect(known.join("")).toBe("ABCDEFGHIJ");
  });
});

describe("answers from use", () => {
  const folder = new URL("../fixtures/cases/", import.meta.url);
  const read = (file: string) =>
    readFileSync(new URL(file, folder), "utf8")
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
  const cases = ["01-number-rule", "02-qa-rule", "03-choice-rule"].flatMap((name) => read(`${name}/cases.jsonl`));

  it.each(cases.map((line) => [line.id, line]))("%s scores as a plain reading does", (_, line) => {
    const input = {
      source: line.data_source,
      response: withoutEndText(line.response),
      goldAnswers: [line.ground_truth],
    };
    expect(scoreByRule(input, paper).score).toBe(line.want);
  });
});

describe("the answer of a response in the paper's mode", () => {
  const answer = (source: string, response: string) =>
    scoreByRule({ source, response: `</think>${response}`, goldAnswers: [] }, paper).prediction;

  it.each([
    ["One might think the answer is 5, but that is wrong: the answer is 7.", "7"],
    ["The final answer is: 5", "5"],
    ["the correct answer is 5", "5"],
    ["My answer is 5.", "5"],
    ["The answer to the question is 5.", "5"],
    ["THE ANSWER IS 5", "5"],
    ["The **answer** is\n5", "5"],
    ["**Final Answer:** 5", "5"],
    ["The answer = 5", "5"],
    ["The answer: 5", "5"],
    ["The answer is 5. The answer is based on table 3.", "5"],
    ["The answer is 5. I checked that the answer is correct.", "5"],
    ["the answer isn't 5", null],
    ["another answer is 5", null],
    ["\\boxed{5}", null],
    ["5", null],
    ["the answer is", ""],
    ["the answer is <|im_end|>", ""],
  ])("of %j is %j", (response, expected) => {
    expect(answer("docmath", response)).toBe(expected);
    if (expected !== null) expect(answer("musique", response)).toBe(expected);
  });

  it.each([
    ["-$012.50", "-12.5"],
    ["1.5 million", "1500000"],
    ["2/6", "1/3"],
    ["1e-60", "1e-60"],
    ["-12345e60", "-1.2345e64"],
    ["5 or 7", "5 or 7"],
    ["forty-two, because of row 3", "forty-two, because of row 3"],
  ])("is shown as one reads it: %j as %j", (written, shown) => {
    expect(answer("docmath", `the answer is ${written}.`)).toBe(shown);
  });

  it("is never right when it is empty or normalises to nothing, whatever the gold answer", () => {
    for (const gold of ["the answer is .", "the answer is !", "the answer is the", "the answer is Paris"]) {
      for (const said of ["", ".", "?", "a", "``", "\\boxed{}"]) {
        expect(score("musique", `the answer is ${said}`, gold)).toBe(0);
      }
    }
  });

  it("is right for its own gold sentence, also where one of them is trimmed", () => {
    for (const said of ["-\\ ", " Paris \n", ". This follows from it", "5 .\u0085"]) {
      expect(score("musique", `the answer is ${said}`, `the answer is ${said}`)).toBe(1);
    }
  });

  it("scores the best over several gold answers", () => {
    const golds = ["the answer is New York City.", "the answer is NYC.", "no statement"];
    const result = scoreByRule(
      { source: "hotpotqa", response: "</think>the answer is NYC", goldAnswers: golds },
      paper,
    );
    expect(result).toMatchObject({ score: 1, gold: "NYC", judgeable: false });
    const wrong = scoreByRule({ source: "hotpotqa", response: "</think>the answer is LA", goldAnswers: golds }, paper);
    expect(wrong).toMatchObject({ score: 0, gold: "New York City", judgeable: true });
  });
});

describe("gold answers that no rule can score are found when data are read", () => {
  it.each([
    ["docmath", "the answer is 1e-07.", "0.0000001"],
    ["docmath", "the answer is 2.5e+21.", "2500000000000000000000"],
    ["docmath", "the answer is 5 to 7.", null],
    ["docmath", "the answer is 12,5.", null],
    ["docmath", "the answer is 2024-05-01.", null],
    ["docmath", "the answer is forty-two.", null],
    ["docmath", "the answer is .", null],
    ["docmath", "5", null],
    ["musique", "the answer is .", null],
    ["musique", "Paris", null],
    ["musique", "the answer is ?", "?"],
    ["musique", "the answer is Paris. Or London.", "Paris. Or London"],
    ["long_toc_choices", "The correct answer is (B).", "B"],
    ["long_toc_choices", "The correct answer is (B) or (C).", null],
    ["long_toc_choices", "B", null],
  ])("%s: %j gives %j", (source, sentence, expected) => {
    expect(parsedGold(source, sentence, "paper")).toBe(expected);
  });
});
