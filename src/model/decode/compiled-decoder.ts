/**
 * Sampling by compiled decoding: caches the weights in decoding's form while the policy stays the same, and sizes the slot
 * table by the memory that KV cache and prefill may take.
 */
import type { SamplingParams } from "../../contracts/sampler.js";
import type { ActivationCache } from "../activations/prefix-cache.js";
import type { Compiler } from "../tensor/graph/compile.js";
import { tf } from "../tensor/tf.js";
import { packMatrix } from "../transformer/fused-kernels.js";
import type { Transformer } from "../transformer/model.js";
import { COARSE } from "../transformer/packing.js";
import { composedDecodeStep } from "./decode-graph.js";
import { type DecodeWeights, makeDecodeWeights, transposedForm } from "./decode-weights.js";
import { fusedDecodeStep } from "./fused-decode.js";
import { MAX_ROWS, samplingMemory } from "./sampling-memory.js";
import { selectOptions } from "./select.js";
import { type Entrant, SlotTable, type TablePlan } from "./slot-table.js";

export class CompiledDecoder {
  private made: { readonly model: Transformer; readonly revision: number; readonly weights: DecodeWeights } | null =
    null;

  constructor(
    private readonly compiler: Compiler,
    /** Names of a layer's tensors. */
    private readonly parts: readonly string[],
    /** Whether weir's fused operations are loaded. */
    private readonly fused: boolean,
  ) {}

  /** Draws all rows of the entrants. `activationCache` takes prompts and completions; null where nothing will train on them. */
  async run(
    model: Transformer,
    params: SamplingParams,
    entrants: readonly Entrant[],
    uniformOf: (seed: number, t: number) => number,
    activationCache: ActivationCache | null,
    signal: AbortSignal,
  ): Promise<void> {
    const wanted = entrants
      .filter(({ rows }) => rows.length > 0)
      .sort((a, b) => b.promptIds.length - a.promptIds.length);
    if (wanted.length === 0) return;
    const parts = {
      compiler: this.compiler,
      model,
      weights: this.weightsOf(model),
      params,
      select: selectOptions(params),
      uniformOf,
      activationCache,
      cachesCompletions: activationCache !== null && this.fused,
      step: this.fused ? fusedDecodeStep : composedDecodeStep,
    };
    await new SlotTable(parts, planTable(model, wanted, params.maxTokens), wanted).run(signal);
  }

  /** Frees the weights; they are remade when next needed. */
  dispose(): void {
    const weights = this.made?.weights;
    this.made = null;
    if (weights === undefined) return;
    tf.dispose([weights.head, weights.norm]);
    for (const layer of weights.layers) tf.dispose(Object.values(layer));
  }

  private weightsOf(model: Transformer): DecodeWeights {
    const { revision } = model.parameters;
    if (this.made?.model === model && this.made.revision === revision) return this.made.weights;
    this.dispose();
    const weights = makeDecodeWeights(this.compiler, model, this.parts, this.fused ? packMatrix : transposedForm);
    tf.keep(weights.head);
    tf.keep(weights.norm);
    for (const layer of weights.layers) for (const tensor of Object.values(layer)) if (tensor !== null) tf.keep(tensor);
    this.made = { model, revision, weights };
    return weights;
  }
}

/** As many slots as memory and MAX_ROWS allow; `entrants` come longest prompt first. */
export function planTable(model: Transformer, entrants: readonly Entrant[], maxTokens: number): TablePlan {
  const { layers, kvHeads, headDim, intermediateSize, hiddenSize } = model.config;
  const memory = samplingMemory(model, "compiled");
  const perToken = 2 * 4 * layers * kvHeads * headDim;
  const perPrefill = 4 * (4 * intermediateSize + 6 * hiddenSize);
  const prefix = COARSE.length((entrants[0] as Entrant).promptIds.length);
  const group = Math.max(...entrants.map(({ rows }) => rows.length));
  const byMemory = Math.floor(memory.cacheBytes / ((prefix + group * maxTokens) * perToken));
  const slots = Math.max(1, Math.min(entrants.length, Math.floor(MAX_ROWS / group), byMemory));
  return { slots, prefill: Math.max(1, Math.floor(memory.prefillBytes / (prefix * perPrefill))) };
}
