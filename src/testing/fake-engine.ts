/**
 * Scripted stand-ins for the engine: every number follows from the request and the version, without arithmetic.
 * Each token has log-prob −1 and entropy 0.5, from the sampler and from the trainer alike, so that no mismatch appears.
 */
import { createHash } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { uint32 } from "../algorithms/random.js";
import type { Engine } from "../contracts/engine.js";
import type { LossSequence } from "../contracts/loss.js";
import type { PolicyVersion } from "../contracts/policy-version.js";
import type { SampledSequence, Sampler } from "../contracts/sampler.js";
import type { Trainer, TrainGroup } from "../contracts/trainer.js";

const LOGPROB = -1;
const ENTROPY = 0.5;
/** Larger than the vocabularies of all tokenizers. */
const ANY_VOCABULARY = 2 ** 20;

/** Version n of the fake weights. */
export function fakeVersion(n: number): PolicyVersion {
  return { n, sha256: createHash("sha256").update(`fake-${n}`).digest("hex") };
}

export interface FakeOptions {
  /** Drawn token ids lie in [0, vocabSize); 32 when left out, of a model that takes the ids of any tokenizer. */
  readonly vocabSize?: number;
  /** The response to a prompt and seed; drawn from the seed, of maxTokens/2 tokens, when left out. */
  readonly respond?: (promptIds: readonly number[], seed: number) => readonly number[];
}

/** Draws scripted sequences. */
export function createFakeSampler(options: FakeOptions = {}, version = () => fakeVersion(0)): Sampler {
  const { vocabSize = 32, respond } = options;
  return {
    kind: "fake",
    specificationVersion: 1,
    async sample({ prompts, params }, { signal }) {
      signal.throwIfAborted();
      const sequence = (promptIds: readonly number[], seed: number): SampledSequence => {
        const length = Math.max(1, Math.floor(params.maxTokens / 2));
        const drawn = Array.from({ length }, (_, t) => uint32(seed, t) % vocabSize);
        const all = respond?.(promptIds, seed) ?? drawn;
        const tokenIds = all.slice(0, params.maxTokens);
        const finish = all.length > params.maxTokens ? "length" : "stop";
        return { tokenIds, logprobs: tokenIds.map(() => LOGPROB), entropies: tokenIds.map(() => ENTROPY), finish };
      };
      const sequences = prompts.map(({ promptIds, seeds }) => seeds.map((seed) => sequence(promptIds, seed)));
      return { sequences, version: version(), seconds: 0 };
    },
  };
}

/** The completions of groups in the form that a custom loss receives. */
function sequencesOf(groups: readonly TrainGroup[], weight: number): LossSequence[] {
  return groups.flatMap(({ completions }) =>
    completions.map(({ tokenIds, advantages, oldLogprobs, refLogprobs }) => {
      const logprobs = tokenIds.map(() => LOGPROB);
      const weights = tokenIds.map(() => weight);
      return { logprobs, old: oldLogprobs ?? logprobs, reference: refLogprobs, advantages, weights };
    }),
  );
}

/** Accepts every batch and calls a custom loss; the version grows by one with each optimiser step. */
export function createFakeTrainer(weights: { n: number } = { n: 0 }): Trainer {
  const fill = (groups: readonly (readonly (readonly number[])[])[], value: number) =>
    groups.map((group) => group.map((tokenIds) => tokenIds.map(() => value)));
  const counts = (tokens: number) => ({ tokens, paddedTokens: tokens, microBatches: 1 });
  return {
    kind: "fake",
    specificationVersion: 1,
    async forwardBackward({ groups, denominators, loss }, { evaluate }) {
      if (loss.name === null) await evaluate?.(sequencesOf(groups, 1 / denominators.tokens));
      const logprobs = fill(
        groups.map((group) => group.completions.map(({ tokenIds }) => tokenIds)),
        LOGPROB,
      );
      const zero = { loss: 0, pgLoss: 0, klRef: 0, klOldK1: 0, klOldK3: 0, clipFraction: 0, clipFractionLower: 0 };
      return { ...zero, ...counts(denominators.tokens), entropy: ENTROPY, ratioMax: 1, logprobs };
    },
    async sftForwardBackward({ rows }) {
      return { loss: 1, ...counts(rows.reduce((total, row) => total + row.tokenIds.length, 0)) };
    },
    async optimStep(_config, { reportTensors = false }) {
      weights.n++;
      const gradNormByTensor = reportTensors ? { "fake.weight": 1 } : null;
      return { applied: true, gradNorm: 1, gradNormByTensor, version: fakeVersion(weights.n) };
    },
    async logprobs(groups) {
      const ids = groups.map((group) => group.completions);
      return { logprobs: fill(ids, LOGPROB), entropies: fill(ids, ENTROPY) };
    },
  };
}

/** Writes and reads the version number in place of weights. */
function fakeStore(weights: { n: number }): Pick<Engine, "save" | "restore"> {
  const version = () => fakeVersion(weights.n);
  return {
    async save(directory) {
      await mkdir(directory, { recursive: true });
      await writeFile(join(directory, "fake-engine.json"), JSON.stringify(weights));
      return version();
    },
    async restore(directory) {
      Object.assign(weights, JSON.parse(await readFile(join(directory, "fake-engine.json"), "utf8")));
      return version();
    },
  };
}

/** A whole engine over the fakes above; `crash` ends it unexpectedly. */
export function createFakeEngine(options: FakeOptions = {}): Engine & { crash(reason: string): void } {
  const weights = { n: 0 };
  const version = () => fakeVersion(weights.n);
  let end: (exit: Awaited<Engine["exited"]>) => void = () => {};
  return {
    ...createFakeSampler(options, version),
    ...createFakeTrainer(weights),
    ...fakeStore(weights),
    info: {
      backend: "cpu",
      executor: "eager",
      executorReason: "a fake computes nothing",
      precision: "float32",
      backendVersion: "0",
      pid: 0,
      reason: "a fake computes nothing",
    },
    model: {
      family: "qwen2",
      parameters: 1,
      trainedParameters: 1,
      vocabSize: options.vocabSize ?? ANY_VOCABULARY,
      maxPositions: 4096,
      stopIds: [0],
      padId: 0,
    },
    version,
    async scoreSequences(sequences) {
      const fill = (value: number) => sequences.map((sequence) => sequence.slice(1).map(() => value));
      return { logprobs: fill(LOGPROB), entropy: fill(ENTROPY) };
    },
    async freezeReference() {},
    async resetOptimiser() {},
    stats: async () => ({ tensors: 0, bytes: 0, rssBytes: 0, peakRssBytes: 0, graphs: 0, compileSeconds: 0 }),
    planMemory: async () => ({
      stateBytes: 0,
      keptBytes: 0,
      workBytes: 0,
      peakBytes: 0,
      budgetBytes: 0,
      layers: 1,
      keptLayers: 1,
      text: "a fake takes no memory",
    }),
    exited: new Promise((resolve) => {
      end = resolve;
    }),
    close: async () => end({ expected: true, reason: "closed" }),
    crash: (reason) => end({ expected: false, reason }),
  };
}
