/** Updates on samples of older policies: what the trainer is asked, and with which weights, denominators and log-probs. */
import { describe, expect, it } from "vitest";
import { RunLedger } from "../../src/actors/pipeline/run-ledger.js";
import { type UpdateOptions, updatePolicy } from "../../src/actors/update/update.js";
import type { SampleGroup } from "../../src/contracts/group.js";
import type { PolicySpan } from "../../src/contracts/policy-version.js";
import type { PolicyBatch, Trainer } from "../../src/contracts/trainer.js";
import { evaluateLoss } from "../../src/losses/evaluate.js";
import { policyLossNamed } from "../../src/losses/index.js";
import type { CorrectionOptions } from "../../src/losses/rollout-correction.js";
import { lossSettings } from "../../src/losses/settings.js";
import { KL_METRIC, MISMATCH_METRIC } from "../../src/streams/telemetry/contributions.js";
import { createFakeTrainer, exampleRollout, exampleTask, fakeVersion } from "../../src/testing.js";
import { PLAIN_UPDATE } from "../helpers/update-options.js";

const { signal } = new AbortController();
const POLICY = fakeVersion(1);
const TIS: CorrectionOptions = { importance: { level: "token", lower: null, upper: 2 }, rejection: null };
const OPTIONS: UpdateOptions = { ...PLAIN_UPDATE, maxLag: 1, correction: TIS };

const span = (n: number, start: number, end: number): PolicySpan => ({
  version: n,
  sha256: fakeVersion(n).sha256,
  start,
  end,
});
const STALE = [span(0, 0, 2)];
const FRESH = [span(1, 0, 2)];

/** Group p has one response of two tokens per entry: the sampler's log-probs and the spans that they are of. */
function groupsOf(...all: { readonly logprobs: readonly number[]; readonly policy: readonly PolicySpan[] }[][]) {
  return all.map((responses, p): SampleGroup => {
    const samples = responses.map(({ logprobs, policy }, g) => ({
      rollout: {
        ...exampleRollout(exampleTask(), "x"),
        id: `r-${p}-${g}`,
        promptIds: [p],
        tokenIds: [7, 8],
        samplerLogprobs: logprobs,
        entropies: [0.5, 0.5],
        policy,
      },
      reward: 1,
      advantages: [1, 1],
    }));
    const outcome = { kind: "scored", value: 1, parts: {}, prediction: null } as const;
    const members = samples.map(({ rollout }) => ({ rollout, outcome, reward: 1 }));
    const group = { id: `g-${p}`, task: exampleTask(), phase: 1, visit: 0, carried: false, sequence: p, members };
    return { group, samples };
  });
}

/** The trainer gives −1 for first and −2 for second tokens, whatever they are. */
function recorder() {
  const calls: string[] = [];
  const trained: PolicyBatch[] = [];
  const fake = createFakeTrainer({ n: 1 });
  const values = (completions: readonly unknown[]) => completions.map(() => [-1, -2]);
  const trainer: Trainer = {
    ...fake,
    async logprobs(groups, { which }) {
      calls.push(`logprobs ${which} ${groups.map(({ promptIds }) => promptIds[0]).join(",")}`);
      const logprobs = groups.map(({ completions }) => values(completions));
      return { logprobs, entropies: logprobs };
    },
    async forwardBackward(batch, call) {
      calls.push(`forwardBackward ${batch.groups.map(({ promptIds }) => promptIds[0]).join(",")}`);
      trained.push(batch);
      const metrics = await fake.forwardBackward(batch, call);
      return { ...metrics, logprobs: batch.groups.map(({ completions }) => values(completions)) };
    },
    async optimStep(config, call) {
      calls.push("optimStep");
      return fake.optimStep(config, call);
    },
  };
  return { trainer, calls, trained };
}

const weightsOf = (batch: PolicyBatch | undefined) =>
  batch?.groups.map(({ completions }) => completions.map(({ weights }) => weights));
