/**
 * A trainer whose weights, gradients and optimiser are a model at a Tinker-compatible server. A gradient is summed there only with the
 * step that applies it: until then a batch is a forward pass whose log-probs give its metrics, and waits here. So any number of
 * batches makes one gradient exactly (I6), one that is given up leaves nothing at the server, and nothing that is not finite is sent
 * (I7). Invariants: weights without a version are not sampled from (ServerLink); after a step whose outcome is not known nothing is done
 * with the weights before a state is loaded.
 */
import { createHash } from "node:crypto";
import { resolve } from "node:path";
import type { LoraOptions } from "../../contracts/engine.js";
import type { ModelInfo } from "../../contracts/model-info.js";
import type { PolicyVersion } from "../../contracts/policy-version.js";
import type { ArtifactKind, PolicyArtifact, PublishedPolicy } from "../../contracts/published-policy.js";
import type {
  EvaluateLoss,
  OptimiserConfig,
  OptimStepReply,
  PolicyBatch,
  PolicyMetrics,
  ServerLossScale,
  SftBatch,
  SftMetrics,
  Trainer,
  TrainerCapabilities,
} from "../../contracts/trainer.js";
import { WeirError } from "../../errors.js";
import { LOSS_NAMES } from "../../losses/index.js";
import { assertPolicyBatch, assertSftBatch } from "../../model/train/validate.js";
import { assertIds } from "../../model/transformer/token-ids.js";
import { servedModel } from "../served-model.js";
import { readAdapterArchive } from "./adapter-archive.js";
import { adapterOptions, differenceOf } from "./adapter-options.js";
import { BaseWeights, folderBytes } from "./base-weights.js";
import { download, pathOf } from "./checkpoint-address.js";
import { isGone, TinkerClient, type TinkerOptions } from "./client.js";
import {
  evaluatePolicy,
  evaluateRows,
  type JudgedPolicy,
  type JudgedRows,
  nested,
  policySequences,
  supervisedRows,
} from "./evaluation.js";
import { passesOf, type QueuedGradient } from "./gradients.js";
import { KnownLogprobs } from "./known-logprobs.js";
import { findLossScale } from "./loss-scale.js";
import { encodePass } from "./messages.js";
import type { Sequence } from "./rows.js";
import { forward } from "./scoring.js";
import type { ServerLink } from "./server-link.js";
import { type Journal, type Pass, ServerModel } from "./server-model.js";
import { readState, writeState } from "./trainer-state.js";

export interface TinkerTrainerOptions extends TinkerOptions {
  /** Name of the base model at the server; null takes the only one. */
  readonly baseModel: string | null;
  /** The base model's folder here: configuration, and weights where policies are to be published as files. */
  readonly modelDir: string;
  readonly lora: LoraOptions;
  readonly lossScale: "auto" | ServerLossScale;
  /** Shared with the sampler of the same server. */
  readonly link: ServerLink;
}

/** Saved weights that are kept at the server: those published last, and those before that sequences may still be drawn from. */
const KEPT_HANDLES = 2;
const UNLOAD_MS = 10_000;

/** Files are published only where the base model's weights are at hand, to name them or to merge the adapter into them. */
export const TINKER_TRAINER: TrainerCapabilities = {
  losses: LOSS_NAMES,
  evaluates: true,
  lossScale: "denominators",
  temperatures: "one",
  entropies: false,
  trains: "adapter",
  clipsGradients: false,
  discardsGradients: false,
  reference: "base",
  reusesActivations: false,
  publishes: ["handle", "adapter", "checkpoint"],
  savesState: "address",
};

export function createTinkerTrainer(options: TinkerTrainerOptions): Trainer {
  return new TinkerTrainer(options);
}

class TinkerTrainer implements Trainer {
  readonly kind = "tinker";
  readonly specificationVersion = 2;
  private readonly client: TinkerClient;
  private readonly known = new KnownLogprobs();
  private journal: Journal = () => undefined;
  private base: BaseWeights | null = null;
  private baseModel = "";
  private scale: ServerLossScale | null = null;
  private begun = false;
  /** Null where it is lost. */
  private policy: ServerModel | null = null;
  private reference: ServerModel | null = null;
  private queue: QueuedGradient[] = [];
  private published: PolicyVersion = { n: 0, sha256: "" };
  /** The weights are no longer those of `published`. */
  private changed = false;
  /** Names the weights by what was done to the base model: a digest of each step is added. */
  private lineage = "";
  /** Where the present weights are saved for sampling; null where they are not. */
  private handle: string | null = null;
  private handles: string[] = [];
  /** Why the server's weights are not to be used; null where they are what they should be. */
  private unsettled: string | null = null;

