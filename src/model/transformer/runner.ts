/**
 * How a model runs its layers: operation by operation, or as compiled graphs. Both give the same values up to rounding.
 */
import { scope, type Tensor, tf } from "../tensor/tf.js";
import type { PrefixLayer } from "./attention.js";
import type { DecodedRows } from "./decoded-rows.js";
import type { GradientStore } from "./gradients.js";
import { type ChunkResult, type HeadChunk, type HeadOptions, headChunk, type TokenScores } from "./head.js";
import { type Attend, type LayerContext, type LayerSaved, layerBackward, layerForward, layerKeys } from "./layer.js";
import type { StorageForm } from "./memory-plan.js";
import { FINE, type Rounding } from "./packing.js";
import { pickGradients, pickKeys, resizeKeys } from "./pick-keys.js";
import type { KeyValue, Segment } from "./segment.js";

/** What a forward pass saves of a layer: its activations, its input only (the backward pass recomputes it), or nothing. */
export type SaveMode = "all" | "input" | null;

/**
 * What a layer's backward pass starts from: its input, its saved activations, or those that decoding left in the activation
 * cache. Whoever ran the forward pass frees the tensors; `decoded` may be called once, and its caller frees the result.
 */
export type LayerState = { readonly x: Tensor } | { readonly saved: object } | { readonly decoded: () => DecodedRows };

/** What the head computes; whether its matrix is trained follows from the store of gradients. */
export type HeadRequest = Omit<HeadOptions, "headTrained"> & { readonly key: string };

export interface ModelRunner {
  /** How the sizes of micro-batches are rounded. */
  readonly rounding: Rounding;
  /** How activations are stored, for the memory plan. */
  readonly form: StorageForm;
  /** Keys and values only: all that a prefix needs of its last layer. */
  keys(
    context: LayerContext,
    x: Tensor, // [N, d]
    segment: Segment,
    save: SaveMode,
  ): { readonly kv: KeyValue; readonly state: LayerState | null };
  forward(
    context: LayerContext,
    x: Tensor, // [N, d]
    segment: Segment,
    prefix: PrefixLayer,
    save: SaveMode,
    decode?: Attend,
  ): { readonly out: Tensor; readonly kv: KeyValue; readonly state: LayerState | null };
  /** Adds parameters' gradients; `dOut` is null where only keys and values were computed. */
  backward(
    context: LayerContext,
    state: LayerState,
    segment: Segment,
    prefix: PrefixLayer,
    dOut: Tensor | null, // [N, d]
    dKv: KeyValue | null,
    gradients: GradientStore,
  ): { readonly dx: Tensor; readonly dPrefix: KeyValue | null };
  /** See pick-keys.ts, all three. */
  resizeKeys(layers: readonly KeyValue[], length: number): readonly KeyValue[];
  pickKeys(pieces: readonly (readonly KeyValue[])[], index: Tensor): readonly KeyValue[];
  pickGradients(
    gradients: readonly KeyValue[],
    index: Tensor,
    length: number,
    before: readonly KeyValue[] | null,
  ): readonly KeyValue[];
  /** Adds the gradients of output matrix and norm where there is a loss and they are trained. `key` names the loss. */
  head(
    chunk: HeadChunk,
    options: HeadRequest,
    names: { readonly head: string; readonly norm: string },
    gradients: GradientStore | null,
  ): TokenScores & { readonly dHidden: Tensor | null };
}

/** The state of a layer whose forward pass saved `saved`; null where there is no backward pass. */
export function layerState(save: SaveMode, x: Tensor, saved: object | null): LayerState | null {
  if (save === null) return null;
  return saved === null ? { x } : { saved };
}

export const EAGER: ModelRunner = {
  rounding: FINE,
  form: { precision: "float32", fused: false, copies: false, lora: null },

  keys(context, x, segment, save) {
    const { kv, saved } = layerKeys(context, x, segment, save === "all");
    return { kv, state: layerState(save, x, saved) };
  },

  forward(context, x, segment, prefix, save, decode) {
    const options = { save: save === "all", ...(decode ? { decode } : {}) };
    const { out, kv, saved } = layerForward(context, x, segment, prefix, options);
    return { out, kv, state: layerState(save, x, saved) };
  },

  backward(context, state, segment, prefix, dOut, dKv, gradients) {
    return scope(() => {
      const recomputed = (x: Tensor) =>
        dOut === null
          ? layerKeys(context, x, segment, true).saved
          : layerForward(context, x, segment, prefix, { save: true }).saved;
      // Decoding never fills the activation cache under this runner.
      const saved = ("saved" in state ? state.saved : recomputed((state as { x: Tensor }).x)) as LayerSaved;
      return layerBackward(context, saved, segment, prefix, dOut, dKv, gradients);
    });
  },

  resizeKeys: (layers, length) => scope(() => resizeKeys(layers, length)),
  pickKeys: (pieces, index) => scope(() => pickKeys(pieces, index)),
  pickGradients: (gradients, index, length, before) => scope(() => pickGradients(gradients, index, length, before)),

  head(chunk, options, names, gradients) {
    const headTrained = gradients?.wants(names.head) ?? false;
    return addHead(headChunk(chunk, { ...options, headTrained }), names, gradients);
  },
};

function addHead(
  { learned, ...scores }: ChunkResult,
  names: { readonly head: string; readonly norm: string },
  gradients: GradientStore | null,
): TokenScores & { readonly dHidden: Tensor | null } {
  if (learned === null || gradients === null) return { ...scores, dHidden: null };
  if (learned.dHead !== null) gradients.add(names.head, learned.dHead);
  gradients.add(names.norm, learned.dNorm);
  return { ...scores, dHidden: learned.dHidden };
}

/** Frees a layer's state. */
export function freeLayerState(state: LayerState): void {
  tf.dispose(state as object as Tensor[]);
}