const oldOf = (batch: PolicyBatch | undefined) =>
  batch?.groups.map(({ completions }) => completions.map(({ oldLogprobs }) => oldLogprobs));

describe("the decoupled objective", () => {
  it("scores all first, and gives each token π_old of the trainer and the weight π_old/π_sampler", async () => {
    const { trainer, calls, trained } = recorder();
    // π_old/π_sampler = e^(−1 + 1.5) and e^(−2 + 1).
    await updatePolicy(trainer, groupsOf([{ logprobs: [-1.5, -1], policy: STALE }]), OPTIONS, signal);
    expect(calls).toEqual(["logprobs policy 0", "forwardBackward 0", "optimStep"]);
    expect(oldOf(trained[0])).toEqual([[[-1, -2]]]);
    expect(weightsOf(trained[0])).toEqual([[[Math.exp(0.5), Math.exp(-1)]]]);
    expect(trained[0]).toMatchObject({ oldPolicy: null, denominators: { tokens: 2, sequences: 1 } });
  });

  it("has the value and the gradient that two tokens give by hand", () => {
    // Token 1: w = e^0.5, ρ = e^0.1, A = 2: −w·ρ·A. Token 2: w = e^−1, ρ = e^0.4 > 1.28, A = 1: clipped, −w·1.28, no gradient.
    const weights = [Math.exp(0.5) / 2, Math.exp(-1) / 2];
    const sequence = { logprobs: [-0.9, -1.6], old: [-1, -2], advantages: [2, 1], weights };
    const found = evaluateLoss(policyLossNamed("dapo"), [sequence], lossSettings("dapo"));
    const first = -Math.exp(0.5) * Math.exp(0.1) * 2;
    expect(found.value).toBeCloseTo((first - Math.exp(-1) * 1.28) / 2, 12);
    expect(found.coefficients[0]?.[0]).toBeCloseTo(first / 2, 12);
    expect(found.coefficients[0]?.[1]).toBe(0);
  });

  it("truncates weights (TIS), or takes tokens out of loss and denominators (IcePop)", async () => {
    const tokens = groupsOf([
      { logprobs: [-3, -2], policy: STALE },
      { logprobs: [-1, -2.5], policy: FRESH },
    ]);
    const tis = recorder();
    await updatePolicy(tis.trainer, tokens, OPTIONS, signal);
    expect(weightsOf(tis.trained[0])).toEqual([
      [
        [2, 1],
        [1, Math.exp(0.5)],
      ],
    ]);
    const cut = recorder();
    const icepop = { importance: { level: "token", lower: 0.5, upper: 5 }, rejection: null } as const;
    const { offPolicy } = await updatePolicy(cut.trainer, tokens, { ...OPTIONS, correction: icepop }, signal);
    expect(weightsOf(cut.trained[0])?.[0]?.[0]).toEqual([0, 1]);
    expect(cut.trained[0]?.denominators).toEqual({ tokens: 3, sequences: 2 });
    expect(offPolicy.correction).toMatchObject({ clippedShare: 0.25, rejectedShare: 0.25, weightMax: Math.exp(0.5) });
  });

  it("I6: counts no sequence that is rejected, and trains no group and no mini-batch without a token left", async () => {
    const { trainer, calls, trained } = recorder();
    const rejection = { level: "seq_sum", estimator: "k1", lower: 0.5, upper: 2 } as const;
    const given = groupsOf(
      [{ logprobs: [-9, -9], policy: STALE }],
      [
        { logprobs: [-1, -2], policy: STALE },
        { logprobs: [-9, -9], policy: STALE },
      ],
      [{ logprobs: [-9, -9], policy: STALE }],
      [{ logprobs: [-1, -2], policy: STALE }],
    );
    const options = { ...OPTIONS, correction: { importance: null, rejection }, miniBatchPrompts: 1 };
    const result = await updatePolicy(trainer, given, options, signal);
    expect(calls.filter((call) => call !== "optimStep")).toEqual([
      "logprobs policy 0,1,2,3",
      "forwardBackward 1",
      "forwardBackward 3",
    ]);
    expect(weightsOf(trained[0])).toEqual([
      [
        [1, 1],
        [0, 0],
      ],
    ]);
    expect(trained[0]?.denominators).toEqual({ tokens: 2, sequences: 1 });
    expect([...result.rejected].sort()).toEqual(["r-0-0", "r-1-1", "r-2-0"]);
    expect([...result.moved].sort()).toEqual(["g-1", "g-3"]);
  });

  it("trains nothing where all is rejected", async () => {
    const { trainer, calls } = recorder();
    const rejection = { level: "token", estimator: "k3", lower: 0.5, upper: 0.01 } as const;
    const correction = { importance: null, rejection };
    const given = groupsOf([{ logprobs: [-9, -9], policy: STALE }]);
    const result = await updatePolicy(trainer, given, { ...OPTIONS, correction }, signal);
    expect(calls).toEqual(["logprobs policy 0"]);
    expect(result).toMatchObject({ updates: [], refused: [], moved: new Set(), rejected: new Set(["r-0-0"]) });
    expect(result.offPolicy.correction).toMatchObject({ weightMean: null, effectiveShare: 0, rejectedShare: 1 });
  });

  it("keeps its weights and π_old over all epochs", async () => {
    const { trainer, calls, trained } = recorder();
    const given = groupsOf([{ logprobs: [-1.5, -1], policy: STALE }]);
    await updatePolicy(trainer, given, { ...OPTIONS, epochs: 2 }, signal);
    expect(calls.filter((call) => call.startsWith("logprobs"))).toHaveLength(1);
    expect(weightsOf(trained[1])).toEqual(weightsOf(trained[0]));
    expect(oldOf(trained[1])).toEqual([[[-1, -2]]]);
  });
});

