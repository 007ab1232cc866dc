import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { bandKeys, jaccard, shinglesOf } from "../../src/algorithms/minhash.js";

const words = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => `word${from + i}`).join(" ");
const share = (a: string, b: string) => jaccard(shinglesOf(a), shinglesOf(b));

describe("similarity of texts", () => {
  it("is the share of the runs of five words that both have", () => {
    expect(share("the cat sat on the mat", "The cat sat on the mat!")).toBe(1);
    // Runs of five: 1–5, 2–6 against 2–6, 3–7: one of three.
    expect(share("a b c d e f", "b c d e f g")).toBeCloseTo(1 / 3, 12);
    expect(share("one two three", "one two three")).toBe(1);
    expect(share("one two three", "one two four")).toBe(0);
    expect(share("", "")).toBe(0);
  });

  it("is symmetric, in [0, 1], and that of sets", () => {
    const list = fc.array(fc.constantFrom("a", "b", "c"), { maxLength: 30 }).map((parts) => parts.join(" "));
    fc.assert(
      fc.property(list, list, (a, b) => {
        const [left, right] = [new Set(shinglesOf(a)), new Set(shinglesOf(b))];
        const both = [...left].filter((hash) => right.has(hash)).length;
        const all = new Set([...left, ...right]).size;
        expect(share(a, b)).toBe(all === 0 ? 0 : both / all);
        expect(share(b, a)).toBe(share(a, b));
      }),
    );
  });
});

describe("bands", () => {
  const candidates = (a: string, b: string) => {
    const keys = new Set(bandKeys(shinglesOf(a)));
    return bandKeys(shinglesOf(b)).some((key) => keys.has(key));
  };

  it("find texts of similarity 0.8 and more among two hundred pairs, each of them", () => {
    for (let pair = 0; pair < 200; pair++) {
      const start = pair * 10_000;
      // 450 of 500 words: 446 of 546 runs, 0.817.
      const [a, b] = [words(start, start + 500), words(start + 50, start + 550)];
      expect(share(a, b)).toBeGreaterThan(0.8);
      expect(candidates(a, b)).toBe(true);
    }
  });

  it("keep most unrelated texts apart, and find equal short ones", () => {
    const found = Array.from({ length: 200 }, (_, i) =>
      candidates(words(i * 1_000, i * 1_000 + 300), words(500_000 + i * 1_000, 500_000 + i * 1_000 + 300)),
    );
    expect(found.filter((hit) => hit)).toHaveLength(0);
    expect(candidates("Who wrote it?", "who wrote it")).toBe(true);
    expect(bandKeys(shinglesOf("?"))).toEqual([]);
  });
});
