/**
 * Layers as compiled graphs: one graph per task and shape serves every layer, since weights are inputs.
 * In bfloat16 the graphs take copies of the matrices, made once per set of weights.
 */
import type { LoraOptions } from "../../contracts/engine.js";
import type { ModelConfig } from "../io/config.js";
import { type Compiler, tensorsOf } from "../tensor/graph/compile.js";
import { add, widen } from "../tensor/kernels.js";
import { type Tensor, tf } from "../tensor/tf.js";
import type { AdapterPair } from "./adapter-gradients.js";
import { adapterNames } from "./adapter-names.js";
import type { PrefixLayer } from "./attention.js";
import { joinedWeights, QKV } from "./fused-layer.js";
import { type GradientStore, gradientSink } from "./gradients.js";
import type { HeadChunk, TokenScores } from "./head.js";
import type { LayerContext } from "./layer.js";
import { FUSED, type LayerForms } from "./layer-forms.js";
import type { StorageForm } from "./memory-plan.js";
import type { NarrowWeights } from "./narrow-weights.js";
import { COARSE, PACKED, type Rounding } from "./packing.js";
import { pickGradients, pickKeys, resizeKeys } from "./pick-keys.js";
import { type HeadRequest, type LayerState, layerState, type ModelRunner, type SaveMode } from "./runner.js";
import type { KeyValue, Segment } from "./segment.js";

/** Prefix of a layer's tensors inside its graph, the same for every layer. */
const INSIDE = "model.layers.0.";

type Weights = Readonly<Record<string, Tensor>>;

/** Tensors of a segment that a layer reads. */
function segmentInputs({ prompts, group, length, tokens, offsets, rope }: Segment) {
  return { prompts, group, length, tokens, offsets, rope: { ...rope } };
}

type SegmentInputs = ReturnType<typeof segmentInputs>;

/** A layer's weights as its context inside the graph. */
function contextOf(config: ModelConfig, rotation: Tensor, weights: Weights): LayerContext {
  const find = (name: string) => weights[name.slice(INSIDE.length)] ?? null;
  return { config, rotation, index: 0, parameters: { find, get: (name) => find(name) as Tensor } };
}

const asSegment = (inputs: SegmentInputs): Segment => inputs as unknown as Segment;

export class CompiledRunner implements ModelRunner {
  readonly rounding: Rounding;
  readonly form: StorageForm;

  constructor(
    private readonly compiler: Compiler,
    private readonly config: ModelConfig,
    private readonly narrow: NarrowWeights,
    private readonly forms: LayerForms,
    /** Hugging Face names of the first layer's tensors, without their prefix. */
    private readonly parts: readonly string[],
    lora: LoraOptions | null,
  ) {
    this.rounding = forms === FUSED ? PACKED : COARSE;
    this.form = { precision: compiler.products, fused: forms === FUSED, copies: true, lora };
  }

  keys(context: LayerContext, x: Tensor, segment: Segment, save: SaveMode): { kv: KeyValue; state: LayerState | null } {
    const { config, forms } = this;
    const inputs = {
      x,
      segment: segmentInputs(segment),
      weights: this.weights(context, isKeyPart, false),
      rotation: context.rotation,
    };
    const { kv, saved } = this.compiler.run(
      `keys ${save}`,
      (own: typeof inputs) => {
        const inside = contextOf(config, own.rotation, own.weights);
        const { kv, saved } = forms.keys(inside, own.x, asSegment(own.segment));
        return { kv, saved: save === "all" ? saved : null };
      },
      inputs,
    );
    return { kv, state: layerState(save, x, saved) };
  }

