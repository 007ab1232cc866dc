/**
 * The engine without a process around it: one policy, its learner, an optional frozen reference.
 * Calls are answered one after another; the caller serialises them. Invariant: after a call that throws, weights,
 * optimiser and gradient sums are as before it.
 */
import { access, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { EngineInfo, EngineStats, LoraOptions, MemoryPlan, MicroBatchSize } from "../../contracts/engine.js";
import type { ModelInfo } from "../../contracts/model-info.js";
import type { PolicyVersion } from "../../contracts/policy-version.js";
import type { ArtifactKind, PolicyArtifact, PublishedPolicy } from "../../contracts/published-policy.js";
import type { PolicyWanted, SampleReply, SampleRequest } from "../../contracts/sampler.js";
import type {
  EvaluateLoss,
  OptimiserConfig,
  OptimStepReply,
  PolicyBatch,
  PolicyMetrics,
  ScoredSequences,
  SftBatch,
  SftMetrics,
} from "../../contracts/trainer.js";
import { WeirError } from "../../errors.js";
import { ActivationCache } from "../activations/prefix-cache.js";
import { sampleSequences } from "../decode/sampler.js";
import { readAdapter, writeAdapter } from "../io/adapter-folder.js";
import { type ModelConfig, readModelConfig } from "../io/config.js";
import { writeModelFolder } from "../io/model-folder.js";
import { readSafetensors, writeSafetensors } from "../io/safetensors.js";
import { readTensors } from "../io/tensors.js";
import { tf } from "../tensor/tf.js";
import { Learner, lastLogits, scoreGroups, scoreSequences } from "../train/learner.js";
import { Adapters } from "../transformer/adapters.js";
import { contentHash, tensorDigest } from "../transformer/content-hash.js";
import { planMemory } from "../transformer/memory-plan.js";
import type { Transformer } from "../transformer/model.js";
import { ParameterStore } from "../transformer/parameters.js";
import { RopeTables, type RotaryDtype } from "../transformer/rope.js";
import { readAdopted, takeAdopted } from "./adopted-adapter.js";
import { type OpenedBackend, openBackend } from "./backend.js";
import { type ChosenExecutor, type CoreOptions, chooseExecutor } from "./executor.js";

const OPTIMISER_FILE = "optimizer.safetensors";
const STATE_FILE = "engine-state.json";
const STATE_SCHEMA = 3;

interface EngineState {
  readonly schemaVersion: number;
  /** The version that was published last. */
  readonly version: PolicyVersion;
  /** Hash of the weights in the folder; another one than that of `version` where they were not published. */
  readonly sha256: string;
  /** The weights get a new version even where they are those of `version`: its number was given to others since. */
  readonly changed?: boolean;
  readonly optimiserStep: number;
}

/** What `sample` needs of a request. */
export type SampleInput = Pick<SampleRequest, "prompts" | "params" | "policy"> & {
  /** Activations go to the cache that training reads. */
  readonly forTraining: boolean;
};

export interface LogprobsRequest {
  readonly groups: readonly {
    readonly promptIds: readonly number[];
    readonly completions: readonly (readonly number[])[];
  }[];
  readonly temperature: number;
  readonly which: "policy" | "reference";
  readonly microBatchTokens: number;
}

export class EngineCore {
  readonly info: EngineInfo;
  readonly modelInfo: ModelInfo;
  private readonly modelDir: string;
  private readonly config: ModelConfig;
  private readonly policy: Transformer;
  private readonly learner: Learner;
  private readonly activationCache: ActivationCache;
  private readonly executor: ChosenExecutor;
  private readonly adapters: Adapters | null;
  /** Hash of the weights that the engine was opened with. */
  private readonly baseSha256: string;
  /** Names of weights that may not be those any more, by a policy that was adopted or loaded. */
  private offBase: readonly string[] = [];
  private reference: Transformer | null = null;
  private published: PolicyVersion;
  /** The weights are no longer those of `published`. */
  private changed = false;
  /** The same before the last optimiser step. */
  private changedBefore = false;

  private constructor(
    opened: OpenedBackend,
    modelDir: string,
    config: ModelConfig,
    parameters: ParameterStore,
    rotaryDtype: RotaryDtype,
    executor: ChosenExecutor,
    lora: LoraOptions | null,
  ) {
    this.modelDir = modelDir;
    this.config = config;
    this.executor = executor;
    this.policy = executor.transformer(parameters, new RopeTables(config.rope, config.headDim, rotaryDtype));
    this.baseSha256 = parameters.sha256(executor.fusedStep?.digests);
    this.published = { n: 0, sha256: this.baseSha256 };
    this.adapters = lora && new Adapters(parameters, lora, { directory: modelDir, sha256: this.baseSha256 });
    this.activationCache = new ActivationCache(this.policy);
    this.learner = new Learner(this.policy, executor.fusedStep, this.adapters, this.activationCache);
    this.info = {
      backend: opened.backend,
      reason: opened.reason,
      executor: executor.name,
      executorReason: executor.reason,
      precision: executor.precision,
      backendVersion: opened.version,
      pid: process.pid,
    };
    this.modelInfo = {
      family: config.family,
      parameters: parameters.count(),
      trainedParameters: this.learner.trained.count(),
      vocabSize: config.vocabSize,
      maxPositions: config.maxPositions,
      stopIds: config.eosIds,
      padId: config.padId ?? 0,
    };
  }

  /**
   * Opens the backend and loads the model, as version 0. `rotaryDtype` overrides config.json's `inv_freq_dtype`, which
   * overrides float32.
   */
  static async open(modelDir: string, options: CoreOptions, rotaryDtype?: RotaryDtype): Promise<EngineCore> {
    const config = await readModelConfig(modelDir);
    const source = await readTensors(modelDir, config);
    const opened = await openBackend(options.backend, options.threads);
    const dtype = rotaryDtype ?? config.rope.inverseFrequencyDtype ?? "float32";
    const executor = await chooseExecutor(opened, config, options);
    const parameters = ParameterStore.load(config, source);
    return new EngineCore(opened, modelDir, config, parameters, dtype, executor, options.lora ?? null);
  }

  /** The policy that was published last. */
  version(): PolicyVersion {
    return this.published;
  }

  /** Draws from the current weights; they are published first where they were not and the request takes any version. */
  async sample(request: SampleInput, signal: AbortSignal): Promise<SampleReply> {
    const started = performance.now();
    if (request.policy === null) this.published = this.nextVersion();
    else this.assertPolicy(request.policy);
    this.changed = false;
    this.learner.settle();
    const { n: version, sha256 } = this.published;
    const cache = request.forTraining ? this.activationCache : null;
    const drawn = await sampleSequences(this.policy, request, signal, this.executor.decoder, cache);
    const sequences = drawn.map((group) =>
      group.map((sequence) => ({
        ...sequence,
        spans: [{ version, sha256, start: 0, end: sequence.tokenIds.length }],
      })),
    );
    return { sequences, seconds: (performance.now() - started) / 1000 };
  }

  /** Errors: WEIR_E_POLICY_VERSION where the current weights are not those that are wanted. */
  private assertPolicy(wanted: PolicyWanted, hash: string | null = null): void {
    const { n, sha256 } = this.published;
    const numbered = "exactly" in wanted ? n === wanted.exactly : n >= wanted.atLeast;
    const fits = numbered && (hash === null || hash === sha256);
    if (fits && !this.changed) return;
    const asked = "exactly" in wanted ? `${wanted.exactly}` : `${wanted.atLeast} or newer`;
    const found = this.changed ? `weights that were trained on from version ${n} and not published` : `version ${n}`;
    throw new WeirError("WEIR_E_POLICY_VERSION", `policy version ${asked} was asked for, the engine holds ${found}`, {
      wanted,
      version: n,
    });
  }

  /** What the current weights are called once they are published. */
  private nextVersion(): PolicyVersion {
    return this.changed ? { n: this.published.n + 1, sha256: this.weightsHash() } : this.published;
  }

  private weightsHash(): string {
    return this.policy.parameters.sha256(this.executor.fusedStep?.digests);
  }

  async forwardBackward(
    batch: PolicyBatch,
    signal: AbortSignal,
    evaluate: EvaluateLoss | null = null,
  ): Promise<PolicyMetrics> {
    if (batch.oldPolicy !== null) this.assertPolicy({ exactly: batch.oldPolicy.n }, batch.oldPolicy.sha256);
    return this.learner.forwardBackward(batch, signal, evaluate);
  }

  sftForwardBackward(batch: SftBatch, signal: AbortSignal): Promise<SftMetrics> {
    return this.learner.sftForwardBackward(batch, signal);
  }

  optimStep(config: OptimiserConfig, reportTensors: boolean, revisable = false): OptimStepReply {
    const { applied, gradNorm, byTensor } = this.learner.optimStep(config, reportTensors, revisable);
    this.activationCache.clear();
    this.changedBefore = this.changed;
    this.changed ||= applied;
    return { applied, gradNorm, gradNormByTensor: byTensor };
  }

  /** Leaves that share of the last step, which was revisable; see `Learner.reviseStep`. */
  reviseStep(share: number): void {
    this.learner.reviseStep(share);
    this.activationCache.clear();
    if (share === 0) this.changed = this.changedBefore;
  }

  gradientNorm(): number {
    return this.learner.gradientNorm();
  }

  discardGradients(): void {
    this.learner.clear();
  }

  logprobs(request: LogprobsRequest, signal: AbortSignal) {
    const model = request.which === "policy" ? this.policy : this.reference;
    if (model === null) {
      throw new WeirError(
        "WEIR_E_STATE",
        "log-probs of the reference were asked for before one was frozen; call freezeReference first",
      );
    }
    const activationCache = model === this.policy ? this.activationCache : null;
    return scoreGroups(model, request.groups, { ...request, activationCache, signal });
  }

  scoreSequences(sequences: readonly (readonly number[])[], signal: AbortSignal): Promise<ScoredSequences> {
    return scoreSequences(this.policy, sequences, signal);
  }

  /** Logits [V] after the last token of a sequence. */
  lastLogits(ids: readonly number[]): Float32Array {
    return lastLogits(this.policy, ids);
  }

  freezeReference(): void {
    this.reference?.parameters.dispose();
    this.reference = this.executor.transformer(this.policy.parameters.copy(), this.policy.tables);
  }

  /** Names the weights and hands them over in the form `as`. Errors: WEIR_E_CAPABILITY for adapters where none are trained. */
  async publish(as: ArtifactKind, folder: string | null): Promise<PublishedPolicy> {
    this.learner.settle();
    const version = this.nextVersion();
    const { artifact, bytes } = await this.artifact(as, folder);
    this.published = version;
    this.changed = false;
    return { version, artifact, bytes };
  }

  private async artifact(
    as: ArtifactKind,
    folder: string | null,
  ): Promise<{ artifact: PolicyArtifact; bytes: number }> {
    if (as === "handle") return { artifact: { kind: "handle", uri: `engine:${process.pid}` }, bytes: 0 };
    if (folder === null) throw new WeirError("WEIR_E_USAGE", `publishing a ${as} needs a folder to write it to`);
    if (as === "checkpoint") {
      await this.writeModel(folder);
      return { artifact: { kind: "checkpoint", uri: folder }, bytes: await folderBytes(folder) };
    }
    if (this.adapters === null) {
      throw new WeirError("WEIR_E_CAPABILITY", "no adapters are trained here; set model.lora, or publish a checkpoint");
    }
    const saved = this.adapters.saved();
    const uri = await writeAdapter(folder, saved);
    const artifact = { kind: "adapter", uri, baseSha256: saved.base.sha256, rank: saved.options.rank } as const;
    return { artifact, bytes: await folderBytes(uri) };
  }

  private async writeModel(directory: string): Promise<void> {
    await writeModelFolder(directory, {
      sourceDir: this.modelDir,
      tensors: this.policy.parameters.source(),
      dtype: "float32",
    });
    if (this.adapters !== null) await writeAdapter(directory, this.adapters.saved());
  }

  /** Writes a Hugging Face folder with the weights, and `optimizer.safetensors` + `engine-state.json`. */
  async saveState(directory: string): Promise<void> {
    this.learner.settle();
    await this.writeModel(directory);
    const state: EngineState = {
      schemaVersion: STATE_SCHEMA,
      version: this.published,
      sha256: this.changed ? this.weightsHash() : this.published.sha256,
      changed: this.changed,
      optimiserStep: this.learner.optimiser.step,
    };
    await writeSafetensors(join(directory, OPTIMISER_FILE), this.learner.optimiser.source(), { format: "pt" });
    await writeFile(join(directory, STATE_FILE), `${JSON.stringify(state, null, 2)}\n`);
  }

  /**
   * Takes a policy that was published elsewhere; for an engine that only samples. An adapter is merged into the weights of the model that
   * the engine was opened with.
   * Errors: WEIR_E_POLICY_VERSION for a handle of other weights than its own, and for weights that do not fit; WEIR_E_STATE where this
   * engine trains.
   */
  async adopt({ version, artifact }: PublishedPolicy): Promise<void> {
    const same = version.n === this.published.n && version.sha256 === this.published.sha256;
    if (same && !this.changed) return;
    if (artifact.kind === "handle") {
      throw new WeirError(
        "WEIR_E_POLICY_VERSION",
        `policy version ${version.n} is a ${artifact.kind} of other weights than this engine's (version ${this.published.n}); publish a checkpoint`,
        { version: version.n, artifact: artifact.kind },
      );
    }
    if (this.learner.optimiser.step > 0 || this.changed) {
      throw new WeirError(
        "WEIR_E_STATE",
        "an engine that trains cannot adopt other weights; sample with another engine",
      );
    }
    if (artifact.kind === "adapter") await this.mergeAdapter(artifact);
    else await this.loadWeights(artifact.uri, null, version);
    this.published = version;
  }

  private async mergeAdapter(artifact: Extract<PolicyArtifact, { readonly kind: "adapter" }>): Promise<void> {
    const { parameters } = this.policy;
    const adapter = await readAdopted(artifact, parameters, this.baseSha256);
    const base = await readTensors(this.modelDir, this.config);
    this.activationCache.clear();
    takeAdopted(parameters, base, adapter, this.offBase);
    this.offBase = adapter.weights;
  }

  /**
   * Takes weights, version and optimiser of a folder; without engine-state.json weights only, as version 0.
   * Gradients not yet committed are dropped. Where adapters are trained, the folder's adapter is taken with it; weights without
   * one become the frozen weights under fresh adapters. Throws WEIR_E_CHECKPOINT_DAMAGED, with everything as before.
   * With `above` the next publication is numbered above it.
   */
  async loadState(directory: string, above: number | null = null): Promise<PolicyVersion> {
    const state = await readState(directory);
    const sha256 = await this.loadWeights(directory, state);
    const { n, sha256: name } = state?.version ?? { n: 0, sha256 };
    this.published = { n: Math.max(n, above ?? 0), sha256: name };
    this.changed = above !== null || (state?.changed ?? sha256 !== name);
    return this.published;
  }

  /**
   * Returns the hash of the weights that were loaded. Errors: WEIR_E_POLICY_VERSION where they are not those of `expected`, with
   * everything as before.
   */
  private async loadWeights(
    directory: string,
    state: EngineState | null,
    expected: PolicyVersion | null = null,
  ): Promise<string> {
    const source = await readTensors(directory, this.config);
    const sha256 = contentHash(this.policy.parameters.names().map((name) => tensorDigest(source.read(name))));
    if (expected !== null && expected.sha256 !== sha256) {
      throw new WeirError(
        "WEIR_E_POLICY_VERSION",
        `the weights in ${directory} hash to ${sha256.slice(0, 12)}…, version ${expected.n} to ${expected.sha256.slice(0, 12)}…; publish it again`,
        { version: expected.n },
      );
    }
    if (state !== null && state.sha256 !== sha256) {
      throw new WeirError(
        "WEIR_E_CHECKPOINT_DAMAGED",
        `the weights in ${directory} hash to ${sha256.slice(0, 12)}…, ${STATE_FILE} says ${state.sha256.slice(0, 12)}…; use another checkpoint`,
        { directory },
      );
    }
    const adapter = this.adapters && (await readAdapter(directory, this.adapters.saved()));
    if (this.adapters !== null && state !== null && adapter === null) {
      throw new WeirError(
        "WEIR_E_CHECKPOINT_DAMAGED",
        `${directory} was trained without adapters; resume without model.lora, or start a new run from its model folder`,
        { directory },
      );
    }
    const { optimiser } = this.learner;
    const moments = state && (await readSafetensors(join(directory, OPTIMISER_FILE)));
    this.learner.settle();
    if (state === null || moments === null) optimiser.reset();
    else optimiser.restore(moments, state.optimiserStep, this.learner.trained);
    this.policy.trains ||= optimiser.step > 0;
    const { parameters } = this.policy;
    this.activationCache.clear();
    for (const name of parameters.names()) {
      parameters.replace(name, tf.tensor(source.read(name), parameters.get(name).shape));
    }
    this.offBase = parameters.names();
    if (adapter === null) this.adapters?.rebase(parameters, { directory, sha256 });
    else this.adapters?.take(adapter);
    this.learner.clear();
    return sha256;
  }

  resetOptimiser(): void {
    this.learner.settle();
    this.learner.optimiser.reset();
  }

  stats(): EngineStats {
    const { numTensors, numBytes } = tf.memory();
    return {
      tensors: numTensors,
      bytes: numBytes,
      rssBytes: process.memoryUsage.rss(),
      peakRssBytes: process.resourceUsage().maxRSS * 1024,
      graphs: this.executor.costs.graphs,
      compileSeconds: this.executor.costs.seconds,
    };
  }

  /** What a micro-batch of this size would take. */
  planMemory(size: MicroBatchSize): MemoryPlan {
    return planMemory(this.config, this.policy.runner.form, size, this.policy.memoryBudget);
  }

  dispose(): void {
    this.activationCache.clear();
    this.learner.dispose();
    this.adapters?.dispose();
    this.reference?.parameters.dispose();
    this.policy.parameters.dispose();
    this.policy.tables.dispose();
    this.executor.dispose();
  }
}

async function readState(directory: string): Promise<EngineState | null> {
  const path = join(directory, STATE_FILE);
  try {
    await access(path);
  } catch {
    return null;
  }
  try {
    const state = JSON.parse(await readFile(path, "utf8")) as EngineState;
    // Schema 2 counted optimiser steps as versions, so that its weights were always those of its version.
    const earlier = state.schemaVersion === 2;
    if (!earlier && state.schemaVersion !== STATE_SCHEMA) throw new Error(`schemaVersion ${state.schemaVersion}`);
    if (!Number.isInteger(state.version.n) || !Number.isInteger(state.optimiserStep)) throw new Error("counters");
    return earlier ? { ...state, sha256: state.version.sha256 } : state;
  } catch (cause) {
    throw new WeirError(
      "WEIR_E_CHECKPOINT_DAMAGED",
      `${path} cannot be read as an engine state; use another checkpoint`,
      { path },
      { cause },
    );
  }
}

/** Sizes of the files in a folder. */
async function folderBytes(directory: string): Promise<number> {
  const names = await readdir(directory);
  const sizes = await Promise.all(names.map(async (name) => (await stat(join(directory, name))).size));
  return sizes.reduce((sum, size) => sum + size, 0);
}
