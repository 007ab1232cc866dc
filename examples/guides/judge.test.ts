import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { createFakeJudge, describeJudge, describeRewardActor, exampleRollout, exampleTask } from "weir-rl/testing";
import { createJudged, lenient } from "./judge.js";

const { signal } = new AbortController();

describe("the lenient judge", () => {
  it("calls a longer form of the gold answer equal", async () => {
    const verdict = await lenient.ask({ problem: "Who?", prediction: "Ada Lovelace", gold: "lovelace" }, { signal });
    assert.equal(verdict.kind === "verdict" && verdict.value, 1);
  });
  it("calls an empty answer wrong", async () => {
    const verdict = await lenient.ask({ problem: "Who?", prediction: "", gold: "Ada" }, { signal });
    assert.equal(verdict.kind === "verdict" && verdict.value, 0);
  });
});

describe("the reward that asks a judge", () => {
  it("passes on that the judge gave no verdict", async () => {
    const silent = createFakeJudge([{ kind: "timedOut", afterMs: 5, reason: "no answer" }]);
    const task = exampleTask();
    const outcome = await createJudged(() => silent as never).handle(
      { task, rollout: exampleRollout(task, "Paris") },
      { signal },
    );
    assert.equal(outcome.kind, "timedOut");
  });
});

describeJudge({ create: () => lenient, framework: { describe, it } });
describeRewardActor({ create: () => createJudged(() => lenient as never), framework: { describe, it } });
