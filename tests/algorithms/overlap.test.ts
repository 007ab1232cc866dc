import { describe, expect, it } from "vitest";
import { copiedShares } from "../../src/algorithms/overlap.js";

const EVIDENCE = ["Ada was born in Oslo.", "Oslo lies in Norway."];
const DOCUMENT = ["Bo was born in Rome. Ada was born in Oslo. Rome lies in Italy. Oslo lies in Norway."];

describe("copied shares", () => {
  it("tell the evidence from the rest of the document, by the response's own 3-grams of words", () => {
    // ada was born · was born in · born in oslo · in oslo and · oslo and bo · and bo was · bo was born · was born in · born in rome
    const response = "Ada was born in Oslo, and Bo was born in Rome";
    expect(copiedShares([response], EVIDENCE, DOCUMENT)).toEqual([{ evidence: 4 / 9, distractors: 2 / 9 }]);
  });

  it("do not count words across two sentences of evidence, nor across two texts", () => {
    expect(copiedShares(["in Oslo Oslo lies"], EVIDENCE, ["in Oslo Oslo", "lies"])).toEqual([
      { evidence: 0, distractors: 0.5 },
    ]);
  });

  it("leave out what is not known: the distractors without a document, and short responses", () => {
    expect(copiedShares(["Ada was born", "Ada was", ""], EVIDENCE, null)).toEqual([
      { evidence: 1, distractors: null },
      null,
      null,
    ]);
  });
});
