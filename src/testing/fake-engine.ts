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
import type { ModelInfo } from "../contracts/model-info.js";
import type { PolicyStore } from "../contracts/policy-store.js";
import type { PolicyVersion } from "../contracts/policy-version.js";
import type { PolicyWanted, SampledSequence, Sampler } from "../contracts/sampler.js";
import type { Trainer, TrainGroup } from "../contracts/trainer.js";
import { WeirError } from "../errors.js";
import { LOSS_NAMES } from "../losses/index.js";
import { LatestPolicy } from "../system/latest-policy.js";

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

/** Weights of a fake: the version that was published last, and whether optimiser steps came after it. */
export interface FakeWeights {
  n: number;
  changed?: boolean;
}

function publishedVersion(weights: FakeWeights): PolicyVersion {
  if (weights.changed) weights.n++;
  weights.changed = false;
  return fakeVersion(weights.n);
}

/** Draws scripted sequences, from the weights of a fake trainer where these are given. */
export function createFakeSampler(options: FakeOptions = {}, weights: FakeWeights = { n: 0 }): Sampler {
  const { vocabSize = 32, respond } = options;
  return {
    kind: "fake",
    specificationVersion: 2,
    capabilities: {
      logprobBasis: "scaled",
      seeds: "per-sequence",
      tokenVersions: false,
      adopts: ["handle", "checkpoint", "adapter"],
      heldVersions: 1,
      entropies: true,
      abort: true,
    },
    async sample({ prompts, params, policy }, { signal }) {
      signal.throwIfAborted();
      assertFakeVersion(weights, policy);
      const { n, sha256 } = publishedVersion(weights);
      const sequence = (promptIds: readonly number[], seed: number): SampledSequence => {
        const length = Math.max(1, Math.floor(params.maxTokens / 2));
        const drawn = Array.from({ length }, (_, t) => uint32(seed, t) % vocabSize);
        const all = respond?.(promptIds, seed) ?? drawn;
        const tokenIds = all.slice(0, params.maxTokens);
        const finish = all.length > params.maxTokens ? "length" : "stop";
        const spans = [{ version: n, sha256, start: 0, end: tokenIds.length }];
        return {
          tokenIds,
          logprobs: tokenIds.map(() => LOGPROB),
          entropies: tokenIds.map(() => ENTROPY),
          finish,
          spans,
        };
      };
      const sequences = prompts.map(({ promptIds, seeds }) => seeds.map((seed) => sequence(promptIds, seed)));
      return { sequences, seconds: 0 };
    },
    async adopt({ version }, { signal }) {
      signal.throwIfAborted();
      weights.n = version.n;
      weights.changed = false;
    },
    release: async () => undefined,
    load: async () => ({ running: 0, waiting: 0, cacheUse: null, versions: [weights.n] }),
  };
}

function assertFakeVersion({ n, changed = false }: FakeWeights, wanted: PolicyWanted | null): void {
  if (wanted === null) return;
  if (!changed && ("exactly" in wanted ? n === wanted.exactly : n >= wanted.atLeast)) return;
  throw new WeirError("WEIR_E_POLICY_VERSION", `the fake holds version ${n}${changed ? ", trained on since" : ""}`, {
    wanted,
  });
}

/** The completions of groups in the form that a custom loss receives. */
function sequencesOf(groups: readonly TrainGroup[], weight: number): LossSequence[] {
  return groups.flatMap(({ completions }) =>
    completions.map(({ tokenIds, advantages, oldLogprobs, refLogprobs, weights }) => {
      const logprobs = tokenIds.map(() => LOGPROB);
      const own = tokenIds.map((_, t) => weight * (weights?.[t] ?? 1));
      return { logprobs, old: oldLogprobs ?? logprobs, reference: refLogprobs, advantages, weights: own };
    }),
  );
}

/** Accepts every batch, and asks a loss of the caller's own; a publication after an optimiser step raises the version by one. */
export function createFakeTrainer(weights: FakeWeights = { n: 0 }, options: FakeOptions = {}): Trainer {
  const fill = (groups: readonly (readonly (readonly number[])[])[], value: number) =>
    groups.map((group) => group.map((tokenIds) => tokenIds.map(() => value)));
  const counts = (tokens: number) => ({ tokens, paddedTokens: tokens, microBatches: 1 });
  let gradients = 0;
  /** Whether the weights were changed before the last step, which can be revised; null where it cannot. */
  let before: boolean | null = null;
  const needGradients = () => {
    if (gradients === 0) throw new WeirError("WEIR_E_STATE", "an optimiser step needs gradients");
  };
  return {
    kind: "fake",
    specificationVersion: 2,
    capabilities: {
      losses: LOSS_NAMES,
      evaluates: true,
      lossScale: "denominators",
      trains: "full",
      clipsGradients: true,
      discardsGradients: true,
      revisesSteps: true,
      reference: true,
      reusesActivations: false,
      publishes: ["handle", "checkpoint"],
    },
    model: fakeModel(options),
    async forwardBackward({ groups, denominators, loss, oldPolicy }, { evaluate, signal }) {
      signal.throwIfAborted();
      if (oldPolicy !== null) assertFakeVersion(weights, { exactly: oldPolicy.n });
      if (loss.name === null) await evaluate?.(sequencesOf(groups, 1 / denominators.tokens));
      const logprobs = fill(
        groups.map((group) => group.completions.map(({ tokenIds }) => tokenIds)),
        LOGPROB,
      );
      gradients++;
      const zero = { loss: 0, pgLoss: 0, klRef: 0, klOldK1: 0, klOldK3: 0, clipFraction: 0, clipFractionLower: 0 };
      return { ...zero, ...counts(denominators.tokens), entropy: ENTROPY, ratioMax: 1, logprobs };
    },
    async sftForwardBackward({ rows }, { signal }) {
      signal.throwIfAborted();
      gradients++;
      return { loss: 1, ...counts(rows.reduce((total, row) => total + row.tokenIds.length, 0)) };
    },
    async gradientNorm() {
      needGradients();
      return 1;
    },
    async discardGradients() {
      gradients = 0;
    },
    async optimStep(_config, { reportTensors = false, revisable = false }) {
      needGradients();
      gradients = 0;
      before = revisable ? weights.changed === true : null;
      weights.changed = true;
      return { applied: true, gradNorm: 1, gradNormByTensor: reportTensors ? { "fake.weight": 1 } : null };
    },
    async reviseStep(share) {
      if (before === null) throw new WeirError("WEIR_E_STATE", "the fake has no revisable step");
      if (share === 0) weights.changed = before;
      before = null;
    },
    async logprobs(groups) {
      const ids = groups.map((group) => group.completions);
      return { logprobs: fill(ids, LOGPROB), entropies: fill(ids, ENTROPY) };
    },
    ...fakeState(weights),
    freezeReference: async () => undefined,
    resetOptimiser: async () => undefined,
  };
}

