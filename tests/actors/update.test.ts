/** Old log-probs of an update: what is asked of the trainer, and what is compared with the sampler. */
import { describe, expect, it } from "vitest";
import { type UpdateOptions, updatePolicy } from "../../src/actors/update/update.js";
import type { SampleGroup } from "../../src/contracts/group.js";
import type { PolicyBatch, Trainer } from "../../src/contracts/trainer.js";
import { WeirError } from "../../src/errors.js";
import { KL_METRIC, REFERENCE_METRIC } from "../../src/streams/telemetry/contributions.js";
import { createFakeTrainer, exampleRollout, exampleTask, fakeVersion } from "../../src/testing.js";
import { wholeSpan } from "../helpers/sampling.js";
import { PLAIN_UPDATE } from "../helpers/update-options.js";

const { signal } = new AbortController();
const POLICY = fakeVersion(0);
const OPTIONS: UpdateOptions = { ...PLAIN_UPDATE, policy: POLICY };

/** Group p has one sample, of p + 1 tokens with the sampler's log-prob −1. */
const groups: SampleGroup[] = [0, 1, 2].map((p) => {
  const tokenIds = new Array<number>(p + 1).fill(7);
  const rollout = {
    ...exampleRollout(exampleTask(), "x"),
    id: `r-${p}`,
    promptIds: [p],
    tokenIds,
    samplerLogprobs: tokenIds.map(() => -1),
    entropies: tokenIds.map(() => 0.5),
    policy: wholeSpan(tokenIds.length, POLICY.n, POLICY.sha256),
  };
  return {
    group: { id: `g-${p}`, task: exampleTask(), phase: 1, visit: 0, carried: false, sequence: p, members: [] },
    samples: [{ rollout, reward: 1, advantages: tokenIds.map(() => 1) }],
  };
});

/** Log-probs of group p: −2 − p from the policy's extra pass, −3 − p from the training pass, −4 − p from the reference. */
function recorder(fails: (batch: number) => boolean = () => false) {
  const scored: { readonly which: string; readonly prompts: readonly number[] }[] = [];
  const trained: PolicyBatch[] = [];
  const values = (
    from: number,
    all: readonly { readonly promptIds: readonly number[]; readonly lengths: number[] }[],
  ) =>
    all.map(({ promptIds, lengths }) =>
      lengths.map((length) => new Array<number>(length).fill(from - (promptIds[0] as number))),
    );
  const fake = createFakeTrainer();
  const trainer: Trainer = {
    ...fake,
    async logprobs(sequences, { which }) {
      scored.push({ which, prompts: sequences.map(({ promptIds }) => promptIds[0] as number) });
      const all = sequences.map(({ promptIds, completions }) => ({
        promptIds,
        lengths: completions.map((ids) => ids.length),
      }));
      const logprobs = values(which === "policy" ? -2 : -4, all);
      return { logprobs, entropies: logprobs };
    },
    async forwardBackward(batch, call) {
      trained.push(batch);
      if (fails(trained.length - 1)) throw new WeirError("WEIR_E_NON_FINITE", "loss is NaN");
      const all = batch.groups.map(({ promptIds, completions }) => ({
        promptIds,
        lengths: completions.map(({ tokenIds }) => tokenIds.length),
      }));
      return { ...(await fake.forwardBackward(batch, call)), logprobs: values(-3, all) };
    },
  };
  const old = () => trained.map((batch) => batch.groups.map(({ completions }) => completions[0]?.oldLogprobs ?? null));
  return { trainer, scored, old };
}

/** Mean |log π − sampler's| over the tokens of groups with these log-probs of the trainer. */
const gap = (rows: readonly (readonly [p: number, logprob: number])[]) => {
  const tokens = rows.reduce((sum, [p]) => sum + p + 1, 0);
  return rows.reduce((sum, [p, logprob]) => sum + (p + 1) * Math.abs(logprob + 1), 0) / tokens;
};

