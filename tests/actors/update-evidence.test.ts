/** What an update measures of itself: the KL of its steps, numbers per token, what the guard is shown, what a rollback throws away. */
import { describe, expect, it } from "vitest";
import { judgedOf } from "../../src/actors/guard/guard.js";
import { checkedPart } from "../../src/actors/parts/checked-parts.js";
import { measuredGroups } from "../../src/actors/update/measured-groups.js";
import { type UpdateOptions, undoneStepOf, updatePolicy } from "../../src/actors/update/update.js";
import type { SampleGroup } from "../../src/contracts/group.js";
import type { BatchEvidence, Evidence, Guard, Preparation, Verdict } from "../../src/contracts/guard.js";
import type { PolicyBatch, Trainer } from "../../src/contracts/trainer.js";
import { WeirError } from "../../src/errors.js";
import { lossSettings } from "../../src/losses/settings.js";
import { createFakeTrainer, exampleRollout, exampleTask, fakeVersion } from "../../src/testing.js";
import { TEST_LOSS } from "../helpers/engines.js";
import { wholeSpan } from "../helpers/sampling.js";
import { PLAIN_UPDATE } from "../helpers/update-options.js";

const { signal } = new AbortController();
const POLICY = fakeVersion(0);

/** Group p has a good and a bad response of two tokens; the sampler's log-probs are those of the trainer before the step. */
function groupOf(p: number, advantages: readonly number[] = [2, -1], promptTokens = 5): SampleGroup {
  const samples = advantages.map((advantage, g) => {
    const rollout = {
      ...exampleRollout(exampleTask(), "x"),
      id: `r-${p}-${g}`,
      promptIds: [p],
      tokenIds: [7 + p, 9 + g],
      samplerLogprobs: [-1, -2],
      entropies: [0.5, 0.5],
      policy: wholeSpan(2, POLICY.n, POLICY.sha256),
    };
    return { rollout, reward: advantage > 0 ? 1 : 0, advantages: [advantage, advantage] };
  });
  const task = { ...exampleTask(), promptTokens };
  const group = { id: `g-${p}`, task, phase: 1, visit: 0, carried: false, sequence: p, members: [] };
  return { group, samples };
}
const GROUPS = [0, 1, 2, 3].map((p) => groupOf(p));

/** Gives −1, −2 before steps; each optimiser step adds 0.1 nats to first tokens of the response g = 0. References: −1.5, −2. */
function movingTrainer() {
  const fake = createFakeTrainer();
  const batches: PolicyBatch[] = [];
  const scored: { readonly which: string; readonly prompts: readonly number[] }[] = [];
  let steps = 0;
  let before = 0;
  const row = (g: number) => [-1 + (g === 0 ? 0.1 * steps : 0), -2];
  const trainer: Trainer = {
    ...fake,
    async forwardBackward(batch, call) {
      batches.push(batch);
      const metrics = await fake.forwardBackward(batch, call);
      return { ...metrics, logprobs: batch.groups.map(({ completions }) => completions.map((_, g) => row(g))) };
    },
    async optimStep(config, call) {
      before = steps;
      steps++;
      return fake.optimStep(config, call);
    },
    async reviseStep(share, call) {
      steps = before + share * (steps - before);
      await fake.reviseStep?.(share, call);
    },
    async logprobs(groups, { which }) {
      scored.push({ which, prompts: groups.map(({ promptIds }) => promptIds[0] as number) });
      const logprobs = groups.map(({ completions }) =>
        completions.map((_, g) => (which === "reference" ? [-1.5, -2] : row(g))),
      );
      return { logprobs, entropies: logprobs };
    },
  };
  return { trainer, batches, scored };
}

