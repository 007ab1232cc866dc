import { beforeAll, describe, expect, it } from "vitest";
import { nearestRank } from "../../src/algorithms/statistics.js";
import type { AdvantageActor } from "../../src/contracts/advantage.js";
import type { Group, SampleGroup } from "../../src/contracts/group.js";
import type { PolicyMetrics } from "../../src/contracts/trainer.js";
import { denominatorsOf, miniBatches, trainGroups, withAdvantages } from "../../src/streams/batches.js";
import { bucketLabel, bucketOf } from "../../src/streams/buckets.js";
import { type BatchInput, batchFacts } from "../../src/streams/telemetry/batch-facts.js";
import { assertMetrics, isMetricName, type MetricValues } from "../../src/streams/telemetry/metrics.js";
import {
  costMetrics,
  type Mismatch,
  mismatchMetrics,
  mismatchOf,
  type StepCost,
  type UpdateFacts,
  updateMetrics,
} from "../../src/streams/telemetry/step-metrics.js";
import { exampleRollout, exampleTask } from "../../src/testing.js";

interface StepNumbers
  extends Pick<BatchInput, "groups" | "rounds" | "phases" | "correctAt">,
    Pick<StepCost, "kept" | "seconds" | "engine" | "controlRssBytes"> {
  readonly updates: readonly UpdateFacts[];
  readonly mismatch: Mismatch;
}

const SECONDS: StepCost["seconds"] = {
  ...{ step: 2, sample: 1, sampleCalls: 1.5, reward: 0.5, train: 0.5, publish: 0 },
  ...{ adopt: null, kl: null, held: 0 },
};

/** All metrics of a step with a reference policy. */
function stepMetrics({ updates, mismatch, ...given }: StepNumbers): MetricValues {
  const lengths = given.groups.flatMap(({ members }) => members.map(({ rollout }) => rollout.tokenIds.length));
  return {
    ...batchFacts({ ...given, dropped: [], maxLag: 0, maxTokens: 100, judgePrice: null }).values,
    ...updateMetrics(updates, given.kept),
    ...mismatchMetrics(mismatch),
    ...costMetrics({ ...given, sampledTokens: lengths.reduce((sum, length) => sum + length, 0) }),
  };
}

function group(rewards: readonly (number | null)[], lengths: readonly number[], id = "g", promptTokens = 5): Group {
  return {
    id,
    task: { ...exampleTask(), id: `task-${id}`, promptTokens },
    phase: 1,
    visit: 0,
    carried: false,
    sequence: 0,
    members: rewards.map((reward, g) => {
      const length = lengths[g] ?? 1;
      return {
        rollout: {
          ...exampleRollout(exampleTask(), "x"),
          id: `${id}-${g}`,
          sampleIndex: g,
          promptIds: [1, 2, 3],
          tokenIds: new Array<number>(length).fill(7),
          samplerLogprobs: new Array<number>(length).fill(-1),
          entropies: new Array<number>(length).fill(0.5),
          finish: "stop",
        },
        outcome:
          reward === null
            ? { kind: "timedOut", afterMs: 1, reason: "slow" }
            : { kind: "scored", value: reward, parts: {}, prediction: null },
        reward,
      };
    }),
  };
}

const actor = (handle: AdvantageActor["handle"]): AdvantageActor => ({ kind: "test", specificationVersion: 1, handle });
const centred = actor(({ rewards }) =>
  rewards.map((reward) => reward - rewards.reduce((a, b) => a + b, 0) / rewards.length),
);

const { signal } = new AbortController();
const samplesOf = async (one: Group, part: AdvantageActor) =>
  ((await withAdvantages([one], part, signal))[0] as SampleGroup).samples;

