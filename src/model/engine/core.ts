/**
 * The engine without a process around it: one policy, its learner, an optional frozen reference.
 * Calls are answered one after another; the caller serialises them. Invariant: after a call that throws, weights,
 * optimiser and gradient sums are as before it.
 */
import { access, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type {
  EngineInfo,
  EngineStats,
  LoraOptions,
  MemoryPlan,
  MicroBatchSize,
  ModelInfo,
} from "../../contracts/engine.js";
import type { PolicyVersion } from "../../contracts/policy-version.js";
import type { SampleReply, SampleRequest } from "../../contracts/sampler.js";
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
import { type OpenedBackend, openBackend } from "./backend.js";
import { type ChosenExecutor, type CoreOptions, chooseExecutor } from "./executor.js";

const OPTIMISER_FILE = "optimizer.safetensors";
const STATE_FILE = "engine-state.json";
const STATE_SCHEMA = 2;

interface EngineState {
  readonly schemaVersion: number;
  readonly version: PolicyVersion;
  readonly optimiserStep: number;
}

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
  private reference: Transformer | null = null;
  private current: PolicyVersion;

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
    this.current = { n: 0, sha256: parameters.sha256(executor.fusedStep?.digests) };
    this.adapters = lora && new Adapters(parameters, lora, { directory: modelDir, sha256: this.current.sha256 });
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
    const executor = chooseExecutor(opened, config, options);
    const parameters = ParameterStore.load(config, source);
    return new EngineCore(opened, modelDir, config, parameters, dtype, executor, options.lora ?? null);
  }

  version(): PolicyVersion {
    return this.current;
  }

  async sample(request: SampleRequest, signal: AbortSignal): Promise<SampleReply> {
    const started = performance.now();
    const sequences = await sampleSequences(this.policy, request, signal, this.executor.decoder, this.activationCache);
    return { sequences, version: this.current, seconds: (performance.now() - started) / 1000 };
  }

  forwardBackward(
    batch: PolicyBatch,
    signal: AbortSignal,
    evaluate: EvaluateLoss | null = null,
  ): Promise<PolicyMetrics> {
    return this.learner.forwardBackward(batch, signal, evaluate);
  }

  sftForwardBackward(batch: SftBatch, signal: AbortSignal): Promise<SftMetrics> {
    return this.learner.sftForwardBackward(batch, signal);
  }

  optimStep(config: OptimiserConfig, reportTensors: boolean): OptimStepReply {
    const { applied, gradNorm, byTensor } = this.learner.optimStep(config, reportTensors);
    this.activationCache.clear();
    if (applied)
      this.current = { n: this.current.n + 1, sha256: this.policy.parameters.sha256(this.executor.fusedStep?.digests) };
    return { applied, gradNorm, gradNormByTensor: byTensor, version: this.current };
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

  async save(directory: string, optimiser: boolean): Promise<PolicyVersion> {
    await writeModelFolder(directory, {
      sourceDir: this.modelDir,
      tensors: this.policy.parameters.source(),
      dtype: "float32",
    });
    if (this.adapters !== null) await writeAdapter(directory, this.adapters.saved());
    if (optimiser) {
      const state: EngineState = {
        schemaVersion: STATE_SCHEMA,
        version: this.current,
        optimiserStep: this.learner.optimiser.step,
      };
      await writeSafetensors(join(directory, OPTIMISER_FILE), this.learner.optimiser.source(), { format: "pt" });
      await writeFile(join(directory, STATE_FILE), `${JSON.stringify(state, null, 2)}\n`);
    }
    return this.current;
  }

  /**
   * Takes weights, version and optimiser of a folder; without engine-state.json weights only, as version 0.
   * Gradients not yet committed are dropped. Where adapters are trained, the folder's adapter is taken with it; weights without
   * one become the frozen weights under fresh adapters. Throws WEIR_E_CHECKPOINT_DAMAGED, with everything as before.
   */
  async restore(directory: string): Promise<PolicyVersion> {
    const source = await readTensors(directory, this.config);
    const state = await readState(directory);
    const sha256 = contentHash(this.policy.parameters.names().map((name) => tensorDigest(source.read(name))));
    if (state !== null && state.version.sha256 !== sha256) {
      throw new WeirError(
        "WEIR_E_CHECKPOINT_DAMAGED",
        `the weights in ${directory} hash to ${sha256.slice(0, 12)}…, ${STATE_FILE} says ${state.version.sha256.slice(0, 12)}…; use another checkpoint`,
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
    if (state === null || moments === null) optimiser.reset();
    else optimiser.restore(moments, state.optimiserStep, this.learner.trained);
    const { parameters } = this.policy;
    this.activationCache.clear();
    for (const name of parameters.names()) {
      parameters.replace(name, tf.tensor(source.read(name), parameters.get(name).shape));
    }
    if (adapter === null) this.adapters?.rebase(parameters, { directory, sha256 });
    else this.adapters?.take(adapter);
    this.learner.clear();
    this.current = state?.version ?? { n: 0, sha256 };
    return this.current;
  }

  resetOptimiser(): void {
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
    if (state.schemaVersion !== STATE_SCHEMA) throw new Error(`schemaVersion ${state.schemaVersion}`);
    if (!Number.isInteger(state.version.n) || !Number.isInteger(state.optimiserStep)) throw new Error("counters");
    return state;
  } catch (cause) {
    throw new WeirError(
      "WEIR_E_CHECKPOINT_DAMAGED",
      `${path} cannot be read as an engine state; use another checkpoint`,
      { path },
      { cause },
    );
  }
}
