/** Rewards that are no 0 or 1, through the whole system: metrics, evidence of the curriculum, evaluation. */
import { describe, expect, it } from "vitest";
import { createPhasedCurriculum } from "../../src/actors/curriculum/curriculum.js";
import type { CurriculumActor, CurriculumStepEvidence } from "../../src/contracts/curriculum.js";
import type { RewardOutcome } from "../../src/contracts/reward.js";
import { fakeRun, rewardOf } from "./fake-run.js";

const failed: RewardOutcome = { kind: "failed", code: "WEIR_E_JUDGE", reason: "down" };

/** The built-in curriculum, noting the evidence it is told. */
function listening() {
  const evidence: CurriculumStepEvidence[] = [];
  const inner = createPhasedCurriculum({
    retrospective: { mode: "none", share: 0 },
    advance: { by: "steps", rewardThreshold: 0.7, klLimit: 0.1, calmSteps: 3, fallbackThreshold: 0 },
  });
  const curriculum: CurriculumActor = {
    ...inner,
    kind: "listening",
    decide(given) {
      evidence.push(given);
      return inner.decide(given);
    },
  };
  return { evidence, curriculum };
}

describe("rewards that are no 0 or 1", () => {
  it("reach a custom curriculum as mean reward under that name, accuracy under its own, before length shaping", async () => {
    const { evidence, curriculum } = listening();
    const values = [0.6, 0.2, 0.9, 0.1];
    const { system, metrics } = await fakeRun(
      {
        phases: [{ maxTokens: 300, steps: 2 }],
        // Responses of the fake sampler have 3 of 6 tokens; a buffer of 6 takes (3 − 0)/6 = 0.5 from each reward.
        reward: { correctAt: 0.5, overlong: { bufferTokens: 6, factor: 1 } },
      },
      rewardOf(({ rollout }) => values[rollout.sampleIndex] as number),
      { actors: { curriculum } },
    );
    await system.start();
    const { report } = await system.done;
    expect(evidence).toHaveLength(2);
    for (const { meanReward, accuracy, entropy } of evidence) {
      expect(meanReward).toBeCloseTo(0.45, 12);
      expect([accuracy, entropy]).toEqual([0.5, 0.5]);
    }
    const step = metrics.find((record) => "group/kept" in record.values)?.values;
    expect(step?.["reward/mean"]).toBeCloseTo(-0.05, 12);
    expect(step?.["reward/unshaped_mean"]).toBeCloseTo(0.45, 12);
    // Held-out responses are sample 0: reward 0.6, which is right at 0.5.
    expect(Object.values((report as { heldout: { rl: object } }).heldout.rl)).toEqual([
      { n: 4, correct: 4, unscored: 0, meanReward: 0.6 },
    ]);
  });

  it("I1: tell the curriculum null and not 0 for a step without a scored rollout, and the phase goes on by its count", async () => {
    const { evidence, curriculum } = listening();
    const { system, metrics, alerts } = await fakeRun(
      { phases: [{ maxTokens: 300, steps: 2 }] },
      rewardOf(({ rollout }) => (rollout.id.startsWith("s1-") ? failed : rollout.sampleIndex % 2)),
      { actors: { curriculum } },
    );
    await system.start();
    expect((await system.done).status).toBe("completed");
    expect(evidence[0]).toEqual({ step: 1, phase: 1, meanReward: null, accuracy: null, kl: null, entropy: 0.5 });
    expect(evidence[1]).toMatchObject({ step: 2, meanReward: 0.5, accuracy: 0.5, kl: 0 });
    const [first] = metrics.filter((record) => "group/kept" in record.values);
    expect(first?.values).not.toHaveProperty("reward/mean");
    expect(first?.values["reward/scored_share"]).toBe(0);
    expect(alerts.map(({ rule, step }) => [rule, step])).toEqual([["unscored", 1]]);
  });
});