/** Writes and reads the version number in place of weights. */
function fakeState(weights: FakeWeights): Pick<Trainer, "publish" | "saveState" | "loadState"> {
  const write = async (directory: string) => {
    await mkdir(directory, { recursive: true });
    await writeFile(join(directory, "fake-engine.json"), JSON.stringify(weights));
  };
  return {
    async publish({ as, folder }) {
      const version = publishedVersion(weights);
      if (as === "handle") return { version, artifact: { kind: "handle", uri: "fake:" }, bytes: 0 };
      if (folder === null || as === "adapter")
        throw new WeirError("WEIR_E_USAGE", `the fake cannot publish a ${as} here`);
      await write(folder);
      return { version, artifact: { kind: "checkpoint", uri: folder }, bytes: 1 };
    },
    saveState: write,
    async loadState(directory, { above }) {
      const saved: FakeWeights = JSON.parse(await readFile(join(directory, "fake-engine.json"), "utf8"));
      Object.assign(weights, { changed: false }, saved);
      if (above !== undefined) Object.assign(weights, { n: Math.max(weights.n, above), changed: true });
      return fakeVersion(weights.n);
    },
  };
}

function fakeModel(options: FakeOptions): ModelInfo {
  return {
    family: "qwen2",
    parameters: 1,
    trainedParameters: 1,
    vocabSize: options.vocabSize ?? ANY_VOCABULARY,
    maxPositions: 4096,
    stopIds: [0],
    padId: 0,
  };
}

/** Hands policies on in memory, in every form; folders that `publish` asks for are those that `write` is given. */
export function createFakePolicyStore(folder: string | null = null): PolicyStore {
  const latest = new LatestPolicy();
  return {
    kind: "fake",
    specificationVersion: 1,
    capabilities: { holds: folder === null ? ["handle"] : ["handle", "checkpoint", "adapter"] },
    async publish(as, write, { signal }) {
      signal.throwIfAborted();
      const policy = await write(as === "handle" ? null : folder);
      latest.set(policy);
      return policy;
    },
    current: async () => latest.value,
    async fetch(version) {
      const held = latest.value;
      if (held?.version.n !== version || held.artifact.kind === "handle")
        throw new WeirError("WEIR_E_POLICY_STORE", `the fake store has no files of policy version ${version}`);
      return held.artifact.uri;
    },
    watch: (after, options) => latest.watch(after, options),
    retain: async () => undefined,
  };
}

/** A whole engine over the fakes above; `crash` ends it unexpectedly. */
export function createFakeEngine(options: FakeOptions = {}): Engine & { crash(reason: string): void } {
  const weights: FakeWeights = { n: 0 };
  let end: (exit: Awaited<Engine["exited"]>) => void = () => {};
  return {
    info: {
      backend: "cpu",
      executor: "eager",
      executorReason: "a fake computes nothing",
      precision: "float32",
      backendVersion: "0",
      pid: 0,
      reason: "a fake computes nothing",
    },
    model: fakeModel(options),
    sampler: createFakeSampler(options, weights),
    trainer: createFakeTrainer(weights, options),
    policyStore: createFakePolicyStore(),
    version: () => fakeVersion(weights.n),
    async scoreSequences(sequences) {
      const fill = (value: number) => sequences.map((sequence) => sequence.slice(1).map(() => value));
      return { logprobs: fill(LOGPROB), entropy: fill(ENTROPY) };
    },
    stats: async () => ({ tensors: 0, bytes: 0, rssBytes: 0, peakRssBytes: 0, graphs: 0, compileSeconds: 0 }),
    planMemory: async () => ({
      stateBytes: 0,
      activationBytes: 0,
      workBytes: 0,
      trialBytes: 0,
      peakBytes: 0,
      budgetBytes: Number.MAX_SAFE_INTEGER,
      layers: 1,
      savedLayers: 1,
      text: "a fake takes no memory",
    }),
    exited: new Promise((resolve) => {
      end = resolve;
    }),
    close: async () => end({ expected: true, reason: "closed" }),
    crash: (reason) => end({ expected: false, reason }),
  };
}