const LOSS = { ...TEST_LOSS, name: "grpo", settings: lossSettings("grpo"), aggregation: "token-mean" } as const;
const OPTIONS: UpdateOptions = {
  ...PLAIN_UPDATE,
  policy: POLICY,
  loss: LOSS,
  klShare: 1,
  known: {
    ...PLAIN_UPDATE.known,
    values: { "reward/mean": 0.5 },
    phases: [
      { k: 1, minTokens: 0, maxTokens: 10 },
      { k: 2, minTokens: 10, maxTokens: 20 },
    ],
  },
};
const guardOf = (judge: (evidence: Evidence) => Verdict, over: Partial<Guard> = {}): Guard => ({
  kind: "test",
  specificationVersion: 1,
  judge,
  ...over,
});
const moved = Math.exp(0.1) - 0.1 - 1;

describe("the KL of an update", () => {
  it("compares the policy after each optimiser step with the one of its gradient, on whole groups", async () => {
    const { trainer, scored } = movingTrainer();
    const { values, updates } = await updatePolicy(trainer, GROUPS, { ...OPTIONS, klShare: 0.5 }, signal);
    expect(scored).toEqual([{ which: "policy", prompts: expect.any(Array) }]);
    expect(scored[0]?.prompts).toHaveLength(2);
    // Of four tokens of a group one has moved.
    expect(values["kl/update"]).toBeCloseTo(moved / 4, 12);
    expect(values["kl/update_k1"]).toBeCloseTo(-0.1 / 4, 12);
    expect(values["kl/update_max"]).toBeCloseTo(moved, 12);
    expect(values["kl/update_se"]).toBeGreaterThan(0);
    expect(updates[0]?.kl?.tokens).toBe(8);
  });

  it("is split by length, and absent where nothing is measured or the guard has skipped everything", async () => {
    const long = [groupOf(0, [2, -1], 15), groupOf(1, [2], 5)];
    const { values } = await updatePolicy(movingTrainer().trainer, long, OPTIONS, signal);
    expect(values["kl/update_bucket_1"]).toBeCloseTo(moved / 2, 12);
    expect(values["kl/update_bucket_2"]).toBeCloseTo(moved / 4, 12);
    const off = await updatePolicy(movingTrainer().trainer, GROUPS, { ...OPTIONS, klShare: 0 }, signal);
    expect(off.values).not.toHaveProperty("kl/update");
    expect(off.klSeconds).toBeNull();
    const guard = guardOf(() => ({ action: "skip", reason: "no" }));
    const skipped = await updatePolicy(movingTrainer().trainer, GROUPS, { ...OPTIONS, guard, trial: true }, signal);
    expect(skipped.values).not.toHaveProperty("kl/update");
    expect(skipped.rollouts.get("r-0-0")?.tokens?.klUpdate).toBeNull();
    expect(skipped.values).toMatchObject({ "guard/skipped": 1, "guard/shrunk": 0 });
  });

  it("is averaged over the optimiser steps of mini-batches and epochs", async () => {
    const { trainer } = movingTrainer();
    const { values, updates } = await updatePolicy(trainer, GROUPS, { ...OPTIONS, miniBatchPrompts: 2 }, signal);
    expect(updates.map(({ kl }) => kl?.k3)).toEqual([
      expect.closeTo(moved / 4, 12),
      // Against the policy of its own gradient, which the first step has moved already.
      expect.closeTo(moved / 4, 12),
    ]);
    expect(values["kl/update"]).toBeCloseTo(moved / 4, 12);
  });

  it("I12: is measured on groups that their tokens choose, at least one, in any order", () => {
    const tokens = Array.from({ length: 40 }, (_, p) => ({ promptIds: [p], completions: [[p, 1, 2], [p + 1]] }));
    const chosen = (list: typeof tokens, share: number) =>
      measuredGroups(list, share)
        .map((p) => list[p]?.promptIds[0] as number)
        .sort((a, b) => a - b);
    const some = chosen(tokens, 0.2);
    expect(some).toHaveLength(8);
    expect(chosen([...tokens].reverse(), 0.2)).toEqual(some);
    expect(some).not.toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect(chosen(tokens, 0.001)).toHaveLength(1);
    expect(chosen(tokens, 1)).toHaveLength(40);
    expect(measuredGroups(tokens, 0)).toEqual([]);
    expect(measuredGroups([], 0.5)).toEqual([]);
  });
});

