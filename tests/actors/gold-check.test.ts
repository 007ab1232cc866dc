import { describe, expect, it } from "vitest";
import { assertReadable, checkGolds, goldProblem, noRuleError } from "../../src/actors/run/gold-check.js";
import type { Task } from "../../src/contracts/task.js";
import { failure } from "../helpers/errors.js";

const task = (source: string, ...goldAnswers: string[]): Task => ({
  id: `${source}:${goldAnswers.join()}`,
  messages: [{ role: "user", content: "?" }],
  document: null,
  goldAnswers,
  source,
  promptTokens: 0,
  meta: {},
});
const oslo = task("musique", "Therefore, the answer is Oslo.");
const files = (...tasks: Task[]) => [{ file: "f.jsonl", tasks }];

describe.each(["paper", "released"] as const)("gold answers that no rule can score, %s", (mode) => {
  it.each<[string, Task]>([
    ["a bare answer", task("musique", "Oslo")],
    ["a sentence without its answer", task("hotpotqa", "Therefore, the answer is .")],
    ["a bare number", task("docmath_0_20000", "42")],
    ["a letter without a sentence", task("long_toc_choices", "B")],
    ["a number where a letter is asked for", task("long_toc_choices", "Therefore, the answer is 5.")],
    ["a date where a number is asked for", task("docmath", "Therefore, the answer is 2024-05-01.")],
    ["a time where a number is asked for", task("docmath", "Therefore, the answer is 12:30:00.")],
    ["an empty text", task("musique", "")],
    ["several of these", task("musique", "Oslo", "Bergen")],
  ])("%s is refused by file, row, gold and form", async (_, bad) => {
    const checked = checkGolds(files(oslo, oslo, bad), mode);
    expect(checked.tasks).toEqual([oslo, oslo]);
    const error = await failure(() => assertReadable(checked), "WEIR_E_DATA");
    const form = bad.source.includes("choices") ? "The correct answer is (X)." : "Therefore, the answer is X.";
    expect(error.message).toContain(`f.jsonl, row 2: no answer of the source "${bad.source}"`);
    for (const text of [JSON.stringify(bad.goldAnswers[0]), form]) expect(error.message).toContain(text);
  });

  it("readable ones pass, and some of several are enough", () => {
    const letter = task("long_toc_choices", "The correct answer is (B).");
    const number = task("docmath", "Therefore, the answer is -2.5.");
    const mixed = task("musique", "Oslo", "Therefore, the answer is Oslo.", "");
    const checked = checkGolds(files(oslo, letter, number, mixed), mode);
    assertReadable(checked);
    expect(checked.tasks).toEqual([
      oslo,
      letter,
      number,
      { ...mixed, goldAnswers: ["Therefore, the answer is Oslo."] },
    ]);
    expect(checked.goldsLeftOut).toBe(2);
  });

  it("sources without a rule stand apart, whatever their gold answers", () => {
    const trivia = task("triviaqa", "Paris");
    const trec = task("trec", "Therefore, the answer is x.");
    const checked = checkGolds([...files(oslo, trivia), ...files(trec, trivia)], mode);
    expect(checked.withoutRule).toEqual([trivia, trec, trivia]);
    assertReadable(checked);
    const error = noRuleError(checked, 4, "training rows");
    expect(error.code).toBe("WEIR_E_REWARD_SOURCE");
    expect(error.message).toMatch(/3 of 4 training rows.*"triviaqa" \(2\), "trec" \(1\); expected.*docmath.*qasper/);
  });
});

it("rows are counted in each file, and the rest of them is said", async () => {
  const bad = task("musique", "Oslo");
  const checked = checkGolds(
    [
      { file: "a", tasks: [oslo] },
      { file: "b", tasks: [oslo, bad, bad, bad] },
    ],
    "paper",
  );
  expect(checked.unreadable.map(({ file, row }) => [file, row])).toEqual([
    ["b", 1],
    ["b", 2],
    ["b", 3],
  ]);
  expect((await failure(() => assertReadable(checked), "WEIR_E_DATA")).message).toContain("(and 2 more rows)");
  expect(goldProblem({ task: bad, file: "b", row: 3 })).toMatch(/^b, row 3: /);
});
