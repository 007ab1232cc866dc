/** Training on rollouts of the version before, by a real engine, against the decoupled objective in float64. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type UpdateOptions, updatePolicy } from "../../src/actors/update/update.js";
import type { Engine } from "../../src/contracts/engine.js";
import type { SampleGroup } from "../../src/contracts/group.js";
import type { LossEvaluation, LossSequence } from "../../src/contracts/loss.js";
import type { PolicyVersion } from "../../src/contracts/policy-version.js";
import type { PolicyBatch, PolicyMetrics, Trainer } from "../../src/contracts/trainer.js";
import { startEngine } from "../../src/model/engine/host.js";
import { exampleRollout, exampleTask } from "../../src/testing.js";
import { ENGINE_OPTIONS, TEST_LOSS, TEST_OPTIMISER, writeRandomModel } from "../helpers/engines.js";
import { sampleRequest } from "../helpers/sampling.js";
import { PLAIN_UPDATE } from "../helpers/update-options.js";
import { policyLossBatch } from "../oracle/policy-loss.js";

const { signal } = new AbortController();
/** Float32 arithmetic of a tiny model against float64: relative error of values and of gradient norms. */
const TOLERANCE = 2e-4;
const STILL = { ...TEST_OPTIMISER, learningRate: 0, weightDecay: 0, maxGradNorm: null };
const CLIP = { clipLow: TEST_LOSS.settings.clipLow, clipHigh: TEST_LOSS.settings.clipHigh, dualClip: null };
const PROMPT = [5, 9, 11, 23, 4, 31];
const UPPER = 1.05;

let folder: string;
let engine: Engine;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "weir-stale-"));
  engine = await startEngine({ modelDir: await writeRandomModel(folder), options: ENGINE_OPTIONS });
}, 120_000);

afterAll(async () => {
  await engine.close();
  await rm(folder, { recursive: true });
});

const publish = async (): Promise<PolicyVersion> =>
  (await engine.trainer.publish({ signal, as: "handle", folder: null })).version;

/** Four responses to one prompt, with advantages of both signs. */
async function sampleGroup(): Promise<SampleGroup> {
  const params = { temperature: 1, topP: 1, topK: 0, maxTokens: 12, stopIds: [] };
  const request = sampleRequest({ prompts: [{ promptIds: PROMPT, seeds: [1, 2, 3, 4] }], params });
  const { sequences } = await engine.sampler.sample(request, { signal });
  const samples = (sequences[0] ?? []).map((sequence, g) => ({
    rollout: {
      ...exampleRollout(exampleTask(), "x"),
      id: `r-${g}`,
      promptIds: PROMPT,
      tokenIds: sequence.tokenIds,
      samplerLogprobs: sequence.logprobs,
      entropies: sequence.entropies,
      policy: sequence.spans,
    },
    reward: g % 2,
    advantages: sequence.tokenIds.map(() => (g % 2 === 0 ? -1 : 1)),
  }));
  return {
    group: { id: "g", task: exampleTask(), phase: 1, visit: 0, carried: false, sequence: 0, members: [] },
    samples,
  };
}

const optionsAt = (policy: PolicyVersion, over: Partial<UpdateOptions>): UpdateOptions => ({
  ...PLAIN_UPDATE,
  policy,
  maxLag: 1,
  optimiser: STILL,
  ...over,
});

/** The trainer, with what it was given, what it gave, and its gradient norms by tensor. */
function watched(trainer: Trainer) {
  const seen: { batch?: PolicyBatch; metrics?: PolicyMetrics; norms?: Readonly<Record<string, number>> } = {};
  const watching: Trainer = {
    ...trainer,
    async forwardBackward(batch, call) {
      seen.batch = batch;
      seen.metrics = await trainer.forwardBackward(batch, call);
      return seen.metrics;
    },
    async optimStep(config, call) {
      const reply = await trainer.optimStep(config, { ...call, reportTensors: true });
      seen.norms = reply.gradNormByTensor ?? {};
      return reply;
    },
  };
  return { trainer: watching, seen };
}

