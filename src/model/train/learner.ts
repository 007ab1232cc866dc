/**
 * The learner: sums gradients over calls and micro-batches, then commits them.
 * Invariants: a call that fails, is aborted or gives a non-finite loss leaves the sums as they were (I7);
 * between micro-batches the event loop runs, so aborts arrive.
 */
import type { LossEvaluation } from "../../contracts/loss.js";
import type {
  EvaluateLoss,
  OptimiserConfig,
  PolicyBatch,
  PolicyMetrics,
  ScoredSequences,
  SftBatch,
  SftMetrics,
  Trainer,
} from "../../contracts/trainer.js";
import { WeirError } from "../../errors.js";
import { hostEvaluation } from "../../losses/host-evaluation.js";
import { assertFiniteMetrics, PolicyMetricSums } from "../../losses/policy-metrics.js";
import { sftWeights } from "../../losses/supervised.js";
import { type ActivationCache, BatchPrefixes } from "../activations/prefix-cache.js";
import { breathe } from "../tensor/breathe.js";
import { scope, tf } from "../tensor/tf.js";
import type { Adapters } from "../transformer/adapters.js";
import { GradientStore } from "../transformer/gradients.js";
import { headLogits } from "../transformer/head.js";
import type { Transformer } from "../transformer/model.js";
import { type PackedGroups, type PackItem, planGroups, planRows } from "../transformer/packing.js";
import type { ParameterStore } from "../transformer/parameters.js";
import { plainSegment } from "../transformer/segment.js";
import { assertIds } from "../transformer/token-ids.js";
import { AdamW, type MeasuredGradients, type OptimiserOutcome } from "./adamw.js";
import type { FusedStep } from "./fused-step.js";
import { runGroups, runRows } from "./micro-batch.js";
import { isTraced, lossSequences, microBatchTargets, policyTokenLoss, supervisedTokenLoss } from "./policy-gradient.js";
import { RevisableStep } from "./revisable-step.js";
import { assertPolicyBatch, assertSftBatch } from "./validate.js";

type Logprobs = readonly (readonly (readonly number[])[])[];

export class Learner {
  readonly optimiser: AdamW;
  private readonly model: Transformer;
  private readonly gradients: GradientStore;
  /** Norms of the summed gradients, once somebody has asked for them. */
  private measured: MeasuredGradients | null = null;
  /** The optimiser step taken last, where it can still be revised. */
  private revisable: RevisableStep | null = null;

  /**
   * `fused`: the optimiser's arithmetic in weir's own operations, where they are loaded. `adapters`: what is trained instead of
   * the model's own parameters. `activationCache`: what sampling computed of prompts and completions.
   */
  constructor(
    model: Transformer,
    fused: FusedStep | null,
    private readonly adapters: Adapters | null = null,
    private readonly activationCache: ActivationCache | null = null,
  ) {
    this.model = model;
    this.gradients = this.emptyStore();
    this.optimiser = new AdamW(fused);
  }

  /** `evaluate`: the loss, where the batch names none. */
  async forwardBackward(
    batch: PolicyBatch,
    signal: AbortSignal,
    evaluate: EvaluateLoss | null = null,
  ): Promise<PolicyMetrics> {
    assertPolicyBatch(batch, this.model.config);
    const onHost = hostEvaluation(batch.loss, evaluate);
    const inGraph = isTraced(batch.loss);
    const items = batch.groups.map(({ promptIds, completions }) => ({
      promptIds,
      completions: completions.map(({ tokenIds }) => tokenIds),
    }));
    const sums = new PolicyMetricSums(batch.loss);
    const logprobs = emptyLike(items);
    const metrics = await this.accumulate(async (gradients) => {
      const microBatches = planGroups(items, batch.microBatchTokens, this.model.runner.rounding);
      const prefixes = new BatchPrefixes(this.model, microBatches, this.activationCache, gradients);
      try {
        for (const microBatch of microBatches) {
          await breathe(signal);
          const targets = microBatchTargets(batch, microBatch);
          let evaluation: LossEvaluation | null = null;
          const lossOf = async ({ logprobs }: { readonly logprobs: Float32Array }) => {
            evaluation = await onHost(lossSequences(microBatch, targets, logprobs));
            return policyTokenLoss(batch.loss, targets, joined(evaluation.coefficients, logprobs.length));
          };
          const scores = await runGroups(
            this.model,
            microBatch,
            prefixes,
            { temperature: batch.loss.temperature, entropies: true },
            inGraph ? { gradients, loss: policyTokenLoss(batch.loss, targets, null) } : { gradients, lossOf },
          );
          evaluation ??= await onHost(lossSequences(microBatch, targets, scores.logprobs));
          sums.add({ ...targets, ...scores }, evaluation, microBatch.paddedTokens);
          scatter(logprobs, microBatch, scores.logprobs);
        }
      } finally {
        prefixes.dispose();
      }
      const reply = sums.finish(logprobs);
      const { logprobs: _, ...numbers } = reply;
      assertFiniteMetrics(numbers);
      return reply;
    });
    return metrics;
  }

