/**
 * The decoder-only transformer: embedding, layers, final norm; forward and backward over segments.
 * Owns a policy on the device: configuration, parameters, RoPE tables. Tensors in and out; nothing is read to the host.
 * Invariant: what a forward pass saves for its backward pass is freed layer by layer as the backward pass uses it.
 */

import type { ModelConfig } from "../io/config.js";
import { constant, gatherRows, mul, scatterAddRows } from "../tensor/kernels.js";
import { scope, type Tensor, tf } from "../tensor/tf.js";
import type { PrefixLayer } from "./attention.js";
import type { GradientStore } from "./gradients.js";
import type { Attend, LayerContext } from "./layer.js";
import type { ParameterStore } from "./parameters.js";
import { RopeTables } from "./rope.js";
import { EAGER, freeLayerState, type LayerState, type ModelRunner, type SaveMode } from "./runner.js";
import type { KeyValue, Prefix, Segment } from "./segment.js";

const EMBEDDING = "model.embed_tokens.weight";
const FINAL_NORM = "model.norm.weight";
const HEAD = "lm_head.weight";

/** What a forward pass saves for its backward pass. */
export interface ForwardState {
  /** One per layer. */
  readonly layers: readonly LayerState[];
}

export class Transformer {
  readonly config: ModelConfig;
  readonly parameters: ParameterStore;
  readonly tables: RopeTables;
  readonly runner: ModelRunner;
  /** Memory that micro-batches are planned for, bytes. */
  readonly memoryBudget: number;
  /** Gradients or moments of these weights take memory, or have done so. */
  trains = false;

  constructor(
    config: ModelConfig,
    parameters: ParameterStore,
    tables?: RopeTables,
    runner: ModelRunner = EAGER,
    memoryBudget = Number.POSITIVE_INFINITY,
  ) {
    this.config = config;
    this.parameters = parameters;
    this.runner = runner;
    this.memoryBudget = memoryBudget;
    this.tables = tables ?? new RopeTables(config.rope, config.headDim);
  }

  /** Name of the output matrix: the embedding where tied. */
  get headName(): string {
    return this.config.tieWordEmbeddings ? EMBEDDING : HEAD;
  }

  get finalNormName(): string {
    return FINAL_NORM;
  }

  private context(index: number): LayerContext {
    return { config: this.config, parameters: this.parameters, rotation: this.tables.rotation, index };
  }

  /** Token rows [N, d] of a segment. */
  embed(segment: Segment): Tensor {
    return embeddingScaled(gatherRows(this.parameters.get(EMBEDDING), segment.ids), this.config);
  }

  /**
   * Keys and values of every layer, for rows that will attend to them. The last layer computes nothing else.
   * `savedLayers`: see `saveModeOf`; unless it is null, `state` has what `backwardKeys` needs.
   */
  forwardKeys(
    segment: Segment,
    savedLayers: number | null,
  ): { readonly layers: readonly KeyValue[]; readonly state: ForwardState } {
    return scope(() => {
      const layers: KeyValue[] = [];
      const states: LayerState[] = [];
      let x = this.embed(segment);
      for (let index = 0; index < this.config.layers; index += 1) {
        if (index === this.config.layers - 1) {
          const own = this.runner.keys(this.context(index), x, segment, saveModeOf(savedLayers, index));
          layers.push(own.kv);
          if (own.state !== null) states.push(own.state);
        } else {
          const own = this.runner.forward(this.context(index), x, segment, null, saveModeOf(savedLayers, index));
          layers.push(own.kv);
          if (own.state !== null) states.push(own.state);
          else x.dispose();
          x = own.out;
        }
      }
      return { layers, state: { layers: states } };
    });
  }

  /** Hidden rows [N, d] before the final norm. `decode(layer)` replaces attention (then nothing is saved). */
  forwardRows(
    segment: Segment,
    prefix: Prefix | null,
    options: {
      readonly savedLayers: number | null;
      readonly decode?: (layer: number) => Attend;
    },
  ): { readonly x: Tensor; readonly state: ForwardState } {
    return scope(() => {
      const states: LayerState[] = [];
      let x = this.embed(segment);
      for (let index = 0; index < this.config.layers; index += 1) {
        const own = this.runner.forward(
          this.context(index),
          x,
          segment,
          prefixLayer(prefix, index),
          saveModeOf(options.savedLayers, index),
          options.decode?.(index),
        );
        if (own.state !== null) states.push(own.state);
        else x.dispose();
        x = own.out;
      }
      return { x, state: { layers: states } };
    });
  }

  /** Backward of `forwardRows`; returns the gradients of the prefix's keys and values. Frees `state`. */
  backwardRows(
    segment: Segment,
    prefix: Prefix | null,
    state: ForwardState,
    dx: Tensor, // [N, d]
    gradients: GradientStore,
  ): readonly KeyValue[] | null {
    return scope(() => {
      const dPrefix: KeyValue[] = [];
      let d = dx;
      for (let index = this.config.layers - 1; index >= 0; index -= 1) {
        const prefixed = prefixLayer(prefix, index);
        const own = state.layers[index] as LayerState;
        const back = this.runner.backward(this.context(index), own, segment, prefixed, d, null, gradients);
        freeLayerState(own);
        if (d !== dx) d.dispose();
        d = back.dx;
        if (back.dPrefix !== null) dPrefix[index] = back.dPrefix;
      }
      this.embeddingGradient(segment, d, gradients);
      return prefix === null ? null : dPrefix;
    });
  }

  /** Backward of `forwardKeys` from the gradients of its keys and values. Frees `state` and `dLayers`. */
  backwardKeys(segment: Segment, state: ForwardState, dLayers: readonly KeyValue[], gradients: GradientStore): void {
    scope(() => {
      const last = this.config.layers - 1;
      let d: Tensor | null = null;
      for (let index = last; index >= 0; index -= 1) {
        const dKv = dLayers[index] as KeyValue;
        const out: Tensor | null = d;
        const own = state.layers[index] as LayerState;
        d = this.runner.backward(this.context(index), own, segment, null, out, dKv, gradients).dx;
        freeLayerState(own);
        tf.dispose([dKv.k, dKv.v]);
        out?.dispose();
      }
      this.embeddingGradient(segment, d as unknown as Tensor, gradients);
    });
  }

  private embeddingGradient(segment: Segment, dx: Tensor, gradients: GradientStore): void {
    if (!gradients.wants(EMBEDDING)) return;
    const dRows = embeddingScaled(dx, this.config);
    gradients.add(EMBEDDING, scatterAddRows(dRows, segment.ids, this.config.vocabSize));
  }
}

/** Rows of the embedding as the first layer reads them; the gradient is scaled alike. */
export function embeddingScaled(rows: Tensor, { embeddingScale }: Pick<ModelConfig, "embeddingScale">): Tensor {
  return embeddingScale === null ? rows : mul(rows, constant(embeddingScale));
}

function prefixLayer(prefix: Prefix | null, index: number): PrefixLayer {
  if (prefix === null) return null;
  const { k, v } = prefix.layers[index] as KeyValue;
  return { k, v, mask: prefix.mask, lengths: prefix.lengths };
}

/** Null: there is no backward pass. A number: this many first layers save their activations, the others their input. */
function saveModeOf(savedLayers: number | null, layer: number): SaveMode {
  if (savedLayers === null) return null;
  return layer < savedLayers ? "all" : "input";
}