describe("numbers per token", () => {
  it("are ratio, advantage, share of the loss, KL of the step and KL to the reference", async () => {
    const { trainer } = movingTrainer();
    const options = { ...OPTIONS, referenceShare: 1, oldLogprobs: "sampler" } as const;
    const given = [groupOf(0)];
    const { rollouts, values, contributions } = await updatePolicy(trainer, given, options, signal);
    const good = rollouts.get("r-0-0");
    // Four tokens with |A| of 2, 2, 1, 1 at ratio 1: parts −2/4, −2/4, 1/4, 1/4, of a sum of 6/4.
    expect(good?.tokens).toEqual({
      advantages: [2, 2],
      ratios: [1, 1],
      lossShares: [expect.closeTo(-1 / 3, 12), expect.closeTo(-1 / 3, 12)],
      klUpdate: [expect.closeTo(moved, 12), 0],
    });
    expect(rollouts.get("r-0-1")?.tokens?.lossShares).toEqual([expect.closeTo(1 / 6, 12), expect.closeTo(1 / 6, 12)]);
    // k3 of −1 against −1.5: e^−0.5 + 0.5 − 1.
    const k3 = Math.exp(-0.5) - 0.5;
    expect(good?.klRef).toEqual([expect.closeTo(k3, 12), 0]);
    expect(values["kl/ref_bucket_1"]).toBeCloseTo(k3 / 2, 12);
    expect(values["kl/ref_se"]).toBeCloseTo(0, 12);
    expect(values).toMatchObject({ "advantage/max_abs": 2, "advantage/negative_token_share": 0.5, "reward/mean": 0.5 });
    const top = (metric: string) =>
      contributions.filter((one) => one.metric === metric).sort((a, b) => b.contribution - a.contribution)[0];
    expect(top("kl/update")).toMatchObject({
      rolloutId: "r-0-0",
      tokenIndex: 0,
      contribution: expect.closeTo(moved, 12),
    });
    expect(top("gradient/norm")).toMatchObject({ rolloutId: "r-0-0", contribution: expect.closeTo(1, 12) });
    expect(top("advantage/max_abs")).toMatchObject({ rolloutId: "r-0-0", contribution: 2 });
  });

  it("include the reference on a share of each mini-batch's groups, and give the trainer none without a KL term", async () => {
    const { trainer, batches, scored } = movingTrainer();
    const options = { ...OPTIONS, klShare: 0, referenceShare: 0.5, miniBatchPrompts: 2 };
    const { values, updates, rollouts } = await updatePolicy(trainer, GROUPS, options, signal);
    const asked = scored.filter(({ which }) => which === "reference").flatMap(({ prompts }) => prompts);
    expect(asked).toHaveLength(2);
    expect(asked.filter((p) => p < 2)).toHaveLength(1);
    const refs = batches.flatMap(({ groups }) => groups.flatMap(({ completions }) => completions));
    expect(refs.map(({ refLogprobs }) => refLogprobs)).toEqual(new Array(8).fill(null));
    // One token in four is at −1 against −1.5, in the second gradient at −0.9.
    const kl = (d: number) => (Math.exp(-d) + d - 1) / 4;
    expect(updates.map(({ klRef }) => klRef)).toEqual([
      expect.closeTo(2 * kl(0.5), 12),
      expect.closeTo(kl(0.6) + kl(0.5), 12),
    ]);
    expect(values["kl/ref"]).toBeCloseTo((3 * kl(0.5) + kl(0.6)) / 2, 12);
    const known = [...rollouts].filter(([, { klRef }]) => klRef !== null).map(([id]) => id);
    expect(known.sort()).toEqual(asked.flatMap((p) => [`r-${p}-0`, `r-${p}-1`]).sort());
  });

  it("leave the reference to the trainer where the loss has a KL term", async () => {
    const { trainer, batches } = movingTrainer();
    const loss = { ...LOSS, klCoefficient: 0.1 };
    await updatePolicy(trainer, GROUPS, { ...OPTIONS, loss, referenceShare: 1 }, signal);
    for (const { completions } of batches[0]?.groups ?? [])
      expect(completions.map(({ refLogprobs }) => refLogprobs)).toEqual([
        [-1.5, -2],
        [-1.5, -2],
      ]);
  });

  it("I1: are null for tokens of weight 0, and for responses of a gradient that is not finite", async () => {
    const correction = {
      importance: null,
      rejection: { level: "token", estimator: "k1", lower: 0.5, upper: 2 },
    } as const;
    const [one] = [groupOf(0)] as [SampleGroup];
    const odd = {
      ...one,
      samples: one.samples.map((sample) => ({
        ...sample,
        rollout: { ...sample.rollout, samplerLogprobs: [-1, -9] },
      })),
    };
    const { rollouts } = await updatePolicy(movingTrainer().trainer, [odd], { ...OPTIONS, correction }, signal);
    expect(rollouts.get("r-0-0")?.tokens).toMatchObject({
      advantages: [2, null],
      ratios: [1, null],
      lossShares: [expect.any(Number), null],
      klUpdate: [expect.any(Number), null],
    });
    const { trainer } = movingTrainer();
    const broken: Trainer = {
      ...trainer,
      forwardBackward: async () => {
        throw new WeirError("WEIR_E_NON_FINITE", "loss is NaN", { metric: "loss" });
      },
    };
    const result = await updatePolicy(broken, [groupOf(0)], OPTIONS, signal);
    expect(result.rollouts.get("r-0-0")).toMatchObject({ tokens: null, klRef: null });
    expect(result.refused).toMatchObject([{ cause: "non_finite", miniBatch: 0, loss: null, gradNorm: null }]);
  });

  it("I15: name the response whose advantages are 1,000 times those of the others, also where its step is thrown away", async () => {
    const given = [groupOf(0), groupOf(1), groupOf(2, [2000, -1]), groupOf(3)];
    const guard = guardOf(() => ({ action: "skip", reason: "no" }));
    const { contributions } = await updatePolicy(movingTrainer().trainer, given, { ...OPTIONS, guard }, signal);
    for (const metric of ["gradient/norm", "advantage/max_abs"]) {
      const ranked = contributions
        .filter((one) => one.metric === metric)
        .sort((a, b) => b.contribution - a.contribution);
      expect(ranked[0]?.rolloutId, metric).toBe("r-2-0");
      expect(ranked[0]?.contribution).toBeGreaterThan(100 * (ranked[1]?.contribution ?? 0));
    }
  });

  it("I15: name the response whose sampler differs, by the gap that mismatch_abs is made of", async () => {
    const given = [groupOf(0), groupOf(1)];
    const odd = given.map((group, p) => ({
      ...group,
      samples: group.samples.map((sample, g) => ({
        ...sample,
        rollout: { ...sample.rollout, samplerLogprobs: p === 1 && g === 1 ? [-1, -2.4] : [-1.001, -2] },
      })),
    }));
    const { contributions, values } = await updatePolicy(movingTrainer().trainer, odd, OPTIONS, signal);
    const ranked = contributions.filter(({ metric }) => metric === "mismatch_abs");
    expect(ranked.sort((a, b) => b.contribution - a.contribution)[0]).toMatchObject({
      rolloutId: "r-1-1",
      tokenIndex: 1,
      contribution: expect.closeTo(0.4, 12),
    });
    expect(values.mismatch_abs).toBeCloseTo((0.4 + 3 * 0.001) / 8, 12);
  });
});