  async sftForwardBackward(batch: SftBatch, signal: AbortSignal): Promise<SftMetrics> {
    assertSftBatch(batch, this.model.config);
    const weights = sftWeights(batch);
    const microBatches = planRows(
      batch.rows.map((row) => row.tokenIds),
      (row, token) => weights[row]![token] !== 0,
      batch.microBatchTokens,
      this.model.runner.rounding,
    );
    return this.accumulate(async (gradients) => {
      let loss = 0;
      let tokens = 0;
      let paddedTokens = 0;
      for (const microBatch of microBatches) {
        await breathe(signal);
        const own = Float32Array.from(microBatch.origin, ({ row, token }) => weights[row]![token]!);
        scope(() => {
          const { logprobs } = runRows(
            this.model,
            microBatch,
            { temperature: 1, entropies: false },
            { gradients, loss: supervisedTokenLoss(own) },
          );
          for (let i = 0; i < own.length; i += 1) loss -= own[i]! * logprobs[i]!;
        });
        tokens += own.length;
        paddedTokens += microBatch.paddedTokens;
      }
      assertFiniteMetrics({ loss });
      return { loss, tokens, paddedTokens, microBatches: microBatches.length };
    });
  }

  /** Global L2 norm of the summed gradients; not finite where one of them is not. Throws WEIR_E_STATE where there are none. */
  gradientNorm(): number {
    return this.measuredGradients().norm;
  }

  private measuredGradients(): MeasuredGradients {
    this.measured ??= this.optimiser.measure(this.gradients);
    return this.measured;
  }

  /** Commits the summed gradients; with `revisable` until `reviseStep` says otherwise. */
  optimStep(config: OptimiserConfig, reportTensors: boolean, revisable = false): OptimiserOutcome {
    const measured = this.measuredGradients();
    this.measured = null;
    this.settle();
    if (revisable && Number.isFinite(measured.norm)) {
      const { trained, adapters, optimiser } = this;
      this.revisable = new RevisableStep(
        { trained, policy: this.model.parameters, adapters, optimiser },
        measured.names,
      );
    }
    const outcome = this.optimiser.apply(this.trained, this.gradients, measured, config, reportTensors);
    if (outcome.applied) this.adapters?.merge(this.model.parameters);
    return outcome;
  }

  /**
   * Leaves that share of a revisable step's change of the weights; 0 undoes it whole.
   * Errors: WEIR_E_STATE where no revisable step was taken last; WEIR_E_USAGE for a share outside [0, 1].
   */
  reviseStep(share: number): void {
    if (!(share >= 0 && share <= 1))
      throw new WeirError("WEIR_E_USAGE", `reviseStep: expected a share in [0, 1], got ${share}`, { share });
    const step = this.revisable;
    if (step === null)
      throw new WeirError("WEIR_E_STATE", "reviseStep needs an optimStep with revisable: true right before it");
    this.revisable = null;
    if (share === 0) step.undo();
    else if (share === 1) step.forget();
    else step.shrink(share);
  }

  /** The last optimiser step stays as it is: its weights were named, written, or replaced. */
  settle(): void {
    this.revisable?.forget();
    this.revisable = null;
  }

  /** The parameters that the optimiser moves. */
  get trained(): ParameterStore {
    return this.adapters?.parameters ?? this.model.parameters;
  }

  /** Drops gradients that were summed and not committed. */
  clear(): void {
    this.measured = null;
    this.gradients.clear();
  }

