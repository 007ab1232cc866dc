import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Exact, exactNumber, plainDecimal, toJson } from "../../src/data/exact.js";
import { parseJson } from "../../src/data/parse-json.js";

describe("a number in plain digits", () => {
  // By hand: the decimal point moved by the exponent.
  it.each([
    ["1e-7", "0.0000001"],
    ["-1.5E-3", "-0.0015"],
    ["2.5e21", "2500000000000000000000"],
    ["12.3e1", "123"],
    ["12.3e+2", "1230"],
    ["0.00120e2", "0.12"],
    ["120", "120"],
    ["12.50", "12.5"],
    ["5.0", "5"],
    ["-0.0", "0"],
    ["007", "7"],
  ])("%s is %s", (source, plain) => {
    expect(plainDecimal(source)).toBe(plain);
  });

  it.each(["", "abc", "1.2.3", "0x10", "NaN", "Infinity", "1e1001", ".5"])("%j is none", (source) => {
    expect(plainDecimal(source)).toBeNull();
  });

  it("has the value of the double that it was printed from, for all doubles (property)", () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (value) => {
        const plain = plainDecimal(String(value)) as string;
        expect(plain).toMatch(/^-?\d+(\.\d+)?$/);
        expect(Number(plain)).toBe(value === 0 ? 0 : value);
      }),
    );
  });
});

describe("JSON with every digit", () => {
  it("keeps what a double holds as a number, and what it does not as text", () => {
    expect(parseJson("[1e-7, 12.50, 9007199254740992, 5.0]")).toEqual([1e-7, 12.5, 9007199254740992, 5]);
    expect(parseJson('{"a":9007199254740993}')).toEqual({ a: new Exact("9007199254740993", "number") });
    expect(parseJson("0.1000000000000000055511151231257827")).toEqual(
      new Exact("0.1000000000000000055511151231257827", "number"),
    );
    expect(parseJson("1e400")).toEqual(new Exact(`1${"0".repeat(400)}`, "number"));
    expect(parseJson("1e99999")).toEqual(new Exact("1e99999", "other"));
  });

  it("reads everything else as JSON.parse does, digits inside of strings too (property)", () => {
    const text = fc.oneof(fc.string(), fc.constantFrom("3e14", "1234567890123456789", "__proto__"));
    const value = fc.jsonValue({ stringUnit: "binary" });
    fc.assert(
      fc.property(text, value, (key, inner) => {
        const json = JSON.stringify({ [key]: inner, always: "slow 1e9" });
        expect(toJson(parseJson(json))).toEqual(JSON.parse(json));
      }),
    );
  });

  it("refuses what JSON.parse refuses", () => {
    for (const text of ["", "{", "[1,]", "NaN", "01", "1e", '{"a":1e5'])
      expect(() => parseJson(text), text).toThrow(SyntaxError);
  });

  it("lets the last of equal keys win", () => {
    expect(parseJson('{"a":1e5,"a":2e5}')).toEqual({ a: 200000 });
  });

  it("becomes text in JSON only where a number would lose digits", () => {
    expect(
      toJson([exactNumber("9007199254740993"), new Exact("12.50", "number"), new Exact("2024-05-01", "moment")]),
    ).toEqual(["9007199254740993", 12.5, "2024-05-01"]);
    expect(toJson(Number.NaN)).toBe("NaN");
  });
});