/** w·ℓ/N and its derivative, w = min(π_old/π_sampler, UPPER), by the float64 oracle. `sampler` and `old`: [B][T] nats. */
function oracle(sampler: readonly (readonly number[])[], old: readonly (readonly number[])[], advantages: number[][]) {
  const weights = old.map((row, b) =>
    row.map((value, t) => Math.min(Math.exp(value - Number(sampler[b]?.[t])), UPPER)),
  );
  const tokens = weights.flat().length;
  return (logprobs: readonly (readonly number[])[]): LossEvaluation => {
    const mask = old.map((row) => row.map(() => 1));
    const found = policyLossBatch({
      newLogprobs: logprobs.map((row) => [...row]),
      oldLogprobs: old.map((row) => [...row]),
      advantages,
      mask,
      ...CLIP,
      variant: "upstream",
    });
    const weighed = (matrix: number[][]) =>
      matrix.map((row, b) => row.map((value, t) => (Number(weights[b]?.[t]) * value) / tokens));
    const value = weighed(found.perToken)
      .flat()
      .reduce((sum, loss) => sum + loss, 0);
    return { value, coefficients: weighed(found.derivative), clipped: 0, clippedLower: 0 };
  };
}

describe("an update on rollouts of the version before", () => {
  it("has the value and gradient of the decoupled objective", async () => {
    const sampledAt = await publish();
    const group = await sampleGroup();
    expect(group.samples[0]?.rollout.policy).toEqual([
      { version: sampledAt.n, sha256: sampledAt.sha256, start: 0, end: 12 },
    ]);
    const first = optionsAt(sampledAt, { optimiser: { ...TEST_OPTIMISER, learningRate: 3e-3 } });
    await updatePolicy(engine.trainer, [group], first, signal);
    const policy = await publish();
    expect(policy.n).toBe(sampledAt.n + 1);

    const correction = { importance: { level: "token", lower: null, upper: UPPER }, rejection: null } as const;
    await expect(
      updatePolicy(engine.trainer, [group], optionsAt(policy, { correction, maxLag: 0 }), signal),
    ).rejects.toThrow("WEIR_E_POLICY_VERSION");
    const { trainer, seen } = watched(engine.trainer);
    const result = await updatePolicy(trainer, [group], optionsAt(policy, { correction }), signal);

    const { batch, metrics, norms } = seen as Required<typeof seen>;
    const sampler = group.samples.map(({ rollout }) => rollout.samplerLogprobs);
    const old = batch.groups.flatMap(({ completions }) => completions.map(({ oldLogprobs }) => oldLogprobs ?? []));
    const objective = oracle(
      sampler,
      old,
      group.samples.map(({ advantages }) => [...advantages]),
    );
    // The weights moved far enough for the truncation to matter, and for the ratio to be another one than the sampler's.
    expect(result.offPolicy.lag?.tokens).toEqual([0, 48]);
    expect(result.offPolicy.correction?.clippedShare).toBeGreaterThan(0.05);
    expect(result.offPolicy.correction?.clippedShare).toBeLessThan(0.95);
    expect(result.mismatch).toEqual({ k3: null, abs: null });

    const expected = objective(metrics.logprobs.flat()).value;
    expect(Math.abs(metrics.pgLoss - expected)).toBeLessThanOrEqual(TOLERANCE * Math.abs(expected) + 1e-6);
    const evaluate = (sequences: readonly LossSequence[]) =>
      objective(sequences.map(({ logprobs }) => Array.from(logprobs)));
    await engine.trainer.forwardBackward({ ...batch, loss: { ...TEST_LOSS, name: null } }, { signal, evaluate });
    const reply = await engine.trainer.optimStep(STILL, { signal, reportTensors: true });
    const byOracle = reply.gradNormByTensor ?? {};
    expect(Object.keys(byOracle).length).toBeGreaterThan(10);
    for (const [name, norm] of Object.entries(byOracle))
      expect(Math.abs(Number(norms[name]) - norm), name).toBeLessThanOrEqual(TOLERANCE * norm + 1e-6);
  }, 120_000);
});
