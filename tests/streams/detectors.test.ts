/** What stands out in the numbers of a step. */
import { describe, expect, it } from "vitest";
import type { MetricValues } from "../../src/contracts/metrics.js";
import { contributionsOfTokens, culpritsOf } from "../../src/streams/telemetry/contributions.js";
import { findingsOf, withStep } from "../../src/streams/telemetry/detection.js";
import type { DetectionOptions } from "../../src/streams/telemetry/detection-options.js";
import { NO_HISTORIES } from "../../src/streams/telemetry/history.js";
import { advantageLimitOf, mismatchLimitOf } from "../../src/streams/telemetry/limits.js";

const OPTIONS: DetectionOptions = {
  ...{ window: 20, z: 6, klLimit: 0.5, entropyLow: 0.01, entropyHigh: 6, mismatchLimit: 0.01 },
  ...{ truncatedShare: 0.95, staleShare: 0.5, advantageLimit: 20, judgeFailureShare: 0.1, judgeSeconds: 15 },
};

/** Numbers of a healthy step, with a little noise that repeats every five steps. */
function calm(step: number): MetricValues {
  const noise = step % 5;
  return {
    "kl/update": 0.004 * (1 + 0.2 * noise),
    "kl/ref": 0.02 + 0.001 * noise,
    "entropy/mean": 0.5 + 0.02 * noise,
    "gradient/norm": 1 + 0.1 * noise,
    "advantage/max_abs": 2 + 0.1 * noise,
    "optimiser/learning_rate": 3e-4,
    "response/length_mean": 30 + noise,
    "response/truncated_share": 0,
    "response/cut_short_share": 0,
    "reward/unshaped_mean": 0.4 + 0.02 * noise,
    "reward/rule_judge_agreement": 0.9 + 0.01 * noise,
    "response/evidence_overlap": 0.5 + 0.01 * noise,
    mismatch_abs: 2e-4,
    "ratio/max": 1,
    "reward/invalid": 0,
    "group/stale_dropped_share": 0,
  };
}

/** What is found in each step of a series; steps are of phase 1 where nothing else is said. */
function series(
  steps: readonly MetricValues[],
  phaseOf: (index: number) => number = () => 1,
  options: DetectionOptions = OPTIONS,
) {
  let histories = NO_HISTORIES;
  return steps.map((values, index) => {
    const step = { phase: phaseOf(index), values };
    const found = findingsOf(step, histories, options);
    histories = withStep(histories, step, options);
    return found;
  });
}

const healthy = (count: number, from = 0) => Array.from({ length: count }, (_, i) => calm(from + i));

/** Rules and metrics found in a step that follows twenty healthy ones. */
function afterCalm(values: MetricValues) {
  const found = series([...healthy(20), { ...calm(20), ...values }]);
  expect(found.slice(0, 20).flat()).toEqual([]);
  return found[20] ?? [];
}

const rulesOf = (values: MetricValues) => afterCalm(values).map(({ rule, level }) => `${rule} ${level}`);

describe("a healthy series", () => {
  it("has no finding in 400 steps, nor where a phase moves every level", () => {
    expect(series(healthy(400)).flat()).toEqual([]);
    const longer = healthy(100).map((values) => ({
      ...values,
      "response/length_mean": 1.8 * (values["response/length_mean"] ?? 0),
      "entropy/mean": 0.15 + (values["entropy/mean"] ?? 0),
      "gradient/norm": 3 * (values["gradient/norm"] ?? 0),
      "reward/unshaped_mean": (values["reward/unshaped_mean"] ?? 0) - 0.25,
    }));
    expect(series([...healthy(100), ...longer], (index) => (index < 100 ? 1 : 2)).flat()).toEqual([]);
  });
});

