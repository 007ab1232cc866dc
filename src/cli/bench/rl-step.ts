/**
 * One RL step as benchmarks time it: sample groups for prompts of random ids, reward, group-relative advantages,
 * DAPO loss, AdamW. The reward is the parity of the number of distinct ids: cheap, and different within most groups.
 */

import { groupAdvantages } from "../../algorithms/advantages.js";
import { counterKey } from "../../algorithms/random.js";
import { paddingShare } from "../../algorithms/statistics.js";
import type { Engine } from "../../contracts/engine.js";
import type { SampledSequence, SamplePrompt, SampleRequest, SamplingParams } from "../../contracts/sampler.js";
import type { PolicyBatch, PolicyLossConfig, TrainGroup } from "../../contracts/trainer.js";
import { lossSettings } from "../../losses/settings.js";
import { commit, RL_OPTIMISER } from "./optimiser.js";
import { randomIds } from "./random-ids.js";

export interface RlShape {
  readonly prompts: number;
  readonly group: number;
  /** Tokens of a prompt and of each completion. */
  readonly prompt: number;
  readonly completion: number;
}

export interface RlStepTimes {
  readonly step: number;
  readonly generate: number;
  readonly train: number;
  readonly paddingShare: number;
}

const TEMPERATURE = 0.7;

/** Eq. 6: token mean, clip-higher, no KL term. */
export const DAPO_LOSS: PolicyLossConfig = {
  name: "dapo",
  settings: lossSettings("dapo"),
  aggregation: "token-mean",
  lossScale: 1,
  klCoefficient: 0,
  klEstimator: "k3",
  entropyCoefficient: 0,
  temperature: TEMPERATURE,
};

/** No stop ids: each completion has exactly `maxTokens` tokens. */
function sampling(maxTokens: number): SamplingParams {
  return { temperature: TEMPERATURE, topP: 0.95, topK: 0, maxTokens, stopIds: [] };
}

/** Prompts of random ids, other ones each step. */
export function sampleRequest(
  vocabulary: number,
  shape: RlShape,
  step: number,
  purpose: SampleRequest["purpose"],
): SampleRequest {
  const prompt = (p: number): SamplePrompt => ({
    promptIds: randomIds(vocabulary, shape.prompt, "bench-prompt", step, p),
    seeds: Array.from({ length: shape.group }, (_, g) => counterKey(1, "bench-sample", step, p, g)),
  });
  return {
    id: `bench-${step}`,
    prompts: Array.from({ length: shape.prompts }, (_, p) => prompt(p)),
    params: sampling(shape.completion),
    policy: null,
    purpose,
    deadlineMs: Number.POSITIVE_INFINITY,
  };
}

/** 1 for an odd number of distinct ids, else 0. */
export function parityReward(ids: readonly number[]): number {
  return new Set(ids).size % 2;
}

/** The trainer's groups; old log-probs are the sampler's own. */
export function trainGroups(
  prompts: readonly SamplePrompt[],
  sequences: readonly (readonly SampledSequence[])[],
): TrainGroup[] {
  return prompts.map(({ promptIds }, p) => {
    const members = sequences[p] ?? [];
    const advantages = groupAdvantages(members.map(({ tokenIds }) => parityReward(tokenIds)));
    return {
      promptIds,
      completions: members.map(({ tokenIds, logprobs }, g) => ({
        tokenIds,
        advantages: tokenIds.map(() => advantages[g] as number),
        oldLogprobs: logprobs,
        refLogprobs: null,
      })),
    };
  });
}

export function policyBatch(groups: readonly TrainGroup[], microBatchTokens: number): PolicyBatch {
  const completions = groups.flatMap((group) => group.completions);
  const tokens = completions.reduce((sum, { tokenIds }) => sum + tokenIds.length, 0);
  const denominators = { tokens, sequences: completions.length };
  return { groups, loss: DAPO_LOSS, denominators, microBatchTokens, oldPolicy: null };
}

/** Seconds of one whole step and of its parts, and the share of trained positions that were padding. */
export async function timedRlStep(
  engine: Engine,
  shape: RlShape,
  step: number,
  microBatchTokens: number,
  signal: AbortSignal,
): Promise<RlStepTimes> {
  const request = sampleRequest(engine.model.vocabSize, shape, step, "training");
  const started = performance.now();
  const { sequences } = await engine.sampler.sample(request, { signal });
  const sampled = performance.now();
  const batch = policyBatch(trainGroups(request.prompts, sequences), microBatchTokens);
  const training = performance.now();
  const { paddedTokens } = await engine.trainer.forwardBackward(batch, { signal });
  await commit(engine.trainer, RL_OPTIMISER, signal);
  await engine.trainer.publish({ signal, as: "handle", folder: null });
  const ended = performance.now();
  const real = shape.prompts * (shape.prompt + shape.group * shape.completion);
  return {
    step: (ended - started) / 1000,
    generate: (sampled - started) / 1000,
    train: (ended - training) / 1000,
    paddingShare: paddingShare(real, paddedTokens),
  };
}
