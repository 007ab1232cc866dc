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
  const rollbacks: string[] = [];
  system.facts$.subscribe((fact) => {
    if (fact.type === "run.rolledBack") rollbacks.push(fact.data.reason);
  });
  await system.start();
  // A run that trained nothing fails at its end.
  await system.done.catch(() => undefined);
  return { seen, metrics, rollbacks };
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
    let asked = 0;
    const { seen, rollbacks } = await idleRun(({ step }) =>
      step === 2 && asked++ === 0 ? { action: "rollback", reason: "nothing is right any more" } : { action: "commit" },
    );
    expect(rollbacks).toEqual(["nothing is right any more"]);
    expect(seen.map(({ step }) => step)).toEqual([1, 2, 2]);
  });
});