describe("a jump against the steps before", () => {
  it.each<[string, MetricValues, string]>([
    ["the KL of the update", { "kl/update": 0.45 }, "kl_spike warn"],
    ["the KL to the reference", { "kl/ref": 2.2 }, "kl_spike warn"],
    ["the gradient's norm", { "gradient/norm": 40 }, "gradient_spike warn"],
    ["the advantages", { "advantage/max_abs": 19 }, "advantage_spike warn"],
    ["the learning rate", { "optimiser/learning_rate": 3e-2 }, "step_size warn"],
    ["the response length", { "response/length_mean": 90 }, "length_explosion warn"],
    ["the mismatch", { mismatch_abs: 5e-3 }, "mismatch_spike warn"],
    ["entropy upwards", { "entropy/mean": 1.02 }, "entropy_spike warn"],
    ["entropy downwards", { "entropy/mean": 0.2 }, "entropy_spike warn"],
    ["entropy by far", { "entropy/mean": 2 }, "entropy_divergence error"],
  ])("of %s is found", (_, values, rule) => {
    expect(rulesOf(values)).toEqual([rule]);
  });

  it("says the value, the level before it and the robust z-score", () => {
    const [found] = afterCalm({ "entropy/mean": 1.02 });
    expect(found).toMatchObject({ metric: "entropy/mean", value: 1.02, threshold: 6, changed: true });
    // Median 0.54; the spread is less than the least that is believed, 0.1: ln(1.02 / 0.54) / 0.1.
    expect(found?.z).toBeCloseTo(6.36, 2);
    expect(found?.text).toBe("entropy is 1.02 nats, after 0.54: robust z-score 6.4");
  });

  it("is none where it is too small to matter, or downwards", () => {
    expect(rulesOf({ "kl/update": 0.35 })).toEqual([]);
    expect(rulesOf({ "kl/update": 0 })).toEqual([]);
    expect(rulesOf({ "kl/ref": 1.8 })).toEqual([]);
    expect(rulesOf({ "gradient/norm": 5 })).toEqual([]);
    expect(rulesOf({ "gradient/norm": 1e-3, "response/length_mean": 5 })).toEqual([]);
    expect(rulesOf({ "entropy/mean": 0.7 })).toEqual([]);
  });

  it("of the entropy downwards is none where the reward rises with it", () => {
    const at = (rewards: readonly number[]) =>
      series([
        ...healthy(20),
        ...rewards.map((reward, i) => ({
          ...calm(20 + i),
          "reward/unshaped_mean": reward,
          ...(i === 2 ? { "entropy/mean": 0.2 } : {}),
        })),
      ])[22]?.map(({ rule }) => rule);
    expect(at([0.6, 0.7, 0.8])).toEqual([]);
    expect(at([0.44, 0.44, 0.7])).toEqual(["entropy_spike"]);
  });

  it("of the mismatch counts from a third of the limit for the engine's precision on", () => {
    const at = (mismatch: number, mismatchLimit: number) =>
      series([...healthy(20), { ...calm(20), mismatch_abs: mismatch }], undefined, { ...OPTIONS, mismatchLimit })[20];
    expect(at(2e-3, 0.01)).toEqual([]);
    expect(at(2e-2, 0.1)).toEqual([]);
    expect(at(4e-2, 0.1)?.map(({ rule }) => rule)).toEqual(["mismatch_spike"]);
  });

  it("is judged from the first step of a new phase on, with twice the room", () => {
    const at = (norm: number) =>
      series([...healthy(20), { ...calm(20), "gradient/norm": norm }], (index) => (index < 20 ? 1 : 2))[20];
    // Scale 0.25: twice 6 · 0.25 is a factor of 20.
    expect(at(20)).toEqual([]);
    expect(at(30)?.map(({ rule }) => rule)).toEqual(["gradient_spike"]);
  });
});

