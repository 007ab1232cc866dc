/**
 * The decoder-only transformer: embedding, layers, final norm; forward and backward over segments.
 * Owns the frame of a policy on the device: configuration, parameters, rotary tables. Pure tensors in and out, no reads.
 * Invariant: what `forward` keeps for `backward` is freed layer by layer as the backward pass uses it.
 */

import type { ModelConfig } from "../io/config.js";
import { constant, gatherRows, mul, scatterAddRows } from "../tensor/kernels.js";
import { scope, type Tensor, tf } from "../tensor/tf.js";
import type { PrefixLayer } from "./attention.js";
import type { GradientStore } from "./gradients.js";
import type { Attend, LayerContext } from "./layer.js";
import type { ParameterStore } from "./parameters.js";
import { RopeTables } from "./rope.js";
import { EAGER, freeKept, type Keep, type Kept, type ModelRunner } from "./runner.js";
import type { KeyValue, Prefix, Segment } from "./segment.js";

const EMBEDDING = "model.embed_tokens.weight";
const FINAL_NORM = "model.norm.weight";
const HEAD = "lm_head.weight";

export interface ForwardState {
  readonly kept: readonly Kept[];
}

export class Transformer {
  readonly config: ModelConfig;
  readonly parameters: ParameterStore;
  readonly tables: RopeTables;
  readonly runner: ModelRunner;
  /** Memory that passes are planned for, bytes. */
  readonly memoryBudget: number;

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

  /** Name of the output matrix: the embedding where it is tied. */
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
   * Keys and values of every layer, for rows that will attend to them. Its last layer computes nothing else.
   * `keeping`: see `keepOf`; unless it is null, `state` holds what `backwardKeys` needs.
   */
  forwardKeys(
    segment: Segment,
    keeping: number | null,
  ): { readonly layers: readonly KeyValue[]; readonly state: ForwardState } {
    return scope(() => {
      const layers: KeyValue[] = [];
      const kept: Kept[] = [];
      let x = this.embed(segment);
      for (let index = 0; index < this.config.layers; index += 1) {
        if (index === this.config.layers - 1) {
          const own = this.runner.keys(this.context(index), x, segment, keepOf(keeping, index));
          layers.push(own.kv);
          if (own.kept !== null) kept.push(own.kept);
        } else {
          const own = this.runner.forward(this.context(index), x, segment, null, keepOf(keeping, index));
          layers.push(own.kv);
          if (own.kept !== null) kept.push(own.kept);
          else x.dispose();
          x = own.out;
        }
      }
      return { layers, state: { kept } };
    });
  }

  /** Hidden rows [N, d] before the final norm. `decode(layer)` replaces attention (then nothing is saved). */
  forwardRows(
    segment: Segment,
    prefix: Prefix | null,
    options: {
      readonly keeping: number | null;
      readonly decode?: (layer: number) => Attend;
    },
  ): { readonly x: Tensor; readonly state: ForwardState } {
    return scope(() => {
      const kept: Kept[] = [];
      let x = this.embed(segment);
      for (let index = 0; index < this.config.layers; index += 1) {
        const own = this.runner.forward(
          this.context(index),
          x,
          segment,
          prefixLayer(prefix, index),
          keepOf(options.keeping, index),
          options.decode?.(index),
        );
        if (own.kept !== null) kept.push(own.kept);
        else x.dispose();
        x = own.out;
      }
      return { x, state: { kept } };
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
        const kept = state.kept[index] as Kept;
        const back = this.runner.backward(this.context(index), kept, segment, prefixed, d, null, gradients);
        freeKept(kept);
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
        const kept = state.kept[index] as Kept;
        d = this.runner.backward(this.context(index), kept, segment, null, out, dKv, gradients).dx;
        freeKept(kept);
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

/** Null: no backward pass will come. A number: this many first layers keep their activations, the others their input. */
function keepOf(keeping: number | null, layer: number): Keep {
  if (keeping === null) return null;
  return layer < keeping ? "all" : "input";
}
