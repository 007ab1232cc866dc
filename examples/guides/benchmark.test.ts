import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { describeBenchmark } from "weir-rl/testing";
import { passages } from "./benchmark.js";

const row = {
  question: "Where is Paris?",
  passages: ["Lyon lies on the Rhône.", "Paris is in France."],
  evidence: ["2"],
};
const { signal } = new AbortController();

describe("the benchmark of passages", () => {
  it("scores the F1 of the passages that are named", async () => {
    const item = passages.item(row, 0);
    const score = await passages.score(item, "Passages: 1, 2", { signal, judge: null, requireThink: false });
    assert.equal(score.kind === "scored" && score.value, 2 / 3);
  });
});

describeBenchmark({
  create: () => passages,
  row,
  right: "Passages: 2",
  wrong: "Passages: 1",
  framework: { describe, it },
});