  forward(context: LayerContext, x: Tensor, segment: Segment, prefix: PrefixLayer, save: SaveMode) {
    const { config, forms } = this;
    const inputs = {
      x,
      segment: segmentInputs(segment),
      prefix: forms.prefix(prefix),
      weights: this.weights(context, () => true, true),
      rotation: context.rotation,
    };
    const { out, kv, saved } = this.compiler.run(
      `layer ${save}`,
      (own: typeof inputs) => {
        const inside = contextOf(config, own.rotation, own.weights);
        const { out, kv, saved } = forms.forward(inside, own.x, asSegment(own.segment), own.prefix as PrefixLayer);
        return { out, kv, saved: save === "all" ? saved : null };
      },
      inputs,
    );
    return { out, kv, state: layerState(save, x, saved) };
  }

  backward(
    context: LayerContext,
    state: LayerState,
    segment: Segment,
    prefix: PrefixLayer,
    dOut: Tensor | null,
    dKv: KeyValue | null,
    gradients: GradientStore,
  ): { readonly dx: Tensor; readonly dPrefix: KeyValue | null } {
    const { config, forms } = this;
    const wanted = dOut === null ? isKeyPart : () => true;
    const outside = `model.layers.${context.index}.`;
    const reached = this.parts.filter(wanted);
    const pairs = pairsOf(reached, outside, gradients);
    const sums: Record<string, Tensor> = {};
    for (const part of pairs === null ? reached : reached.flatMap((weight) => Object.values(adapterNames(weight)))) {
      const sum = gradients.get(`${outside}${part}`);
      if (sum !== null) sums[part] = sum;
    }
    const ownState = "decoded" in state ? { decoded: state.decoded() } : state;
    const inputs = {
      state: ownState,
      segment: segmentInputs(segment),
      prefix: forms.prefix(prefix),
      dOut,
      dKv,
      weights: this.weights(context, wanted, dOut !== null),
      sums,
      pairs,
      rotation: context.rotation,
    };
    const { dx, dPrefix, found } = this.compiler.run(
      "backward",
      (own: typeof inputs) => {
        const inside = contextOf(config, own.rotation, own.weights);
        const ownSegment = asSegment(own.segment);
        const gathered: Record<string, Tensor> = {};
        const gather = (name: string, gradient: Tensor) => {
          const part = name.slice(INSIDE.length);
          const before = own.sums[part];
          gathered[part] = before === undefined ? widen(gradient) : add(before, gradient);
        };
        const ownPairs = own.pairs;
        const sink = gradientSink(gather, ownPairs && ((name) => ownPairs[name.slice(INSIDE.length)] ?? null));
        const inner = own.prefix as PrefixLayer;
        const recomputed = (x: Tensor) =>
          own.dOut === null ? forms.keys(inside, x, ownSegment) : forms.forward(inside, x, ownSegment, inner);
        const savedOf = (from: typeof own.state): object => {
          if ("saved" in from) return from.saved;
          if ("x" in from) return recomputed(from.x).saved;
          return (forms.decoded as NonNullable<typeof forms.decoded>)(inside, from.decoded, ownSegment);
        };
        const saved = savedOf(own.state);
        const back = forms.backward(inside, saved, ownSegment, inner, own.dOut, own.dKv, sink);
        return { ...back, found: gathered };
      },
      inputs,
    );
    for (const [part, sum] of Object.entries(found)) gradients.replace(`${outside}${part}`, sum);
    if ("decoded" in ownState) tf.dispose(tensorsOf(ownState));
    return { dx, dPrefix };
  }

  resizeKeys(layers: readonly KeyValue[], length: number): readonly KeyValue[] {
    return this.compiler.run(`resize keys ${length}`, (own: typeof layers) => resizeKeys(own, length), layers);
  }

  pickKeys(pieces: readonly (readonly KeyValue[])[], index: Tensor): readonly KeyValue[] {
    const inputs = { pieces, index };
    return this.compiler.run("pick keys", (own: typeof inputs) => pickKeys(own.pieces, own.index), inputs);
  }

