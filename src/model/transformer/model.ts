/**
 * The decoder-only transformer: embedding, layers, final norm; forward and backward over segments.
 * Owns the frame of a policy on the device: configuration, parameters, rotary tables. Pure tensors in and out, no reads.
 * Invariant: what `forward` keeps for `backward` is freed layer by layer as the backward pass uses it.
 */
import { scope, type Tensor, tf } from "../engine/tf.js";
import type { ModelConfig } from "../io/config.js";
import type { PrefixLayer } from "./attention.js";
import type { GradientStore } from "./gradients.js";
import { gatherRows, scatterAddRows } from "./kernels.js";
import { type Attend, type LayerContext, type LayerSaved, layerBackward, layerForward, layerKeys } from "./layer.js";
import type { ParameterStore } from "./parameters.js";
import { RopeTables } from "./rope.js";
import type { KeyValue, Prefix, Segment } from "./segment.js";

const EMBEDDING = "model.embed_tokens.weight";
const FINAL_NORM = "model.norm.weight";
const HEAD = "lm_head.weight";

/** What the backward pass needs of one layer: everything, or its input alone (then the layer is run again). */
type Kept = { readonly saved: LayerSaved } | { readonly x: Tensor };

export interface ForwardState {
  readonly kept: readonly Kept[];
}

export class Transformer {
  readonly config: ModelConfig;
  readonly parameters: ParameterStore;
  readonly tables: RopeTables;

  constructor(config: ModelConfig, parameters: ParameterStore, tables?: RopeTables) {
    this.config = config;
    this.parameters = parameters;
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
    return gatherRows(this.parameters.get(EMBEDDING), segment.ids);
  }

  /**
   * Keys and values of every layer, for rows that will attend to them. Its last layer computes nothing else.
   * With `save`, `state` holds what `backwardKeys` needs.
   */
  forwardKeys(
    segment: Segment,
    options: { readonly save: boolean; readonly recompute: boolean },
  ): { readonly layers: readonly KeyValue[]; readonly state: ForwardState } {
    return scope(() => {
      const layers: KeyValue[] = [];
      const kept: Kept[] = [];
      let x = this.embed(segment);
      for (let index = 0; index < this.config.layers; index += 1) {
        const keep = options.save && !options.recompute;
        if (index === this.config.layers - 1) {
          const { kv, saved } = layerKeys(this.context(index), x, segment, keep);
          layers.push(kv);
          if (options.save) kept.push(saved === null ? { x } : { saved });
        } else {
          const { out, kv, saved } = layerForward(this.context(index), x, segment, null, { save: keep });
          layers.push(kv);
          if (options.save) kept.push(saved === null ? { x } : { saved });
          else x.dispose();
          x = out;
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
      readonly save: boolean;
      readonly recompute: boolean;
      readonly decode?: (layer: number) => Attend;
    },
  ): { readonly x: Tensor; readonly state: ForwardState } {
    return scope(() => {
      const kept: Kept[] = [];
      let x = this.embed(segment);
      for (let index = 0; index < this.config.layers; index += 1) {
        const attend = options.decode?.(index);
        const { out, saved } = layerForward(this.context(index), x, segment, prefixLayer(prefix, index), {
          save: options.save && !options.recompute,
          ...(attend ? { decode: attend } : {}),
        });
        if (options.save) kept.push(saved === null ? { x } : { saved });
        else x.dispose();
        x = out;
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
        const back = scope(() => {
          const saved = this.saved(state, index, (x) =>
            layerForward(this.context(index), x, segment, prefixed, { save: true }),
          );
          return layerBackward(this.context(index), saved, segment, prefixed, d, null, gradients);
        });
        this.free(state, index);
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
        d = scope(() => {
          const saved = this.saved(state, index, (x) =>
            index === last
              ? layerKeys(this.context(index), x, segment, true)
              : layerForward(this.context(index), x, segment, null, { save: true }),
          );
          return layerBackward(this.context(index), saved, segment, null, out, dKv, gradients).dx;
        });
        this.free(state, index);
        tf.dispose([dKv.k, dKv.v]);
        out?.dispose();
      }
      this.embeddingGradient(segment, d as unknown as Tensor, gradients);
    });
  }

  private saved(state: ForwardState, index: number, again: (x: Tensor) => { saved: LayerSaved | null }): LayerSaved {
    const kept = state.kept[index] as Kept;
    return "saved" in kept ? kept.saved : (again(kept.x).saved as LayerSaved);
  }

  private free(state: ForwardState, index: number): void {
    tf.dispose(state.kept[index] as object as Tensor[]);
  }

  private embeddingGradient(segment: Segment, dx: Tensor, gradients: GradientStore): void {
    gradients.add(EMBEDDING, scatterAddRows(dx, segment.ids, this.config.vocabSize));
  }
}

function prefixLayer(prefix: Prefix | null, index: number): PrefixLayer {
  if (prefix === null) return null;
  const { k, v } = prefix.layers[index] as KeyValue;
  return { k, v, mask: prefix.mask };
}