  dispose(): void {
    this.clear();
    this.settle();
    this.optimiser.reset();
  }

  private emptyStore(): GradientStore {
    const { adapters } = this;
    return new GradientStore(adapters && ((weight) => adapters.pairOf(weight)));
  }

  /** Runs `body` on sums of its own, and merges them only when it succeeds. */
  private async accumulate<T>(body: (gradients: GradientStore) => Promise<T>): Promise<T> {
    const own = this.emptyStore();
    this.model.trains = true;
    try {
      const result = await body(own);
      this.measured = null;
      own.moveInto(this.gradients);
      return result;
    } finally {
      own.clear();
    }
  }
}

/** Log-probs and entropies of completions given their prompts. */
export async function scoreGroups(
  model: Transformer,
  items: readonly PackItem[],
  options: {
    readonly temperature: number;
    readonly microBatchTokens: number;
    /** Prompts of this model that sampling computed; null where there are none. */
    readonly activationCache: ActivationCache | null;
    readonly signal: AbortSignal;
  },
): Promise<Awaited<ReturnType<Trainer["logprobs"]>>> {
  for (const item of items) assertIds(model.config, item.promptIds, item.completions);
  const logprobs = emptyLike(items);
  const entropies = emptyLike(items);
  const microBatches = planGroups(items, options.microBatchTokens, model.runner.rounding);
  const prefixes = new BatchPrefixes(model, microBatches, options.activationCache, null);
  try {
    for (const microBatch of microBatches) {
      await breathe(options.signal);
      const wanted = { temperature: options.temperature, entropies: true };
      const scores = await runGroups(model, microBatch, prefixes, wanted, null);
      scatter(logprobs, microBatch, scores.logprobs);
      scatter(entropies, microBatch, scores.entropies);
    }
  } finally {
    prefixes.dispose();
  }
  return { logprobs, entropies };
}

/** Padded tokens of one micro-batch when plain sequences are scored. */
const SCORE_TOKENS = 8192;

/** Log-probs and entropies of whole sequences at temperature 1: token i given the tokens before it. */
export async function scoreSequences(
  model: Transformer,
  sequences: readonly (readonly number[])[],
  signal: AbortSignal,
): Promise<ScoredSequences> {
  for (const ids of sequences) assertIds(model.config, ids, [[]]);
  const logprobs = sequences.map((ids) => new Array<number>(ids.length - 1).fill(0));
  const entropy = sequences.map((ids) => new Array<number>(ids.length - 1).fill(0));
  for (const microBatch of planRows(sequences, () => true, SCORE_TOKENS, model.runner.rounding)) {
    await breathe(signal);
    const scores = runRows(model, microBatch, { temperature: 1, entropies: true }, null);
    microBatch.origin.forEach(({ row, token }, index) => {
      logprobs[row]![token - 1] = scores.logprobs[index]!;
      entropy[row]![token - 1] = scores.entropies[index]!;
    });
  }
  return { logprobs, entropy };
}

/** Logits [V] after the last token of a sequence. */
export function lastLogits(model: Transformer, ids: readonly number[]): Float32Array {
  assertIds(model.config, ids, [[]]);
  const logits = scope(() => {
    const segment = plainSegment([ids], model.runner.rounding.length(ids.length), model.tables);
    const { x } = model.forwardRows(segment, null, { savedLayers: null });
    return headLogits(model, tf.slice(x, [ids.length - 1, 0], [1, model.config.hiddenSize]), 1);
  });
  const values = logits.dataSync<"float32">().slice();
  logits.dispose();
  return values;
}

/** Rows of numbers as one array of `length`. */
function joined(rows: readonly ArrayLike<number>[], length: number): Float32Array {
  const all = new Float32Array(length);
  let at = 0;
  for (const row of rows) {
    all.set(row, at);
    at += row.length;
  }
  return all;
}

function emptyLike(items: readonly PackItem[]): number[][][] {
  return items.map(({ completions }) => completions.map(() => []));
}

/** Puts a micro-batch's values back in their places. */
function scatter(into: Logprobs, microBatch: PackedGroups, values: Float32Array): void {
  let at = 0;
  for (const { group, completion, length } of microBatch.origin) {
    (into[group] as number[][])[completion] = Array.from(values.subarray(at, at + length));
    at += length;
  }
}