describe("an absolute limit", () => {
  it.each<[MetricValues, string]>([
    [{ "kl/update": 0.5 }, "kl_limit error"],
    [{ "kl/old_k3": 0.6 }, "kl_limit error"],
    [{ mismatch_abs: 0.01 }, "mismatch error"],
    [{ "entropy/mean": 0.009 }, "entropy_collapse error"],
    [{ "entropy/mean": 6.1 }, "entropy_divergence error"],
    [{ "ratio/max": 2000 }, "ratio_limit warn"],
    [{ "advantage/max_abs": 2000 }, "advantage_limit error"],
    [{ "reward/invalid": 1 }, "reward_invalid warn"],
    [{ "group/stale_dropped_share": 0.6 }, "stale_flood warn"],
    [{ "response/truncated_share": 1 }, "all_truncated error"],
    [{ "response/cut_short_share": 0.06 }, "cut_short error"],
  ])("holds from the first step on: %o", (values, rule) => {
    expect(series([values])[0]?.map(({ rule, level }) => `${rule} ${level}`)).toEqual([rule]);
  });

  it("on the KL is that of the update where it is measured", () => {
    expect(series([{ "kl/update": 0.01, "kl/old_k3": 0.6 }])[0]).toEqual([]);
  });

  it("that is broken by a jump is one finding", () => {
    expect(rulesOf({ "kl/update": 0.6, "advantage/max_abs": 2000, mismatch_abs: 0.2 }).sort()).toEqual([
      "advantage_limit error",
      "kl_limit error",
      "mismatch error",
    ]);
  });

  it("finds every number that is not finite", () => {
    const values = { "loss/total": Number.NaN, "gradient/norm": Number.POSITIVE_INFINITY, "kl/update": 0.6 };
    expect(series([values])[0]?.map(({ rule, metric }) => `${rule} ${metric}`)).toEqual([
      "non_finite loss/total",
      "non_finite gradient/norm",
      "kl_limit kl/update",
    ]);
  });

  it("on truncation says whether the run was like that before", () => {
    expect(afterCalm({ "response/truncated_share": 1 })).toMatchObject([{ rule: "all_truncated", changed: true }]);
    const always = series(Array(20).fill({ "response/truncated_share": 1 }));
    expect(always.at(-1)).toMatchObject([{ rule: "all_truncated", changed: false }]);
  });

  it("leaves a policy alone that is certain because it is right", () => {
    expect(series([{ "entropy/mean": 0.001, "accuracy/mean": 0.97 }])[0]).toEqual([]);
  });
});

describe("entropy that falls over some steps", () => {
  const falling = (reward: (i: number) => number) =>
    series([
      ...healthy(12),
      ...Array.from({ length: 12 }, (_, i) => ({
        "entropy/mean": 0.5 * 0.85 ** (i + 1),
        "reward/unshaped_mean": reward(i),
      })),
    ])
      .slice(12)
      .map((found) => found.map(({ rule }) => rule).includes("entropy_collapse"));

  it("has collapsed where the reward does not rise", () => {
    // 0.5 · 0.85⁷ = 0.160 is below 0.3 · 0.537, the mean of the six steps that begin twelve steps before.
    expect(falling(() => 0.4).indexOf(true)).toBe(6);
  });

  it("is the policy's learning where the reward rises", () => {
    expect(falling((i) => 0.4 + 0.04 * i)).not.toContain(true);
  });
});