describe("old log-probs", () => {
  it("are those of the training pass itself where one optimiser step takes all", async () => {
    const { trainer, scored, old } = recorder();
    const { mismatch } = await updatePolicy(trainer, groups, OPTIONS, signal);
    expect(scored).toEqual([]);
    expect(old()).toEqual([[null, null, null]]);
    expect(mismatch.abs).toBeCloseTo(gap([0, 1, 2].map((p) => [p, -3 - p])), 12);
  });

  it("that may come from the activation cache are compared by one completion that is scored by itself", async () => {
    const { trainer, scored } = recorder();
    const checking: Trainer = { ...trainer, capabilities: { ...trainer.capabilities, reusesActivations: true } };
    const { mismatch, contributions } = await updatePolicy(checking, groups, OPTIONS, signal);
    // Tokens 7 six times in three completions: 42 mod 3 chooses the first, which the trainer scores −2.
    expect(scored).toEqual([{ which: "policy", prompts: [0] }]);
    expect(mismatch.abs).toBeCloseTo(gap([[0, -2]]), 12);
    expect(contributions.filter(({ metric }) => metric === KL_METRIC)).toHaveLength(3);
    // Groups that were scored before are compared whole.
    const mixed = await updatePolicy(checking, groups, { ...OPTIONS, epochs: 2 }, signal);
    expect(mixed.mismatch.abs).toBeCloseTo(gap([0, 1, 2].map((p) => [p, -2 - p])), 12);
  });

  it("are recomputed for the mini-batches after the first one", async () => {
    const { trainer, scored, old } = recorder();
    const { mismatch } = await updatePolicy(trainer, groups, { ...OPTIONS, miniBatchPrompts: 1 }, signal);
    expect(scored).toEqual([{ which: "policy", prompts: [1, 2] }]);
    expect(old()).toEqual([[null], [[-3, -3]], [[-4, -4, -4]]]);
    expect(mismatch.abs).toBeCloseTo(
      gap([
        [0, -3],
        [1, -3],
        [2, -4],
      ]),
      12,
    );
  });

  it("are recomputed for all where the batch is passed several times", async () => {
    const { trainer, scored, old } = recorder();
    await updatePolicy(trainer, groups, { ...OPTIONS, epochs: 2 }, signal);
    expect(scored).toEqual([{ which: "policy", prompts: [0, 1, 2] }]);
    const all = [[-2], [-3, -3], [-4, -4, -4]];
    expect(old()).toEqual([all, all]);
  });

  it("are the sampler's where it is trusted; only the first step's weights are compared with it", async () => {
    const { trainer, scored, old } = recorder();
    const options = { ...OPTIONS, oldLogprobs: "sampler" as const, miniBatchPrompts: 2 };
    const { mismatch } = await updatePolicy(trainer, groups, options, signal);
    expect(scored).toEqual([]);
    expect(old()).toEqual([[[-1], [-1, -1]], [[-1, -1, -1]]]);
    expect(mismatch.abs).toBeCloseTo(
      gap([
        [0, -3],
        [1, -4],
      ]),
      12,
    );
  });

  it("of a first step that failed are left out of what is compared, and nobody else's take their place", async () => {
    const { trainer } = recorder((batch) => batch === 0);
    const options = { ...OPTIONS, miniBatchPrompts: 1, referenceShare: 1 };
    const { mismatch, contributions, refused, updates } = await updatePolicy(trainer, groups, options, signal);
    expect(refused.flatMap((one) => one.groups).map(({ group }) => group.id)).toEqual(["g-0"]);
    expect(updates).toHaveLength(2);
    expect(mismatch.abs).toBeCloseTo(
      gap([
        [1, -3],
        [2, -4],
      ]),
      12,
    );
    for (const metric of [KL_METRIC, REFERENCE_METRIC]) {
      const ids = contributions.filter((one) => one.metric === metric).map(({ rolloutId }) => rolloutId);
      expect(ids).toEqual(["r-1", "r-2"]);
    }
    // The trainer's −2 − p against the reference's −4 − p: the same gap of 2 nats at each of the p + 1 tokens.
    const shares = contributions.filter(({ metric }) => metric === REFERENCE_METRIC);
    const perToken = shares.map(({ contribution, rolloutId }) => contribution / (Number(rolloutId.slice(2)) + 1));
    expect(perToken[0]).toBeGreaterThan(0);
    expect(perToken[1]).toBeCloseTo(perToken[0] as number, 12);
  });
});
