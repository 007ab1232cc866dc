/**
 * How a model runs its layers: operation by operation, or as compiled graphs. Both give the same values up to rounding.
 * `keep` is what a forward pass hands to its backward pass: `all` (activations), `input` (the layer is run again), or null.
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

export type Keep = "all" | "input" | null;

/**
 * What was kept of one layer; its tensors are freed by the one who ran the forward pass. `decoded` gives what decoding left of
 * the rows, once, to the one who then frees it.
 */
export type Kept = { readonly x: Tensor } | { readonly saved: object } | { readonly decoded: () => DecodedRows };

/** What is wanted of the head; whether its matrix is trained follows from the store of gradients. */
export type HeadRequest = Omit<HeadOptions, "headTrained"> & { readonly key: string };

export interface ModelRunner {
  /** How the sizes of passes are rounded. */
  readonly rounding: Rounding;
  /** How activations are stored, for the memory plan. */
  readonly form: StorageForm;
  /** Keys and values only: all that the last layer of a prefix is run for. */
  keys(
    context: LayerContext,
    x: Tensor, // [N, d]
    segment: Segment,
    keep: Keep,
  ): { readonly kv: KeyValue; readonly kept: Kept | null };
  forward(
    context: LayerContext,
    x: Tensor, // [N, d]
    segment: Segment,
    prefix: PrefixLayer,
    keep: Keep,
    decode?: Attend,
  ): { readonly out: Tensor; readonly kv: KeyValue; readonly kept: Kept | null };
  /** Adds parameters' gradients; `dOut` is null for a layer that was run for keys and values only. */
  backward(
    context: LayerContext,
    kept: Kept,
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

/** What to keep, from what the layer saved. */
export function keptOf(keep: Keep, x: Tensor, saved: object | null): Kept | null {
  if (keep === null) return null;
  return saved === null ? { x } : { saved };
}

export const EAGER: ModelRunner = {
  rounding: FINE,
  form: { precision: "float32", fused: false, copies: false, lora: null },

  keys(context, x, segment, keep) {
    const { kv, saved } = layerKeys(context, x, segment, keep === "all");
    return { kv, kept: keptOf(keep, x, saved) };
  },

  forward(context, x, segment, prefix, keep, decode) {
    const options = { save: keep === "all", ...(decode ? { decode } : {}) };
    const { out, kv, saved } = layerForward(context, x, segment, prefix, options);
    return { out, kv, kept: keptOf(keep, x, saved) };
  },

  backward(context, kept, segment, prefix, dOut, dKv, gradients) {
    return scope(() => {
      const again = (x: Tensor) =>
        dOut === null
          ? layerKeys(context, x, segment, true).saved
          : layerForward(context, x, segment, prefix, { save: true }).saved;
      // Decoding keeps nothing here.
      const saved = ("saved" in kept ? kept.saved : again((kept as { x: Tensor }).x)) as LayerSaved;
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

/** Frees what was kept of a layer. */
export function freeKept(kept: Kept): void {
  tf.dispose(kept as object as Tensor[]);
}