describe("samples of a group", () => {
  it("I1: leave out members without a score, in the baseline too", async () => {
    const samples = await samplesOf(group([1, null, 0], [2, 4, 1]), centred);
    expect(samples.map((sample) => [sample.rollout.id, sample.advantages])).toEqual([
      ["g-0", [0.5, 0.5]],
      ["g-2", [-0.5]],
    ]);
  });

  it("take per-token advantages as they are", async () => {
    const perToken = actor(({ lengths }) => lengths.map((length) => Array.from({ length }, (_, t) => t)));
    const samples = await samplesOf(group([1, 0], [3, 2]), perToken);
    expect(samples.map((sample) => sample.advantages)).toEqual([
      [0, 1, 2],
      [0, 1],
    ]);
  });

  it("refuse an advantage actor that returns another shape or a value that is not finite", async () => {
    await expect(
      samplesOf(
        group([1, 0], [1, 1]),
        actor(() => [1]),
      ),
    ).rejects.toThrow(/WEIR_E_SHAPE.*expected 2 members/);
    await expect(
      samplesOf(
        group([1, 0], [2, 1]),
        actor(() => [[1], [1]]),
      ),
    ).rejects.toThrow(/WEIR_E_SHAPE.*expected 2 tokens/);
    await expect(
      samplesOf(
        group([1, 0], [1, 1]),
        actor(() => [Number.NaN, 0]),
      ),
    ).rejects.toThrow(/WEIR_E_NON_FINITE/);
  });
});

describe("a mini-batch", () => {
  const groups: SampleGroup[] = [];
  beforeAll(async () => {
    const plain = [group([1, 0], [2, 3], "a"), group([0, 1], [1, 1], "b"), group([1, 0], [4, 1], "c")];
    groups.push(...(await withAdvantages(plain, centred, signal)));
  });

  it("is a consecutive slice; null takes everything", () => {
    expect(miniBatches(groups, 2).map((batch) => batch.map((one) => one.group.id))).toEqual([["a", "b"], ["c"]]);
    expect(miniBatches(groups, null)).toEqual([groups]);
    expect(miniBatches([], null)).toEqual([]);
  });

  it("I6: counts tokens and sequences before it is split", () => {
    expect(denominatorsOf(groups)).toEqual({ tokens: 12, sequences: 6 });
  });

  it("refuses log-probs that do not fit its tokens", () => {
    const old = groups.map((one) => one.samples.map((sample) => sample.rollout.samplerLogprobs));
    expect(trainGroups(groups, old, null)[1]?.completions[0]).toMatchObject({
      tokenIds: [7],
      oldLogprobs: [-1],
      refLogprobs: null,
    });
    expect(() => trainGroups(groups, old.slice(1), null)).toThrow(/WEIR_E_SHAPE/);
  });
});

