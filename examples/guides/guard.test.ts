import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { describeGuard, exampleEvidence } from "weir-rl/testing";
import { createNormGuard } from "./guard.js";

describeGuard({ create: createNormGuard, framework: { describe, it } });

describe("the norm guard", () => {
  it("skips two outliers in a row and goes back at the third", async () => {
    const guard = createNormGuard();
    const norms = [1, 1, 1, 1, 1, 50, 50, 50];
    const actions = [];
    for (const gradNorm of norms) {
      const { signal } = new AbortController();
      actions.push((await guard.judge(exampleEvidence({ gradNorm }), { signal })).action);
    }
    assert.deepEqual(actions.slice(4), ["commit", "skip", "skip", "rollback"]);
  });
});