describe("what the guard is shown", () => {
  it("are the batch's metrics with those of the gradient, and the trial's KL", async () => {
    const seen: Evidence[] = [];
    const guard = guardOf((evidence) => {
      seen.push(evidence);
      return { action: "commit" };
    });
    const { trainer } = movingTrainer();
    await updatePolicy(trainer, GROUPS, { ...OPTIONS, guard, trial: true, miniBatchPrompts: 2 }, signal);
    expect(seen).toHaveLength(2);
    for (const { values, trial } of seen) {
      expect(values).toMatchObject({
        "reward/mean": 0.5,
        mismatch_abs: 0,
        "advantage/max_abs": 2,
        "ratio/max": 1,
      });
      expect(values).not.toHaveProperty("gradient/applied");
      expect(trial?.k3).toBeCloseTo(moved / 4, 12);
    }
    // The second gradient is taken at the policy that the first step left: one token in four has the ratio e^0.1.
    const shares = seen.map(({ values }) => values["ratio/effective_share"]);
    const [sum, squares] = [3 + Math.exp(0.1), 3 + Math.exp(0.2)];
    expect(shares).toEqual([1, expect.closeTo((sum * sum) / (4 * squares), 12)]);
  });

  it("I7: undoes a step after which the trainer's log-probs are not finite", async () => {
    const { trainer } = movingTrainer();
    const revised: number[] = [];
    const broken: Trainer = {
      ...trainer,
      logprobs: async (groups) => {
        const logprobs = groups.map(({ completions }) => completions.map((ids) => ids.map(() => Number.NaN)));
        return { logprobs, entropies: logprobs };
      },
      reviseStep: async (share, call) => {
        revised.push(share);
        await trainer.reviseStep?.(share, call);
      },
    };
    const checked = checkedPart({ part: "trainer", name: "fake" }, broken, () => undefined);
    const { judged, values, refused } = await updatePolicy(checked, GROUPS, { ...OPTIONS, trial: true }, signal);
    expect(revised).toEqual([0]);
    expect(judged).toMatchObject([{ verdict: { action: "skip" }, evidence: { nonFinite: ["trial"], trial: null } }]);
    expect(refused).toMatchObject([{ cause: "non_finite" }]);
    expect(Object.values(values).every(Number.isFinite)).toBe(true);
    // Without a trial the step stays, and says nothing of its KL.
    const plain = await updatePolicy(checked, GROUPS, OPTIONS, signal);
    expect(plain.values).not.toHaveProperty("kl/update");
  });

  it("a step that it makes smaller is measured as what is left of it", async () => {
    const guard = guardOf(() => ({ action: "shrink", scale: 0.5, reason: "KL", rule: "kl_limit" }));
    const { trainer } = movingTrainer();
    const {
      values,
      judged,
      moved: groups,
    } = await updatePolicy(trainer, GROUPS, { ...OPTIONS, guard, trial: true }, signal);
    expect(values["kl/update"]).toBeCloseTo((Math.exp(0.05) - 0.05 - 1) / 4, 12);
    expect(judged).toMatchObject([{ verdict: { action: "shrink", scale: 0.5 }, evidence: { trial: { tokens: 16 } } }]);
    expect(values).toMatchObject({ "guard/skipped": 0, "guard/shrunk": 1, "gradient/applied": 1 });
    expect(groups.size).toBe(4);
  });
});