  constructor(private readonly options: TinkerTrainerOptions) {
    this.client = new TinkerClient(options);
  }

  get capabilities(): TrainerCapabilities {
    const hasWeights = this.base?.hasWeights ?? true;
    return hasWeights ? TINKER_TRAINER : { ...TINKER_TRAINER, publishes: ["handle"] };
  }

  /** Errors: WEIR_E_STATE before `connect`. */
  get model(): ModelInfo {
    return this.weights().info;
  }

  journalTo(write: Journal): void {
    this.journal = write;
  }

  /** After a loss the model that was trained may be gone: then every call says WEIR_E_REMOTE_STATE until a state is loaded. */
  async connect({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    const { modelDir, lora, lossScale, baseModel } = this.options;
    this.base ??= await BaseWeights.open(modelDir, lora);
    const served = (await this.client.served(signal)).map(({ name }) => name);
    this.baseModel = servedModel(served, baseModel, { url: this.client.http.url, option: "trainer.baseModel" });
    if (await this.client.open(signal)) this.reference = null;
    this.scale ??= lossScale === "auto" ? await this.probedScale(signal) : lossScale;
    // A model that is lost is not made anew: a state has to be loaded.
    if (this.begun) return;
    this.policy = await this.newModel(signal);
    this.begun = true;
    this.lineage = digest([this.baseModel, JSON.stringify(adapterOptions(lora))]);
    this.published = { n: 0, sha256: this.lineage };
  }

  async forwardBackward(
    batch: PolicyBatch,
    { signal, evaluate }: { readonly signal: AbortSignal; readonly evaluate?: EvaluateLoss },
  ): Promise<PolicyMetrics> {
    const { metrics, gradient } = await this.judgedPolicy(batch, evaluate ?? null, signal);
    this.queue.push(gradient);
    return metrics;
  }

  async rehearse(
    batch: PolicyBatch,
    { signal, evaluate }: { readonly signal: AbortSignal; readonly evaluate?: EvaluateLoss },
  ): Promise<PolicyMetrics> {
    return (await this.judgedPolicy(batch, evaluate ?? null, signal)).metrics;
  }

  async sftForwardBackward(batch: SftBatch, { signal }: { readonly signal: AbortSignal }): Promise<SftMetrics> {
    const { metrics, gradient } = await this.judgedRows(batch, signal);
    this.queue.push(gradient);
    return metrics;
  }

  async rehearseSft(batch: SftBatch, { signal }: { readonly signal: AbortSignal }): Promise<SftMetrics> {
    return (await this.judgedRows(batch, signal)).metrics;
  }

  /** Errors: WEIR_E_CAPABILITY: servers tell a norm with the step only. */
  async gradientNorm(): Promise<number> {
    throw new WeirError(
      "WEIR_E_CAPABILITY",
      "a Tinker-compatible server tells the norm of a gradient only with the step that applies it; judge rehearse() instead",
    );
  }

  async discardGradients(): Promise<void> {
    this.queue = [];
  }

  /**
   * Sends what was queued, and the step. Errors: WEIR_E_CAPABILITY for clipping; WEIR_E_STATE without a gradient; WEIR_E_REMOTE_STATE
   * where the server's weights are not finite afterwards; after any error of the server every call says WEIR_E_REMOTE_STATE until a
   * state is loaded, since it is not known what the server has summed.
   */
  async optimStep(config: OptimiserConfig, { signal }: { readonly signal: AbortSignal }): Promise<OptimStepReply> {
    const model = this.settled();
    if (config.maxGradNorm !== null)
      throw new WeirError("WEIR_E_CAPABILITY", "the server clips no gradients; set optimiser.maxGradNorm to null");
    if (this.queue.length === 0)
      throw new WeirError("WEIR_E_STATE", "an optimiser step needs a gradient, none was computed");
    const passes = passesOf(this.queue, this.scale as ServerLossScale);
    await this.options.link.changing(signal);
    this.unsettled = "an optimiser step was broken off";
    this.queue = [];
    this.known.clear();
    this.handle = null;
    for (const pass of passes) await this.send(model, pass, signal);
    const { gradNorm } = await model.optimStep(config, signal);
    if (gradNorm !== null && !Number.isFinite(gradNorm)) {
      this.unsettled = `the gradient norm of an applied step was ${gradNorm}`;
      throw this.lost();
    }
    this.unsettled = null;
    this.changed = true;
    this.lineage = digest([this.lineage, JSON.stringify(config), ...passes.map(passBytes)]);
    // Not measured where the server does not tell it.
    return { applied: true, gradNorm: gradNorm ?? Number.NaN, gradNormByTensor: null };
  }

  /** Errors: WEIR_E_CAPABILITY for another temperature than 1. */
  async logprobs(
    groups: readonly { readonly promptIds: readonly number[]; readonly completions: readonly (readonly number[])[] }[],
    options: { readonly signal: AbortSignal; readonly temperature: number; readonly which: "policy" | "reference" },
  ): ReturnType<Trainer["logprobs"]> {
    assertTemperature(options.temperature);
    const { config } = this.weights();
    for (const { promptIds, completions } of groups) assertIds(config, promptIds, completions);
    const sequences = groups.flatMap(({ promptIds, completions }) =>
      completions.map((tokenIds): Sequence => ({ promptIds, tokenIds })),
    );
    const policy = this.settled();
    if (options.which === "reference")
      return { logprobs: nested(groups, await this.referenceLogprobs(sequences, options.signal)), entropies: null };
    const found = await forward(policy, sequences, options.signal);
    this.known.learn(sequences, found);
    return { logprobs: nested(groups, found), entropies: null };
  }

  async publish({
    signal,
    as,
    folder,
  }: {
    readonly signal: AbortSignal;
    readonly as: ArtifactKind;
    readonly folder: string | null;
  }): Promise<PublishedPolicy> {
    const model = this.settled();
    const version = this.changed ? { n: this.published.n + 1, sha256: this.lineage } : this.published;
    this.handle ??= await this.savedHandle(model, version, signal);
    const { artifact, bytes } = await this.artifact(as, this.handle, folder, signal);
    this.published = version;
    this.changed = false;
    this.options.link.published(this.handle);
    return { version, artifact, bytes };
  }

  async saveState(folder: string, { signal }: { readonly signal: AbortSignal }): Promise<void> {
    const address = await this.settled().save(`state-${this.published.n}`, signal);
    await writeState(folder, {
      address,
      baseModel: this.baseModel,
      rank: this.options.lora.rank,
      version: this.published,
      changed: this.changed,
      lineage: this.lineage,
    });
  }

  /** Errors: WEIR_E_CAPABILITY for a server that removes no saved states; WEIR_E_REMOTE where it refuses; WEIR_E_UNREACHABLE. */
  async forgetState(folder: string, { signal }: { readonly signal: AbortSignal }): Promise<void> {
    const state = await readState(folder).catch(() => null);
    if (state === null) return;
    const path = `/training_runs/${pathOf(state.address, "weights")}`;
    const answer = await this.client.delete(path, signal);
    if ((answer.status >= 200 && answer.status < 300) || isGone(answer)) return;
    if (![404, 405, 501].includes(answer.status)) throw this.client.http.refusal({ method: "DELETE", path }, answer);
    throw new WeirError(
      "WEIR_E_CAPABILITY",
      `${this.client.http.url} removes no saved states (status ${answer.status}): those of checkpoints and snapshots of the past stay there; remove them by the server's own means`,
      { status: answer.status },
    );
  }

  /** Errors: WEIR_E_CHECKPOINT_DAMAGED for a state of another model, or a model folder with other weights than the base model's. */
  async loadState(
    folder: string,
    { signal, above }: { readonly signal: AbortSignal; readonly above?: number },
  ): Promise<PolicyVersion> {
    const state = await readState(folder);
    if (state === null) await this.assertBase(folder);
    else this.assertFits(state, folder);
    const address = state?.address ?? null;
    await this.replaceModel(address, true, signal);
    this.lineage = state?.lineage ?? digest([this.baseModel, JSON.stringify(adapterOptions(this.options.lora))]);
    const { n, sha256 } = state?.version ?? { n: 0, sha256: this.lineage };
    this.published = { n: Math.max(n, above ?? 0), sha256 };
    this.changed = above !== undefined || (state?.changed ?? false);
    return this.published;
  }

  /** The reference is the base model, whatever the weights are: servers hold no other copy. */
  async freezeReference({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    await this.referenceModel(signal);
  }

  async resetOptimiser({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    const address = await this.settled().save("reset", signal);
    await this.replaceModel(address, false, signal);
    await this.client.remove(`/training_runs/${pathOf(address)}`);
  }

  async dispose(): Promise<void> {
    const signal = AbortSignal.timeout(UNLOAD_MS);
    await Promise.all([this.policy?.unload(signal), this.reference?.unload(signal)]);
    this.policy = null;
    this.reference = null;
    this.client.close();
  }

  private weights(): BaseWeights {
    if (this.base !== null) return this.base;
    throw new WeirError("WEIR_E_STATE", "the trainer was used before connect(); connect it first");
  }

  /** The model that is trained. Errors: WEIR_E_STATE before `connect`; WEIR_E_REMOTE_STATE where its weights are not to be used. */
  private settled(): ServerModel {
    this.weights();
    if (this.unsettled !== null || this.policy === null) throw this.lost();
    return this.policy;
  }

  private lost(): WeirError {
    const why = this.unsettled ?? "the model at the server is gone";
    return new WeirError("WEIR_E_REMOTE_STATE", `${why}; the run goes back to its last checkpoint`);
  }

  private async newModel(signal: AbortSignal): Promise<ServerModel> {
    const { lora } = this.options;
    const wanted = adapterOptions(lora);
    const model = await ServerModel.create(this.client, this.baseModel, wanted, (call) => this.journal(call), signal);
    const difference = differenceOf(wanted, model.adapter);
    if (difference === null) return model;
    await model.unload(signal);
    throw difference;
  }

  private async probedScale(signal: AbortSignal): Promise<ServerLossScale> {
    const model = await this.newModel(signal);
    try {
      return await findLossScale(model, signal);
    } finally {
      await model.unload(AbortSignal.timeout(UNLOAD_MS));
    }
  }

  /** A fresh adapter changes nothing: its model is the base model. */
  private async referenceModel(signal: AbortSignal): Promise<ServerModel> {
    this.reference ??= await this.newModel(signal);
    return this.reference;
  }

  /** The server may have given the reference up with a session that ended: it is the same in a new one. */
  private async referenceLogprobs(sequences: readonly Sequence[], signal: AbortSignal): Promise<(readonly number[])[]> {
    try {
      return await forward(await this.referenceModel(signal), sequences, signal);
    } catch (error) {
      if (!WeirError.isInstance(error) || error.code !== "WEIR_E_REMOTE_STATE") throw error;
      this.reference = null;
      return forward(await this.referenceModel(signal), sequences, signal);
    }
  }

  /** Puts a new model in the place of the one that was trained: as saved at an address, or a fresh one. */
  private async replaceModel(address: string | null, optimiser: boolean, signal: AbortSignal): Promise<void> {
    if (await this.client.open(signal)) this.reference = null;
    await this.options.link.changing(signal);
    const model = await this.newModel(signal).catch(async (error: unknown) => {
      if (!WeirError.isInstance(error) || error.code !== "WEIR_E_UNREACHABLE" || this.policy === null) throw error;
      // A full server: the model that is given up makes room.
      await this.policy.unload(signal);
      this.policy = null;
      return this.newModel(signal);
    });
    try {
      if (address !== null) await model.load(address, optimiser, signal);
    } catch (error) {
      await model.unload(AbortSignal.timeout(UNLOAD_MS));
      throw error;
    }
    const before = this.policy;
    this.policy = model;
    this.unsettled = null;
    this.queue = [];
    this.known.clear();
    this.handle = null;
    for (const address of this.handles.splice(0)) await this.removeHandle(address);
    await before?.unload(AbortSignal.timeout(UNLOAD_MS));
  }

  private async assertBase(folder: string): Promise<void> {
    const base = this.weights();
    if (resolve(folder) === resolve(base.directory) || (await base.isSame(folder))) return;
    throw new WeirError(
      "WEIR_E_CHECKPOINT_DAMAGED",
      `${folder} holds other weights than the base model in ${base.directory}, which a server cannot be given; start from the base model, or from a state of this server`,
      { folder },
    );
  }

  private assertFits({ baseModel, rank }: { readonly baseModel: string; readonly rank: number }, folder: string): void {
    if (baseModel === this.baseModel && rank === this.options.lora.rank) return;
    throw new WeirError(
      "WEIR_E_CHECKPOINT_DAMAGED",
      `the state in ${folder} is one of ${baseModel} with rank ${rank}, the trainer's is ${this.baseModel} with rank ${this.options.lora.rank}; use a checkpoint of this configuration`,
      { folder },
    );
  }

  /** Log-probs at the present weights, by a forward pass where none has given them yet. */
  private presentLogprobs(
    sequences: readonly Sequence[],
    signal: AbortSignal,
  ): Promise<readonly (readonly number[])[]> {
    const model = this.settled();
    return this.known.of(sequences, (unknown) => forward(model, unknown, signal));
  }

  private async judgedPolicy(
    batch: PolicyBatch,
    evaluate: EvaluateLoss | null,
    signal: AbortSignal,
  ): Promise<JudgedPolicy> {
    assertPolicyBatch(batch, this.weights().config);
    assertTrainable(batch);
    this.assertOldPolicy(batch.oldPolicy);
    return evaluatePolicy(batch, await this.presentLogprobs(policySequences(batch), signal), evaluate);
  }

  private async judgedRows(batch: SftBatch, signal: AbortSignal): Promise<JudgedRows> {
    assertSftBatch(batch, this.weights().config);
    const rows = supervisedRows(batch);
    const sequences = rows.map(({ sequence }) => sequence);
    return evaluateRows(batch.aggregation, rows, await this.presentLogprobs(sequences, signal));
  }

  /** Errors: WEIR_E_POLICY_VERSION where the present weights are not those. */
  private assertOldPolicy(wanted: PolicyVersion | null): void {
    if (wanted === null) return;
    const { n, sha256 } = this.published;
    if (!this.changed && wanted.n === n && wanted.sha256 === sha256) return;
    const held = this.changed ? `weights that were trained on from version ${n}` : `version ${n}`;
    throw new WeirError(
      "WEIR_E_POLICY_VERSION",
      `a batch of policy version ${wanted.n} was given, the trainer holds ${held}`,
      { wanted, version: n },
    );
  }

  /** One pass whose gradient is summed at the server. Errors: WEIR_E_NON_FINITE where log-probs are not finite. */
  private async send(model: ServerModel, pass: Pass, signal: AbortSignal): Promise<void> {
    const outputs = await model.forwardBackward(pass, signal);
    if (outputs.every(({ logprobs }) => logprobs.every((row) => row.every(Number.isFinite)))) return;
    this.unsettled = "a pass gave log-probs that are not finite";
    throw this.lost();
  }

  private async savedHandle(model: ServerModel, { n }: PolicyVersion, signal: AbortSignal): Promise<string> {
    const address = await model.saveForSampler(`v${n}`, signal);
    this.handles.push(address);
    while (this.handles.length > KEPT_HANDLES) await this.removeHandle(this.handles.shift() as string);
    return address;
  }

  private removeHandle(address: string): Promise<void> {
    return this.client.remove(`/training_runs/${pathOf(address, "sampler_weights")}`);
  }

  private async artifact(
    as: ArtifactKind,
    handle: string,
    folder: string | null,
    signal: AbortSignal,
  ): Promise<{ readonly artifact: PolicyArtifact; readonly bytes: number }> {
    if (as === "handle") return { artifact: { kind: "handle", uri: handle }, bytes: 0 };
    if (folder === null) throw new WeirError("WEIR_E_USAGE", `publishing a ${as} needs a folder to write it to`);
    const base = this.weights();
    const archive = await download(this.client, this.options, handle, signal);
    const { rank, alpha, tensors } = await readAdapterArchive(archive, base.pairShapes);
    if (rank !== base.lora.rank || alpha !== base.lora.alpha)
      throw new WeirError(
        "WEIR_E_REMOTE",
        `the server's adapter has rank ${rank} and alpha ${alpha}, model.lora asks for ${base.lora.rank} and ${base.lora.alpha}`,
      );
    if (as === "checkpoint") {
      await base.writeMerged(folder, tensors);
      return { artifact: { kind: "checkpoint", uri: folder }, bytes: await folderBytes(folder) };
    }
    const uri = await base.writeAdapter(folder, tensors);
    const artifact = { kind: "adapter", uri, baseSha256: await base.sha256(), rank } as const;
    return { artifact, bytes: await folderBytes(uri) };
  }
}

function assertTemperature(temperature: number): void {
  if (temperature === 1) return;
  throw new WeirError(
    "WEIR_E_CAPABILITY",
    `the server's log-probs are of temperature 1, rollout.temperature is ${temperature}; set it to 1`,
  );
}

/** Errors: WEIR_E_CAPABILITY for a loss with terms that the server gives no gradient of. */
function assertTrainable({ loss }: PolicyBatch): void {
  assertTemperature(loss.temperature);
  const terms = { "loss.klCoefficient": loss.klCoefficient, "loss.entropyCoefficient": loss.entropyCoefficient };
  for (const [path, value] of Object.entries(terms))
    if (value !== 0)
      throw new WeirError("WEIR_E_CAPABILITY", `a Tinker-compatible server has no such term; set ${path} to 0`, {
        path,
      });
}

/** A pass as it is sent to any model. */
function passBytes(pass: Pass): Uint8Array {
  return encodePass({ ...pass, modelId: "", number: 0, forwardOnly: false });
}

function digest(parts: readonly (string | Uint8Array)[]): string {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(createHash("sha256").update(part).digest());
  return hash.digest("hex");
}
