/**
 * The two implementations of a compiled layer: TensorFlow's operations alone, or weir's fused ones where they are loaded.
 * Same formulas, same results up to rounding. Traced only.
 */
import type { Tensor } from "../tensor/tf.js";
import type { PrefixLayer } from "./attention.js";
import type { DecodedRows } from "./decoded-rows.js";
import { fusedHeadChunk } from "./fused-head.js";
import { type FusedSaved, fusedBackward, fusedForward, fusedKeys, savedOfDecoded } from "./fused-layer.js";
import type { GradientSink } from "./gradients.js";
import { type ChunkResult, type HeadChunk, type HeadOptions, headChunk } from "./head.js";
import { type LayerContext, layerBackward, layerForward, layerKeys, type SlimSaved, savedOf, slimOf } from "./layer.js";
import type { KeyValue, Segment } from "./segment.js";

export interface LayerForms {
  keys(context: LayerContext, x: Tensor, segment: Segment): { readonly kv: KeyValue; readonly saved: object };
  forward(
    context: LayerContext,
    x: Tensor,
    segment: Segment,
    prefix: PrefixLayer,
  ): { readonly out: Tensor; readonly kv: KeyValue; readonly saved: object };
  backward(
    context: LayerContext,
    saved: object,
    segment: Segment,
    prefix: PrefixLayer,
    dOut: Tensor | null,
    dKv: KeyValue | null,
    gradients: GradientSink,
  ): { readonly dx: Tensor; readonly dPrefix: KeyValue | null };
  /** What `forward` would have saved, from the activation cache; null where decoding does not fill it. */
  readonly decoded: ((context: LayerContext, rows: DecodedRows, segment: Segment) => object) | null;
  head(chunk: HeadChunk, options: HeadOptions): ChunkResult;
  /** What a layer reads of its prefix. */
  prefix(prefix: PrefixLayer): Partial<NonNullable<PrefixLayer>> | null;
}

export const COMPOSED: LayerForms = {
  keys(context, x, segment) {
    const { kv, saved } = layerKeys(context, x, segment, true);
    return { kv, saved: slimOf(saved as NonNullable<typeof saved>) };
  },
  forward(context, x, segment, prefix) {
    const { out, kv, saved } = layerForward(context, x, segment, prefix, { save: true });
    return { out, kv, saved: slimOf(saved as NonNullable<typeof saved>) };
  },
  backward(context, saved, segment, prefix, dOut, dKv, gradients) {
    const full = savedOf(context, saved as SlimSaved, segment);
    return layerBackward(context, full, segment, prefix, dOut, dKv, gradients);
  },
  decoded: null,
  head: headChunk,
  prefix: (prefix) => prefix && { k: prefix.k, v: prefix.v, mask: prefix.mask },
};

export const FUSED: LayerForms = {
  keys: fusedKeys,
  forward: fusedForward,
  backward: (context, saved, ...rest) => fusedBackward(context, saved as FusedSaved, ...rest),
  decoded: savedOfDecoded,
  head: fusedHeadChunk,
  prefix: (prefix) => prefix && { k: prefix.k, v: prefix.v, lengths: prefix.lengths },
};
