/** Rearranges keys and values of prompts: pads to other lengths, concatenates, gathers by index. */

import { add, concat, gatherAlong, narrow, slice, widen } from "../tensor/kernels.js";
import { type Tensor, tf } from "../tensor/tf.js";
import type { KeyValue } from "./segment.js";

const eachPart = (layers: readonly KeyValue[], change: (x: Tensor, layer: number, part: "k" | "v") => Tensor) =>
  layers.map(({ k, v }, layer) => ({ k: change(k, layer, "k"), v: change(v, layer, "v") }));

/** [n, T, dh] cut off or filled with zeros to [n, length, dh]. */
function laidOut(x: Tensor, length: number, zeros: (shape: [number, number, number]) => Tensor): Tensor {
  const [entries, own, width] = x.shape as [number, number, number];
  if (own === length) return x;
  if (own > length) return slice(x, [0, 0, 0], [entries, length, width]);
  return concat([x, zeros([entries, length - own, width])], 1);
}

/** Keys and values at another length: [n, T, dh] → [n, length, dh], cut off or padded with zeros. */
export function resizeKeys(layers: readonly KeyValue[], length: number): readonly KeyValue[] {
  return eachPart(layers, (x) => laidOut(x, length, (shape) => narrow(tf.zeros(shape))));
}

/** Gathers from concatenated pieces: pieces [n, T, dh] each, index [m] int32 → [m, T, dh]. */
export function pickKeys(pieces: readonly (readonly KeyValue[])[], index: Tensor): readonly KeyValue[] {
  return eachPart(pieces[0] as readonly KeyValue[], (_, layer, part) => {
    const joined = concat(
      pieces.map((piece) => (piece[layer] as KeyValue)[part]),
      0,
    );
    return gatherAlong(joined, index, 0);
  });
}

/**
 * Gathers gradients of keys and values, pads them to another length and adds `before`, in float32:
 * [n, T, dh], index [m] int32 → [m, length, dh]. Index n gives zeros.
 */
export function pickGradients(
  gradients: readonly KeyValue[],
  index: Tensor,
  length: number,
  before: readonly KeyValue[] | null,
): readonly KeyValue[] {
  return eachPart(gradients, (x, layer, part) => {
    const [, own, width] = x.shape as [number, number, number];
    const spared = concat([widen(x), tf.zeros([1, own, width])], 0);
    const picked = laidOut(gatherAlong(spared, index, 0), length, (shape) => tf.zeros(shape));
    return before === null ? picked : add((before[layer] as KeyValue)[part], picked);
  });
}
