import { describe, expect, it } from "vitest";
import { type Cell, Exact } from "../../src/data/exact.js";
import { goldSentences } from "../../src/data/golds.js";
import { parseJson } from "../../src/data/parse-json.js";
import { failure } from "../helpers/errors.js";

const place = { file: "f.jsonl", row: 4, column: "ground_truth" };
const sentence = (answer: string) => `Therefore, the answer is ${answer}.`;

describe("gold answers of a row", () => {
  it.each<[string, string, string[]]>([
    ["a sentence stays", '"Therefore, the answer is Oslo."', [sentence("Oslo")]],
    ["a text that is no sentence stays, for the check to find", '"Oslo"', ["Oslo"]],
    ["a number becomes a sentence", "-7", [sentence("-7")]],
    ["an exponent is written out", "6.02e23", [sentence("602000000000000000000000")]],
    ["a small exponent too", "3E-5", [sentence("0.00003")]],
    ["digits beyond a double stay", "18446744073709551617", [sentence("18446744073709551617")]],
    ["decimals beyond a double too", "3.14159265358979323846", [sentence("3.14159265358979323846")]],
    ["each of a list counts", '["Therefore, the answer is a.", 2, 3e0]', [sentence("a"), sentence("2"), sentence("3")]],
    ["equal ones count once", "[2, 2.0, 2e0]", [sentence("2")]],
    ["a list may be JSON text", '"[\\"Therefore, the answer is a.\\", 1e3]"', [sentence("a"), sentence("1000")]],
    ["a target of search data is read", '{"target": [4, 5]}', [sentence("4"), sentence("5")]],
    ["text in brackets is text", '"[Oslo]"', ["[Oslo]"]],
  ])("%s", (_, json, expected) => {
    expect(goldSentences(parseJson(json), place, "sentence")).toEqual(expected);
  });

  it("bare texts become sentences where the format has bare answers", () => {
    expect(goldSentences(["Oslo", 5], place, "bare")).toEqual([sentence("Oslo"), sentence("5")]);
  });

  it("dates and decimals keep their text", () => {
    const cells = [new Exact("2024-05-01", "moment"), new Exact("12.50", "number")];
    expect(goldSentences(cells, place, "sentence")).toEqual([sentence("2024-05-01"), sentence("12.50")]);
  });

  it.each<[string, Cell | undefined]>([
    ["nothing", undefined],
    ["null", null],
    ["an empty text", ""],
    ["an empty list", []],
    ["a list with null", ["a", null]],
    ["a list of lists", [["a"]]],
    ["a flag", true],
    ["another object", { target: "a", style: "x" }],
    ["NaN", new Exact("NaN", "other")],
    ["a number that is not finite", Number.POSITIVE_INFINITY],
    ["half of a surrogate pair", "the answer is \ud83d"],
  ])("%s is refused by file, row and column", async (_, cell) => {
    const error = await failure(() => goldSentences(cell, place, "sentence"), "WEIR_E_DATA");
    expect(error.message).toMatch(/f\.jsonl, row 4, column "ground_truth": expected text/);
  });
});
