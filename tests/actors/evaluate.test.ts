/** Held-out evaluation: what counts as right, what is not scored, and the numbers of buckets. */
import { describe, expect, it } from "vitest";
import { bucketResult, evaluateHeldout, heldoutMetrics } from "../../src/actors/evaluation/evaluate.js";
import type { RewardOutcome } from "../../src/contracts/reward.js";
import { assertMetrics } from "../../src/streams/telemetry/metrics.js";
import { createFakeSampler, createScriptedReward, exampleTask } from "../../src/testing.js";

const BUCKETS = [
  { k: 1, minTokens: 0, maxTokens: 10 },
  { k: 2, minTokens: 10, maxTokens: 20 },
  { k: 3, minTokens: 20, maxTokens: 30 },
];
const failed: RewardOutcome = { kind: "failed", code: "WEIR_E_REWARD_SOURCE", reason: "no family" };

function evaluate(lengths: readonly number[], outcomes: readonly (number | RewardOutcome)[], correctAt: number) {
  const tasks = lengths.map((promptTokens, i) => ({
    task: exampleTask({ id: `t${i}`, promptTokens }),
    promptIds: [1],
  }));
  const options = {
    seed: 1,
    buckets: BUCKETS,
    tasksPerBucket: 10,
    promptsPerCall: 1,
    sampling: { temperature: 0, topP: 1, topK: 0, maxTokens: 4, stopIds: [0] },
    correctAt,
    rewardConcurrency: 1,
    rewardTimeoutMs: 1000,
    policy: null,
    sampleTimeoutMs: 1000,
    decode: () => "text",
  };
  const { signal } = new AbortController();
  return evaluateHeldout(createFakeSampler(), createScriptedReward(outcomes), tasks, options, signal);
}

describe("held-out evaluation", () => {
  it("counts a reward at or above the threshold as right and gives the mean reward", async () => {
    expect(await evaluate([5, 6, 7, 8], [0.5, 0.25, 0.75, -1], 0.5)).toEqual({
      "1-10": { n: 4, correct: 2, unscored: 0, meanReward: 0.125 },
    });
    expect(await evaluate([5, 6], [10, 4], 8)).toEqual({ "1-10": { n: 2, correct: 1, unscored: 0, meanReward: 7 } });
  });

  it("I1: accuracy is over the scored responses; a bucket without any has no number", async () => {
    const results = await evaluate([5, 6, 25, 26], [1, failed, failed, failed], 1);
    expect(results).toEqual({
      "1-10": { n: 2, correct: 1, unscored: 1, meanReward: 1 },
      "21-30": { n: 2, correct: 0, unscored: 2, meanReward: null },
    });
    expect(heldoutMetrics(results, BUCKETS)).toEqual({
      "heldout/bucket_1": 1,
      "heldout/reward_bucket_1": 1,
      "heldout/unscored_bucket_1": 0.5,
      "heldout/unscored_bucket_3": 1,
    });
  });

  it("numbers buckets by their phase, also where one before is empty", async () => {
    const values = heldoutMetrics(await evaluate([15, 25], [0, 1], 1), BUCKETS);
    expect(values).toMatchObject({ "heldout/bucket_2": 0, "heldout/bucket_3": 1 });
    expect(values).not.toHaveProperty("heldout/bucket_1");
    expect(() => assertMetrics(values)).not.toThrow();
  });

  it("takes the mean over the scored responses alone", () => {
    expect(bucketResult([null, 0.2, 0.4, null], 0.3)).toEqual({
      n: 4,
      correct: 1,
      unscored: 2,
      // (0.2 + 0.4) / 2 in float64
      meanReward: 0.30000000000000004,
    });
  });
});
