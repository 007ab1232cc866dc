import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { CUES } from "../../src/algorithms/behaviour-cues.js";
import { behaviourSpans, countBehaviours, spansOfTokens } from "../../src/algorithms/behaviours.js";
import { BEHAVIOURS, type Behaviour } from "../../src/contracts/behaviour.js";

interface Labelled {
  readonly text: string;
  readonly behaviours: readonly Behaviour[];
}

const labelled = (name: string): Labelled[] =>
  readFileSync(`tests/fixtures/behaviours/${name}.jsonl`, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));

/** Precision and recall of each behaviour, in hundredths. */
function quality(rows: readonly Labelled[]) {
  return Object.fromEntries(
    BEHAVIOURS.map((behaviour) => {
      const found = rows.filter(({ text }) => behaviourSpans(text).some((span) => span.behaviour === behaviour));
      const right = found.filter(({ behaviours }) => behaviours.includes(behaviour)).length;
      const wanted = rows.filter(({ behaviours }) => behaviours.includes(behaviour)).length;
      return [behaviour, [Math.round((100 * right) / found.length), Math.round((100 * right) / wanted)]];
    }),
  );
}

const shown = (text: string) =>
  behaviourSpans(text).map(({ behaviour, start, end }) => [behaviour, text.slice(start, end)]);

describe("behaviours by words", () => {
  it.each(BEHAVIOURS.flatMap((behaviour) => CUES[behaviour].map((cue) => [behaviour, cue] as const)))(
    "%s: each cue finds its example",
    (behaviour, { pattern, example }) => {
      expect(new RegExp(pattern, "im").test(example)).toBe(true);
      expect(behaviourSpans(example).map((span) => span.behaviour)).toContain(behaviour);
    },
  );

  it("are found in the labelled sentences that the cues were written with: precision and recall, %", () => {
    const rows = labelled("labelled");
    expect(rows.length).toBe(240);
    expect(quality(rows)).toEqual({
      grounding: [100, 98],
      subgoal_setting: [96, 100],
      backtracking: [98, 100],
      verification: [100, 100],
    });
  });

  it("are found in six of ten sentences that the cues were not written with, and hardly ever where there are none", () => {
    const rows = labelled("unseen");
    expect(rows.length).toBe(72);
    expect(quality(rows)).toEqual({
      grounding: [100, 67],
      subgoal_setting: [100, 58],
      backtracking: [100, 58],
      verification: [100, 58],
    });
  });

  it("count once per sentence, however many cues it has, and a sentence for several behaviours", () => {
    const text =
      "Wait, wait, that can't be right. The value is 4.2 million. According to the report, the text says 1954, so my earlier answer was wrong.\nLet me double-check the sum and verify it.";
    expect(shown(text)).toEqual([
      ["backtracking", "Wait"],
      ["grounding", "According to the report"],
      ["backtracking", "my earlier answer was wrong"],
      ["verification", "Let me double-check the sum"],
    ]);
    expect(countBehaviours(behaviourSpans(text))).toEqual({
      grounding: 1,
      subgoal_setting: 0,
      backtracking: 2,
      verification: 1,
    });
  });

  it("of no text are none", () => {
    expect(behaviourSpans("")).toEqual([]);
    expect(countBehaviours([])).toEqual({ grounding: 0, subgoal_setting: 0, backtracking: 0, verification: 0 });
  });

  it("lie within the text, grow by their beginning and are never empty, whatever the text", () => {
    const words = fc.constantFrom(
      "wait,",
      "let me",
      "check",
      "the document",
      "says",
      ".",
      "\n",
      "that",
      "is wrong",
      "首先",
      "？",
      "\ud800",
      "first",
      "i need to find",
    );
    fc.assert(
      fc.property(fc.array(words, { maxLength: 60 }), (parts) => {
        const text = parts.join(" ");
        const spans = behaviourSpans(text);
        for (const [i, { start, end }] of spans.entries()) {
          expect(start).toBeGreaterThanOrEqual(spans[i - 1]?.start ?? 0);
          expect(end).toBeGreaterThan(start);
          expect(end).toBeLessThanOrEqual(text.length);
        }
      }),
    );
  });

  it("take time linear in the text, also where a text only nearly has cues", () => {
    const seconds = (text: string) => {
      const started = performance.now();
      behaviourSpans(text);
      return (performance.now() - started) / 1000;
    };
    // A quadratic search of so many characters would take minutes.
    for (const piece of [".", " ", "let me ", "read the ", "the document ", "i need ", "\n\n", "…?!"])
      expect(seconds(piece.repeat(Math.ceil(2e5 / piece.length)))).toBeLessThan(20);
  });
});

describe("spans of tokens", () => {
  const all = (text: string, pieces: readonly string[], ...found: readonly [number, number][]) =>
    spansOfTokens(
      found.map(([start, end]) => ({ behaviour: "grounding", start, end })),
      text,
      pieces,
    ).map(({ start, end }) => pieces.slice(start, end));

  it("hold each token with a character of the span", () => {
    const pieces = ["Wait", ",", " that", " is", " wr", "ong", "."];
    const text = pieces.join("");
    expect(all(text, pieces, [0, 4], [11, 18], [13, 14])).toEqual([["Wait"], [" is", " wr", "ong"], [" wr"]]);
  });

  it("find their tokens again behind characters that take several, and behind a space that the text lacks", () => {
    const text = "𝒳 = é, wait, no";
    const pieces = ["<0xF0><0x9D>", "<0x92><0xB3>", " =", " é", ",", " wait", ",", " no"];
    const at = text.indexOf("wait");
    expect(all(text, pieces, [at, at + 4])).toEqual([[" wait"]]);
    expect(all("Wait, no", [" Wait", ",", " no"], [0, 4], [6, 8])).toEqual([[" Wait"], [" no"]]);
  });

  it("are none where there are no tokens", () => {
    expect(all("Wait", [], [0, 4])).toEqual([]);
  });
});
