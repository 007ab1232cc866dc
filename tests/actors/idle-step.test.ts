/** An RL step without a gradient, because no group was worth training on, is shown to the guard all the same. */
import { describe, expect, it } from "vitest";
import type { Evidence, Verdict } from "../../src/contracts/guard.js";
import { fakeRun, rewardOf } from "./fake-run.js";

async function idleRun(verdictOf: (evidence: Evidence) => Verdict) {
  const seen: Evidence[] = [];
  const guard = {
    kind: "recording",
    specificationVersion: 1 as const,
    judge(evidence: Evidence): Verdict {
      seen.push(evidence);
      return verdictOf(evidence);
    },
  };
  const { system, metrics } = await fakeRun(
    { phases: [{ maxTokens: 300, steps: 2 }], dynamicSampling: { maxRounds: 1 } },
    rewardOf(() => 0.5),
    { actors: { guard } },
  );
  await system.start();
  const error = await system.done.catch((failure: Error) => failure);
  return { seen, metrics, error };
}

describe("a step whose groups all have equal rewards", () => {
  it("is judged by the numbers of its batch, and a skip of nothing changes nothing", async () => {
    const { seen, metrics } = await idleRun(() => ({ action: "skip", reason: "odd" }));
    expect(
      seen.map(({ step, miniBatch, tokens, gradNorm, groups }) => [step, miniBatch, tokens, gradNorm, groups]),
    ).toEqual([
      [1, 0, 0, null, []],
      [2, 0, 0, null, []],
    ]);
    expect(seen[0]?.values).toMatchObject({ "reward/unshaped_mean": 0.5, "group/kept": 0 });
    expect(metrics.flatMap(({ values }) => values["guard/skipped"] ?? [])).toEqual([0, 0]);
  });

  it("can be rolled back", async () => {
    const { error } = await idleRun(() => ({ action: "rollback", reason: "nothing is right any more" }));
    expect(String(error)).toContain("nothing is right any more");
  });
});
