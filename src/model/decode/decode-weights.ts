/**
 * A policy's weights in the layout for decoding: matrices transposed to [in, out] (the product kernels are slow for few rows against an
 * untransposed one), projections of the same input joined, the score scale folded into the queries.
 * Made once per set of weights, by a compiled graph per layer shape.
 */

import type { ModelConfig } from "../io/config.js";
import type { Compiler } from "../tensor/graph/compile.js";
import { concat, constant, mul, narrow, transpose } from "../tensor/kernels.js";
import { scope, type Tensor, tf } from "../tensor/tf.js";
import { QKV } from "../transformer/fused-layer.js";
import { FIRST_NORM, SECOND_NORM } from "../transformer/layer.js";
import type { Transformer } from "../transformer/model.js";
import { normScale } from "../transformer/norm.js";

export interface DecodeLayer {
  /** What the norm multiplies by, as for all norms here. */
  readonly norm1: Tensor; // [d]
  readonly qkv: Tensor; // [d, (heads + 2·kv)·dh]
  readonly qkvBias: Tensor | null; // [(heads + 2·kv)·dh]
  readonly qNorm: Tensor | null; // [dh]
  readonly kNorm: Tensor | null; // [dh]
  readonly o: Tensor; // [heads·dh, d]
  readonly oBias: Tensor | null; // [d]
  readonly norm2: Tensor; // [d]
  readonly gate: Tensor; // [d, ff]
  readonly gateBias: Tensor | null; // [ff]
  readonly up: Tensor; // [d, ff]
  readonly upBias: Tensor | null; // [ff]
  readonly down: Tensor; // [ff, d]
  readonly downBias: Tensor | null; // [d]
}

export interface DecodeWeights {
  readonly embedding: Tensor; // [V, d]
  readonly layers: readonly DecodeLayer[];
  readonly norm: Tensor; // [d]
  readonly head: Tensor; // [d, V]
}

/** How a matrix [out, in] is stored for decoding; traced. */
export type MatrixForm = (w: Tensor) => Tensor;

/** [in, out]. */
export const transposedForm: MatrixForm = (w) => narrow(transpose(w, [1, 0]));

type Parts = Readonly<Record<string, Tensor>>;

/** Inside a graph: the joined tensors of one layer, matrices in the given form. */
function joined(config: ModelConfig, parts: Parts, form: MatrixForm): DecodeLayer {
  const weight = (name: string) => parts[`${name}.weight`] as Tensor;
  const bias = (name: string) => parts[`${name}.bias`] ?? null;
  const scale = (x: Tensor) => mul(x, constant(1 / Math.sqrt(config.headDim)));
  // Normed queries are scaled by their norm's weight, others by their projection.
  const onQueries = (x: Tensor) => (config.qkNorm ? x : scale(x));
  const queries = onQueries(weight("self_attn.q_proj"));
  const projections = concat([queries, weight("self_attn.k_proj"), weight("self_attn.v_proj")], 0);
  const zeros = (name: string) => tf.zeros([weight(name).shape[0] as number]);
  const qkvBias = QKV.every((name) => bias(name) === null)
    ? null
    : concat(
        QKV.map((name, index) => (index === 0 ? onQueries : (x: Tensor) => x)(bias(name) ?? zeros(name))),
        0,
      );
  // Copies, so that these weights own all their tensors.
  const copy = (x: Tensor | null) => (x === null ? null : tf.clone(x));
  const norm = (name: string) => normScale(weight(name), config);
  return {
    norm1: tf.clone(norm(FIRST_NORM)),
    qkv: form(projections),
    qkvBias,
    qNorm: config.qkNorm ? scale(norm("self_attn.q_norm")) : null,
    kNorm: config.qkNorm ? tf.clone(norm("self_attn.k_norm")) : null,
    o: form(weight("self_attn.o_proj")),
    oBias: copy(bias("self_attn.o_proj")),
    norm2: tf.clone(norm(SECOND_NORM)),
    gate: form(weight("mlp.gate_proj")),
    gateBias: copy(bias("mlp.gate_proj")),
    up: form(weight("mlp.up_proj")),
    upBias: copy(bias("mlp.up_proj")),
    down: form(weight("mlp.down_proj")),
    downBias: copy(bias("mlp.down_proj")),
  };
}

/** Makes the decoding weights of a policy's present parameters; `parts` are the tensor names of a layer. */
export function makeDecodeWeights(
  compiler: Compiler,
  model: Transformer,
  parts: readonly string[],
  form: MatrixForm,
): DecodeWeights {
  const { config, parameters } = model;
  return scope(() => {
    const layers = Array.from({ length: config.layers }, (_, index) =>
      compiler.run(
        "decode layer weights",
        (own: Parts) => joined(config, own, form),
        Object.fromEntries(parts.map((part) => [part, parameters.get(`model.layers.${index}.${part}`)])),
      ),
    );
    const headForm = (x: Tensor) => compiler.run("decode head", form, x);
    return {
      embedding: parameters.get("model.embed_tokens.weight"),
      layers,
      norm: tf.clone(normScale(parameters.get(model.finalNormName), config)),
      head: headForm(parameters.get(model.headName)),
    };
  });
}