describe("samples of two versions in one response", () => {
  const mixed = groupsOf([{ logprobs: [-1.5, -2.25], policy: [span(0, 0, 1), span(1, 1, 2)] }]);

  it("I8: are compared with the trainer at its own version only, and lag by lag in kl/lag", async () => {
    const { trainer } = recorder();
    const { mismatch, offPolicy, contributions, rollouts } = await updatePolicy(trainer, mixed, OPTIONS, signal);
    expect(mismatch.abs).toBeCloseTo(0.25, 12);
    expect(offPolicy.lag).toEqual({
      bound: 1,
      tokens: [1, 1],
      kl: [expect.closeTo(Math.exp(0.25) - 1.25, 12), expect.closeTo(Math.exp(0.5) - 1.5, 12)],
    });
    expect(contributions.find(({ metric }) => metric === MISMATCH_METRIC)).toMatchObject({
      tokenIndex: 1,
      contribution: expect.closeTo(0.25, 12),
    });
    expect(contributions.find(({ metric }) => metric === KL_METRIC)?.tokenIndex).toBe(0);
    expect(rollouts.get("r-0-0")).toMatchObject({ lag: 1, weights: [Math.exp(0.5), Math.exp(0.25)] });
  });

  it("I13: are refused where one of them lags too far", async () => {
    const { trainer, calls } = recorder();
    await expect(updatePolicy(trainer, mixed, { ...OPTIONS, maxLag: 0 }, signal)).rejects.toThrow(
      /WEIR_E_POLICY_VERSION: rollout r-0-0 has tokens of policy version 0/,
    );
    expect(calls).toEqual([]);
  });
});

describe("mismatch of a batch that is stale throughout", () => {
  it("is absent", async () => {
    const { trainer } = recorder();
    const given = groupsOf([{ logprobs: [-1.5, -1], policy: STALE }]);
    expect((await updatePolicy(trainer, given, OPTIONS, signal)).mismatch).toEqual({ k3: null, abs: null });
  });
});