describe("a step that is rolled back", () => {
  it("hands over its metrics, its culprits and the exact batch, and leaves the weights alone", async () => {
    const guard = guardOf(({ miniBatch }) =>
      miniBatch === 1 ? { action: "rollback", reason: "too far", rule: "kl_limit" } : { action: "commit" },
    );
    const { trainer, batches } = movingTrainer();
    const options = { ...OPTIONS, guard, trial: true, miniBatchPrompts: 2, step: 7, phase: 3 };
    const error = await updatePolicy(trainer, GROUPS, options, signal).then(
      () => null,
      (thrown: unknown) => thrown,
    );
    expect(String(error)).toMatch(/WEIR_E_ROLLBACK: the guard rejected RL step 7, optimiser step 2: too far/);
    expect(judgedOf(error)).toMatchObject([{ verdict: { action: "rollback" }, evidence: { trial: { tokens: 8 } } }]);
    const undone = undoneStepOf(new WeirError("WEIR_E_GUARD", "after too many", {}, { cause: error }));
    expect(undone).toMatchObject({ step: 7, phase: 3, policyVersion: 0, kept: GROUPS });
    expect(undone?.values["kl/update"]).toBeCloseTo(moved / 4, 12);
    expect(undone?.values).toMatchObject({ "reward/mean": 0.5, "guard/skipped": 1 });
    expect(undone?.contributions.some(({ metric }) => metric === "kl/update")).toBe(true);
    expect(undone?.rollouts.get("r-2-0")?.tokens?.klUpdate?.[0]).toBeCloseTo(moved, 12);
    expect(undone?.refused).toHaveLength(1);
    expect(undone?.refused[0]).toMatchObject({ miniBatch: 1, cause: "guard", reason: "too far", gradNorm: 1, loss: 0 });
    expect(undone?.refused[0]?.batch).toBe(batches[1]);
    // No log is filled with it.
    expect(Object.keys((error as WeirError).details)).toEqual(["judged"]);
    expect(undoneStepOf(new Error("else"))).toBeNull();
  });
});

