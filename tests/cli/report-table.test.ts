import { describe, expect, it } from "vitest";
import { heldoutTable } from "../../src/cli/report-table.js";

const cells = (report: unknown) =>
  heldoutTable(report)
    ?.split("\n")
    .filter((line) => !line.includes("─"))
    .map((line) => line.trim().split(/ {2,}/));

describe("the table of held-out accuracy", () => {
  it("has a row per bucket and a column per stage", () => {
    const bucket = (correct: number) => ({ n: 8, correct, unscored: 0 });
    expect(
      cells({ heldout: { before: { "1-64": bucket(2) }, after: { "1-64": bucket(6), "65-128": bucket(1) } } }),
    ).toEqual([
      ["prompt tokens", "tasks", "before", "after"],
      ["1-64", "8", "25.0 %", "75.0 %"],
      ["65-128", "8", "–", "12.5 %"],
    ]);
  });

  it("averages over what was scored, and says how much was not", () => {
    const paper = { "1-64": { n: 8, correct: 1, unscored: 4 }, "65-128": { n: 2, correct: 0, unscored: 2 } };
    expect(cells({ heldout: { paper } })).toEqual([
      ["prompt tokens", "tasks", "scored", "unscored", "paper"],
      ["1-64", "8", "4", "4", "25.0 %"],
      ["65-128", "2", "0", "2", "–"],
    ]);
  });

  it("is null where nothing was evaluated", () => {
    expect(heldoutTable({ heldout: {} })).toBeNull();
    expect(heldoutTable(null)).toBeNull();
  });
});