describe("a reward that is earned without the answer", () => {
  it("is found at once where the judge begins to call everything right", () => {
    const found = afterCalm({ "reward/unshaped_mean": 1, "reward/rule_judge_agreement": 0.4 });
    expect(found).toMatchObject([{ rule: "reward_hacking", level: "error", value: 0.4, changed: true }]);
    expect(found[0]?.text).toMatch(
      /agree for 0\.4 of the responses, after 0\.92, while the reward went from 0\.44 to 1/,
    );
  });

  it("is none where the reward falls with the agreement", () => {
    expect(rulesOf({ "reward/unshaped_mean": 0.1, "reward/rule_judge_agreement": 0.4 })).toEqual([]);
  });

  const drifting = (rise: number, fall: number, metric: "reward/rule_judge_agreement" | "response/evidence_overlap") =>
    series([
      ...healthy(15),
      ...Array.from({ length: 15 }, (_, i) => ({
        "reward/unshaped_mean": 0.44 + rise * i,
        [metric]: (metric === "response/evidence_overlap" ? 0.52 : 0.92) - fall * i,
      })),
    ]).flatMap((found, step) => found.map(({ rule, metric }) => `${step} ${rule} ${metric}`));

  it("is found as a trend: the reward rises while agreement or evidence falls", () => {
    expect(drifting(0.02, 0.02, "reward/rule_judge_agreement")[0]).toMatch(/^2\d reward_hacking reward\/rule/);
    expect(drifting(0.02, 0.02, "response/evidence_overlap")[0]).toMatch(/^2\d reward_hacking response\/evidence/);
  });

  it("is none where only one of them moves", () => {
    expect(drifting(0.02, 0, "reward/rule_judge_agreement")).toEqual([]);
    expect(drifting(0, 0.02, "response/evidence_overlap")).toEqual([]);
  });
});

describe("limits by engine and algorithm", () => {
  it("allow bfloat16 more than float32", () => {
    expect(mismatchLimitOf("float32", null)).toBe(0.01);
    expect(mismatchLimitOf("bfloat16", null)).toBe(0.1);
  });

  it.each([
    ["float32", "float32", 1e-3],
    ["float16", "float32", 0.03],
    ["float32", "bfloat16", 0.1],
    [null, "float32", 0.1],
    ["float32", null, 0.1],
  ] as const)(
    "allow a sampler in %s and a trainer in %s, of different builds, what the lower one needs",
    (sampler, trainer, limit) => {
      expect(mismatchLimitOf("float32", { sampler, trainer })).toBe(limit);
    },
  );

  it("allow five times the largest advantage of a group, and 20 at least", () => {
    expect(advantageLimitOf(8)).toBe(20);
    // 5 · 63 / 8.
    expect(advantageLimitOf(64)).toBe(39.375);
  });
});

describe("culprits", () => {
  const perToken = (rolloutId: string, values: number[]) => ({ rolloutId, perToken: values });

  it("are the five rollouts that contributed most to the metric, with their largest token", () => {
    const contributions = [
      ...contributionsOfTokens("kl/update", [
        perToken("a", [0, 3, 1]),
        perToken("b", [9]),
        perToken("c", [1, 1]),
        perToken("d", [0, 0, 0, 7]),
        perToken("e", [0.5]),
        perToken("f", [0.25]),
        perToken("none", []),
      ]),
      { rolloutId: "other", contribution: 99, tokenIndex: 0, metric: "entropy/mean" as const },
    ];
    expect(culpritsOf(contributions, "kl/update", false)).toEqual([
      { rolloutId: "b", contribution: 9, tokenIndex: 0 },
      { rolloutId: "d", contribution: 7, tokenIndex: 3 },
      { rolloutId: "a", contribution: 4, tokenIndex: 1 },
      { rolloutId: "c", contribution: 2, tokenIndex: 0 },
      { rolloutId: "e", contribution: 0.5, tokenIndex: 0 },
    ]);
  });

  it("are those of least contribution for a collapse, and a contribution of NaN comes first either way", () => {
    const contributions = [
      { rolloutId: "high", contribution: 2, tokenIndex: 0 },
      { rolloutId: "low", contribution: 0.001, tokenIndex: 4 },
      { rolloutId: "nan", contribution: Number.NaN, tokenIndex: 1 },
    ];
    const ids = (smallestFirst: boolean) =>
      culpritsOf(contributions, "entropy/mean", smallestFirst).map(({ rolloutId }) => rolloutId);
    expect(ids(true)).toEqual(["nan", "low", "high"]);
    expect(ids(false)).toEqual(["nan", "high", "low"]);
  });
});