describe("metrics of a step", () => {
  const metrics: PolicyMetrics = {
    loss: 0.5,
    pgLoss: 0.4,
    klRef: 0.2,
    klOldK1: 0.1,
    klOldK3: 0.3,
    entropy: 1,
    clipFraction: 0.25,
    clipFractionLower: 0,
    ratioMax: 1.5,
    tokens: 8,
    paddedTokens: 32,
    microBatches: 1,
    logprobs: [],
  };
  const phases = [
    { k: 1, minTokens: 0, maxTokens: 10 },
    { k: 2, minTokens: 10, maxTokens: 20 },
  ];

  it("are registered names with the expected numbers", async () => {
    const first = group([1, 0], [2, 4], "a", 5);
    const second = group([1, 1, null], [1, 1, 1], "b", 15);
    const values = stepMetrics({
      groups: [first, second],
      kept: await withAdvantages([first], centred, signal),
      rounds: 2,
      phases,
      correctAt: 1,
      updates: [{ metrics, gradNorm: 2, applied: true, kl: null, klRef: 0.2 }],
      mismatch: { k3: 1e-6, abs: 1e-3 },
      seconds: SECONDS,
      engine: { tensors: 10, rssBytes: 1000 },
      controlRssBytes: 2000,
    });
    expect(() => assertMetrics(values)).not.toThrow();
    // Scored rewards 1, 0, 1, 1: mean 3/4, sample variance 1/4. Prompt 3 + responses 2 + 4 of 32 computed positions are real.
    expect(values).toMatchObject({
      "reward/mean": 0.75,
      "reward/std": 0.5,
      "reward/scored_share": 0.8,
      "accuracy/bucket_1": 0.5,
      "accuracy/bucket_2": 1,
      "group/zero_variance_share": 0.5,
      "response/length_mean": 9 / 5,
      "kl/old_k3": 0.3,
      "kl/ref": 0.2,
      "gradient/norm": 2,
      "throughput/sampled_tokens_per_second": 9,
      "throughput/trained_tokens_per_second": 18,
      "padding/share": 1 - 9 / 32,
      mismatch_abs: 1e-3,
    });
  });

  /** A step without an update over these groups. */
  const withoutUpdate = (groups: readonly ReturnType<typeof group>[], correctAt: number) =>
    stepMetrics({
      groups,
      kept: [],
      rounds: 1,
      phases,
      correctAt,
      updates: [],
      mismatch: mismatchOf([], []),
      seconds: SECONDS,
      engine: { tensors: 10, rssBytes: 1000 },
      controlRssBytes: 2000,
    });

  it("I1: have no reward and no accuracy in a step without a scored rollout, and no KL without an update", () => {
    const values = withoutUpdate([group([null, null], [2, 3], "a", 5)], 1);
    expect(values["reward/scored_share"]).toBe(0);
    expect(values["response/length_mean"]).toBe(2.5);
    const absent = ["reward/mean", "reward/unshaped_mean", "reward/std", "accuracy/mean", "accuracy/bucket_1"];
    for (const name of [...absent, "kl/old_k3", "kl/ref", "mismatch_kl", "mismatch_abs", "group/carried_share"])
      expect(values).not.toHaveProperty(name);
  });

  it("count rewards of any scale as right from the threshold on, rounding errors forgiven", () => {
    expect(withoutUpdate([group([10, 4, -1, 7], [1, 1, 1, 1], "a", 5)], 7)).toMatchObject({
      "reward/mean": 5,
      "reward/unshaped_mean": 5,
      "accuracy/mean": 0.5,
      "accuracy/bucket_1": 0.5,
    });
    expect(withoutUpdate([group([0.7 + 0.1 + 0.1 + 0.1, 0.9], [1, 1], "a", 5)], 1)["accuracy/mean"]).toBe(0.5);
  });

  it("count groups of equal rewards whether they were dropped or kept", () => {
    const groups = [
      group([0.3, 0.3, null], [1, 1, 1], "a", 5),
      group([0, 1], [1, 1], "b", 5),
      group([null], [1], "c", 5),
      group([-2, -2], [1, 1], "d", 5),
    ];
    expect(withoutUpdate(groups, 1)["group/zero_variance_share"]).toBe(0.5);
  });

  it("compare sampler and trainer by k3 and by the absolute difference (I8)", () => {
    // d = 0.5: e^0.5 − 1.5 = 0.1487212707; mean over two tokens.
    const { k3, abs } = mismatchOf([[-1, -2]], [[-0.5, -2]]);
    expect(k3 as number).toBeCloseTo(0.1487212707 / 2, 9);
    expect(abs).toBe(0.25);
    expect(mismatchOf([], [])).toEqual({ k3: null, abs: null });
  });

  it("refuse unknown names and values that are not finite", () => {
    expect(isMetricName("accuracy/bucket_3")).toBe(true);
    expect(isMetricName("accuracy/bucket_<k>")).toBe(false);
    expect(isMetricName("reward/meen")).toBe(false);
    expect(() => assertMetrics({ "reward/meen": 1 })).toThrow(/WEIR_E_CONFIG/);
    expect(() => assertMetrics({ "reward/mean": Number.NaN })).toThrow(/WEIR_E_NON_FINITE/);
  });

  it("take the nearest rank as a quantile", () => {
    expect(nearestRank([5, 1, 3, 2, 4], 0.5)).toBe(3);
    expect(nearestRank([1, 2], 0.95)).toBe(2);
    expect(nearestRank([], 0.5)).toBe(0);
  });
});

describe("length buckets", () => {
  const buckets = [
    { k: 1, minTokens: 0, maxTokens: 10 },
    { k: 2, minTokens: 10, maxTokens: 20 },
  ];
  it("hold their upper bound and not their lower (Eq. 9)", () => {
    expect([0, 1, 10, 11, 20, 21].map((tokens) => bucketOf(tokens, buckets))).toEqual([null, 1, 1, 2, 2, null]);
    expect(buckets.map(bucketLabel)).toEqual(["1-10", "11-20"]);
  });
});