  pickGradients(
    gradients: readonly KeyValue[],
    index: Tensor,
    length: number,
    before: readonly KeyValue[] | null,
  ): readonly KeyValue[] {
    const inputs = { gradients, index, before };
    return this.compiler.run(
      `pick gradients ${length}`,
      (own: typeof inputs) => pickGradients(own.gradients, own.index, length, own.before),
      inputs,
    );
  }

  head(
    chunk: HeadChunk,
    options: HeadRequest,
    names: { readonly head: string; readonly norm: string },
    gradients: GradientStore | null,
  ): TokenScores & { readonly dHidden: Tensor | null } {
    const headTrained = gradients?.wants(names.head) ?? false;
    const normTrained = gradients?.wants(names.norm) ?? false;
    const inputs = {
      chunk: { ...chunk, head: this.narrow.of(names.head, chunk.head) },
      sums: { head: gradients?.get(names.head) ?? null, norm: gradients?.get(names.norm) ?? null },
    };
    const { forms } = this;
    const { learned, ...scores } = this.compiler.run(
      `head ${options.key} ${options.entropies} ${headTrained} ${normTrained}`,
      (own: typeof inputs) => {
        const done = forms.head(own.chunk, { ...options, headTrained });
        const into = (sum: Tensor | null, value: Tensor) => (sum === null ? widen(value) : add(sum, value));
        const sums = done.learned && {
          dHidden: done.learned.dHidden,
          head: done.learned.dHead && into(own.sums.head, done.learned.dHead),
          norm: normTrained ? into(own.sums.norm, done.learned.dNorm) : null,
        };
        return { logprobs: done.logprobs, entropies: done.entropies, learned: sums };
      },
      inputs,
    );
    if (learned === null || gradients === null) return { ...scores, dHidden: null };
    if (learned.head !== null) gradients.replace(names.head, learned.head);
    if (learned.norm !== null) gradients.replace(names.norm, learned.norm);
    return { ...scores, dHidden: learned.dHidden };
  }

  /** Joined projections of attention. */
  private joined(context: LayerContext): Weights {
    const outside = `model.layers.${context.index}.`;
    const sources = this.parts.filter((part) => QKV.some((projection) => part.startsWith(`${projection}.`)));
    return this.narrow.made(
      outside,
      Object.fromEntries(sources.map((part) => [part, context.parameters.get(`${outside}${part}`)])),
      joinedWeights,
    );
  }

  private weights(context: LayerContext, wanted: (part: string) => boolean, wholeLayer: boolean): Weights {
    const outside = `model.layers.${context.index}.`;
    const joins = wholeLayer && this.forms === FUSED && !this.config.qkNorm;
    const result: Record<string, Tensor> = joins ? { ...this.joined(context) } : {};
    for (const part of this.parts) {
      if (joins && REPLACED.has(part)) continue;
      if (wanted(part)) result[part] = this.narrow.of(`${outside}${part}`, context.parameters.get(`${outside}${part}`));
    }
    return result;
  }
}

/** Low-rank pairs of a layer's parts; null where the parts themselves are trained. */
function pairsOf(
  parts: readonly string[],
  outside: string,
  { pairOf }: GradientStore,
): Record<string, AdapterPair> | null {
  if (pairOf === null) return null;
  const pairs: Record<string, AdapterPair> = {};
  for (const part of parts) {
    const pair = pairOf(`${outside}${part}`);
    if (pair !== null) pairs[part] = pair;
  }
  return pairs;
}

/** Matrices that the joined one replaces in a whole layer. */
const REPLACED = new Set(QKV.map((part) => `${part}.weight`));

/** Parts of a layer that keys and values depend on. */
function isKeyPart(part: string): boolean {
  return /^(input_layernorm|self_attn\.(k_proj|v_proj|k_norm))\./.test(part);
}

/** Parts of a layer that a configuration's tensors name. */
export function layerParts(names: readonly string[]): string[] {
  return names.filter((name) => name.startsWith(INSIDE)).map((name) => name.slice(INSIDE.length));
}