describe("what is asked of the trainer", () => {
  const given = groupsOf(...[0, 1, 2].map(() => [{ logprobs: [-1, -2], policy: FRESH }]));
  const plain = { ...OPTIONS, correction: null, miniBatchPrompts: 2 };
  const synchronous = ["logprobs policy 2", "forwardBackward 0,1", "optimStep", "forwardBackward 2", "optimStep"];

  it("is the same for fresh samples whatever the bound of lag, without weights, and nothing is reported of lag 0", async () => {
    for (const maxLag of [0, 3]) {
      const { trainer, calls, trained } = recorder();
      const { offPolicy, rollouts } = await updatePolicy(trainer, given, { ...plain, maxLag }, signal);
      expect(calls).toEqual(synchronous);
      expect(trained[0]?.oldPolicy).toEqual(POLICY);
      expect(weightsOf(trained[0])).toEqual([[undefined], [undefined]]);
      expect(weightsOf(trained[1])).toEqual([[undefined]]);
      expect(offPolicy.correction).toBeNull();
      expect(offPolicy.lag?.tokens ?? null).toEqual(maxLag === 0 ? null : [6, 0, 0, 0]);
      expect(rollouts.get("r-0-0")).toMatchObject({ lag: 0, weights: null });
    }
  });

  it("is π_old of every group first where one sample is stale or weights are asked for", async () => {
    const all = ["logprobs policy 0,1,2", ...synchronous.slice(1)];
    const corrected = recorder();
    await updatePolicy(corrected.trainer, given, { ...OPTIONS, miniBatchPrompts: 2 }, signal);
    expect(corrected.calls).toEqual(all);
    const one = [...given.slice(0, 2), ...groupsOf([], [], [{ logprobs: [-1, -2], policy: STALE }]).slice(2)];
    const stale = recorder();
    await updatePolicy(stale.trainer, one, plain, signal);
    expect(stale.calls).toEqual(all);
    expect(weightsOf(stale.trained[0])).toEqual([[undefined], [undefined]]);
  });

  it("is the ratio to the sampler, without a pass before, where its log-probs are trusted (coupled)", async () => {
    const { trainer, calls, trained } = recorder();
    const stale = groupsOf([{ logprobs: [-1.5, -1], policy: STALE }]);
    const { offPolicy } = await updatePolicy(trainer, stale, { ...plain, oldLogprobs: "sampler" }, signal);
    expect(calls).toEqual(["forwardBackward 0", "optimStep"]);
    expect(oldOf(trained[0])).toEqual([[[-1.5, -1]]]);
    // The first pass still sees the weights at the start: its log-probs are π_old's.
    expect(offPolicy.lag?.kl).toEqual([null, expect.closeTo((Math.exp(0.5) - 1.5 + Math.exp(-1)) / 2, 12)]);
  });
});

describe("the ledger", () => {
  it("I2: ends responses that correction rejected as dropped, their siblings as trained", () => {
    const ends: Record<string, string> = {};
    const ledger = new RunLedger(({ rolloutId, state, reason }) => {
      ends[rolloutId] = reason ?? state;
    });
    const issued = {
      ...{ task: exampleTask(), promptIds: [1], phase: 1, step: 1, visit: 0, carried: false, sequence: 0, attempt: 0 },
      round: { id: 0, size: 1 },
    };
    ledger.issue(issued, 2, 1);
    const [kept] = groupsOf([
      { logprobs: [-1, -2], policy: STALE },
      { logprobs: [-9, -9], policy: STALE },
    ]) as [SampleGroup];
    const ids = Object.keys(ends) as [string, string];
    const members = kept.group.members.map((member, g) => ({
      ...member,
      rollout: { ...member.rollout, id: ids[g] as string },
    }));
    const group = { ...kept, group: { ...kept.group, members } };
    const update = { refused: [], moved: new Set(["g-0"]), rejected: new Set([ids[1]]) };
    ledger.settle([group], { dropped: [] }, update, { step: 1, policyVersion: 1 });
    expect(ends).toEqual({ [ids[0]]: "trained", [ids[1]]: "rejected" });
  });
});
