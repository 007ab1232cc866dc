import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseNumber } from "../../src/rewards/number-expression.js";
import { rationalText } from "../../src/rewards/rational.js";
import { parsedGold, scoreByRule } from "../../src/rewards/rule.js";

const paper = { mode: "paper", requireThink: true } as const;
const score = (source: string, response: string, gold: string) =>
  scoreByRule({ source, response: `</think>${response}`, goldAnswers: [gold] }, paper).score;
const read = (text: string) => {
  const number = parseNumber(text);
  return number && rationalText(number);
};

/** Digits in groups of three from the right. */
const grouped = (digits: string, separator: string) => digits.replace(/\B(?=(\d{3})+$)/g, separator);
const superscript = (digits: string) => digits.replace(/\d/g, (digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(digit)] as string);

/** Ways to write n = ±digits, all of which say n. */
const FORMS: readonly ((sign: string, digits: string) => string)[] = [
  (sign, digits) => sign + digits,
  (sign, digits) => sign + grouped(digits, ","),
  (sign, digits) => sign + grouped(digits, "\u202f"),
  (sign, digits) => sign + grouped(digits, "'"),
  (sign, digits) => sign + grouped(digits, "_"),
  (sign, digits) => `${sign}$${grouped(digits, ",")}.00`,
  (sign, digits) => `$${sign}${digits}`,
  (sign, digits) => `${sign}US$ ${digits} per share`,
  (sign, digits) => `${sign}${digits} %`,
  (sign, digits) => `about ${sign}${digits} km²`,
  (sign, digits) => `${sign}${digits}0/10`,
  (sign, digits) => `${sign}\\frac{${digits}}{1}`,
  (sign, digits) => `${sign}${digits}e0`,
  (sign, digits) => `${sign}${digits} × 10^0`,
  (sign, digits) => `${sign}0.${digits.padStart(12, "0")} × 10${superscript("12")}`,
  (sign, digits) => `${sign}0.${digits.padStart(9, "0")} billion`,
  (sign, digits) => `\\boxed{${sign}${digits}}`,
  (sign, digits) => `**${sign}${digits}**`,
  (sign, digits) => `(${sign}${digits})`,
  (sign, digits) => `: ${sign}${digits}. This follows from the table`,
  (sign, digits) => `${sign}${digits}, because row 3 says so`,
  (sign, digits) => sign + digits.replace(/\d/g, (digit) => String.fromCharCode(0x0660 + Number(digit))),
];
const signs = fc.constantFrom("", "-", "−", "–");
const naturals = fc.integer({ min: 1, max: 999_999_999 });

describe("numbers in the paper's mode", () => {
  it("read back from every way to write an integer", () => {
    fc.assert(
      fc.property(naturals, signs, fc.constantFrom(...FORMS), fc.constantFrom(...FORMS), (n, sign, one, other) => {
        const said = `the answer is ${one(sign, String(n))}.`;
        const gold = `the answer is ${other(sign, String(n))}.`;
        expect([said, gold, score("docmath", said, gold)]).toEqual([said, gold, 1]);
      }),
      { numRuns: 500 },
    );
  });

  it("never match when they differ, in value or in sign", () => {
    fc.assert(
      fc.property(
        naturals,
        naturals,
        signs,
        signs,
        fc.constantFrom(...FORMS),
        fc.constantFrom(...FORMS),
        (n, m, s, t, one, other) => {
          fc.pre(n !== m || (s === "") !== (t === ""));
          expect(score("docmath", `the answer is ${one(s, String(n))}.`, `the answer is ${other(t, String(m))}.`)).toBe(
            0,
          );
        },
      ),
      { numRuns: 500 },
    );
  });

  it("never match with one more number anywhere in the text", () => {
    const joints = [", ", " and ", "-", "–", " to ", " / ", " or ", "; ", " × ", ". ", ": ", " (", " plus "];
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 99 }),
        fc.integer({ min: 100, max: 9999 }),
        fc.constantFrom(...joints),
        (n, m, joint) => {
          expect(read(`${n}.5${joint}${m}.5`)).not.toBe(`${n}.5`);
          expect(read(`${n}.5 kg${joint}${m}.5 kg`)).toBe(null);
        },
      ),
    );
  });

  it("have one canonical text, which reads back", () => {
    fc.assert(
      fc.property(
        fc.bigInt({ min: -(10n ** 60n), max: 10n ** 60n }),
        fc.integer({ min: 0, max: 60 }),
        (n, decimals) => {
          const text = read(`${n}e-${decimals}`) as string;
          expect(read(text)).toBe(text);
          expect(read(`${n * 10n}e-${decimals + 1}`)).toBe(text);
          expect(read(`${n + 1n}e-${decimals}`)).not.toBe(text);
        },
      ),
    );
  });
});

const noise = fc
  .array(
    fc.constantFrom(
      ..."0123456789.,-−–+*/^_$€%()[]{}\\'’\"“ \n\t\u00a0\u202f½⁸٣eExX×·~≈=:;!?<>|kmMB".split(""),
      "\\frac",
      "\\boxed{",
      "\\text{",
      "}{",
      "10^",
      "million",
      "the answer is ",
      "The correct answer is ",
      "or",
      "and",
      "because",
      "(B)",
      "<|im_end|>",
      "</s>",
      "<sup>",
      "**",
      "  ",
      "\n\n",
      "USD",
      "Paris",
      "No",
      "yes",
      "e-",
      "2 1/2",
      ". This follows from it",
    ),
    { maxLength: 60 },
  )
  .map((parts) => parts.join(""));

describe("any text", () => {
  it("is read without an error, and a gold sentence that can be scored is right for itself", () => {
    fc.assert(
      fc.property(
        fc.oneof(noise, fc.string({ unit: "binary" })),
        fc.constantFrom("docmath", "musique", "long_toc_choices"),
        (text, source) => {
          const sentence = `the answer is ${text}`;
          const gold = parsedGold(source, sentence, "paper");
          expect(score(source, sentence, sentence)).toBe(gold === null ? 0 : 1);
        },
      ),
      { numRuns: 1000 },
    );
  });

  it.each([
    ["digits", "9"],
    ["commas in digits", "1,000"],
    ["signs", "-"],
    ["spaces", " "],
    ["spaces and words", "a  "],
    ["line ends", "\n"],
    ["opening braces", "\\boxed{"],
    ["fractions", "\\frac{1}{2}"],
    ["powers", "2^"],
    ["statements", "the answer is "],
    ["beginnings of statements", "the final "],
    ["sentences", "St. Louis. "],
    ["stars", "* "],
    ["tags", "<|a"],
    ["letters", "(B) or "],
    ["brackets", "("],
    ["quotes", "\"'"],
  ])("of 200,000 characters of %s is read in time linear in them", (_, piece) => {
    const text = `the answer is ${piece.repeat(Math.ceil(200_000 / piece.length))}`;
    for (const source of ["docmath", "musique", "long_toc_choices"]) {
      const start = performance.now();
      expect(score(source, text, "the answer is 1, because of it. The correct answer is (C).")).toBe(0);
      expect(performance.now() - start).toBeLessThan(5000);
    }
  });

  it.each([
    "1e999999999",
    "1e-999999999",
    "10^999999999",
    "2^-99999999",
    "9^9^9^9",
    "1e1e1e1",
    `1e${"9".repeat(500)}`,
    `${"7".repeat(1500)}^${"7".repeat(100)}`,
  ])("with a number beyond all bounds is no number: %s", (text) => {
    expect(parseNumber(text)).toBe(null);
  });
});