describe("what the guard prepares", () => {
  const prepared = (over: Partial<Preparation>, seen: BatchEvidence[] = []): Guard =>
    guardOf(() => ({ action: "commit" }), {
      prepare: (batch) => {
        seen.push(batch);
        return { maskNegatives: false, entropyCoefficient: null, reason: "test", ...over };
      },
    });

  it("is asked once per RL step, with what is known by then", async () => {
    const seen: BatchEvidence[] = [];
    const { trainer } = movingTrainer();
    const guard = prepared({}, seen);
    const { prepared: kept } = await updatePolicy(trainer, GROUPS, { ...OPTIONS, guard, miniBatchPrompts: 1 }, signal);
    expect(seen).toEqual([
      {
        step: 1,
        phase: 1,
        policyVersion: 0,
        values: { "reward/mean": 0.5 },
        entropyCoefficient: LOSS.entropyCoefficient,
      },
    ]);
    expect(kept).toEqual({ maskNegatives: false, entropyCoefficient: null, reason: "test" });
    const plain = await updatePolicy(movingTrainer().trainer, GROUPS, OPTIONS, signal);
    expect(plain.prepared).toBeNull();
  });

  it("takes responses with a negative advantage out of loss and denominators (AEPO, arXiv 2512.12967 Eq. 11)", async () => {
    const { trainer, batches } = movingTrainer();
    const given = [groupOf(0), groupOf(1, [-1, -1]), groupOf(2, [0, 3])];
    const options = { ...OPTIONS, guard: prepared({ maskNegatives: true }) };
    const { rejected, moved: groups, rollouts } = await updatePolicy(trainer, given, options, signal);
    const advantages = batches[0]?.groups.map(({ completions }) => completions.map((one) => one.advantages[0]));
    expect(advantages).toEqual([[2], [0, 3]]);
    expect(batches[0]?.denominators).toEqual({ tokens: 6, sequences: 3 });
    expect([...rejected].sort()).toEqual(["r-0-1", "r-1-0", "r-1-1"]);
    expect([...groups].sort()).toEqual(["g-0", "g-2"]);
    expect(rollouts.has("r-0-1")).toBe(false);
  });

  it("sets the entropy coefficient of the loss", async () => {
    const { trainer, batches } = movingTrainer();
    await updatePolicy(trainer, GROUPS, { ...OPTIONS, guard: prepared({ entropyCoefficient: -0.02 }) }, signal);
    expect(batches[0]?.loss).toEqual({ ...LOSS, entropyCoefficient: -0.02 });
  });
});
