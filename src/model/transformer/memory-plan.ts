/**
 * The memory of a micro-batch, planned before it runs: the model's state, what each layer saves for its backward pass, and the
 * largest temporary tensors. Layers save their activations from the first one on for as long as the budget allows; the others
 * save their input and are recomputed. Pure arithmetic, but for the budget of an engine that was given none.
 */

import type { EnginePrecision, LoraOptions, MemoryPlan, MicroBatchSize } from "../../contracts/engine.js";
import { usableMemory } from "../../system/memory.js";

export type { MicroBatchSize } from "../../contracts/engine.js";

import type { ModelConfig } from "../io/config.js";
import { expectedTensors } from "../io/tensor-names.js";
import { elementCount } from "../io/tensor-source.js";
import { adapterShapes, isAdapted } from "./adapter-names.js";
import { chunkRows } from "./head.js";

/** Resident memory of Node and libtensorflow before a model is loaded. */
const PROGRAM_BYTES = 420 * 1024 ** 2;
/** Fraction of the free memory that an engine without a budget plans for. */
const FREE_FRACTION = 0.8;
const FLOAT = 4;

/** How layers are stored between forward and backward pass, and weights besides their float32 values. */
export interface StorageForm {
  readonly precision: EnginePrecision;
  /** weir's fused operations: fewer and narrower activations, attention without score matrices. */
  readonly fused: boolean;
  /** Copies of the weights besides the float32 ones: in the products' type for training and for decoding. */
  readonly copies: boolean;
  /** Adapters instead of full training. */
  readonly lora: LoraOptions | null;
}

/** Memory to plan for, bytes: what was asked for, else a fraction of what is free within the container's limits. */
export function memoryBudget(memoryGiB: number | null, free = () => usableMemory().freeBytes): number {
  return memoryGiB === null ? free() * FREE_FRACTION : memoryGiB * 1024 ** 3;
}

const narrowBytes = ({ precision }: StorageForm): number => (precision === "bfloat16" ? 2 : FLOAT);

/** Bytes of the activations that one layer saves: per token, and per slot of attention. */
function savedBytes(config: ModelConfig, form: StorageForm): { readonly token: number; readonly slot: number } {
  const { hiddenSize, intermediateSize, heads, kvHeads, headDim } = config;
  const narrow = narrowBytes(form);
  const norms = form.fused ? 2 * narrow * hiddenSize + 2 * FLOAT : 0;
  return {
    token: 2 * FLOAT * hiddenSize + narrow * 2 * intermediateSize + norms,
    slot: narrow * (2 * heads + 2 * kvHeads) * headDim + (form.fused ? FLOAT * heads : 0),
  };
}

/** Largest temporary bytes of a layer's backward pass: per token, and per slot of attention. */
function workBytes(config: ModelConfig, form: StorageForm): { readonly token: number; readonly slot: number } {
  const { hiddenSize, intermediateSize, heads, headDim } = config;
  const narrow = narrowBytes(form);
  // Activations other than SiLU are not fused.
  const fusedMlp = form.fused && config.activation === "silu";
  const wide = (fusedMlp ? 4 * narrow : 5 * FLOAT) * intermediateSize;
  return { token: wide + 4 * FLOAT * hiddenSize, slot: 3 * narrow * heads * headDim };
}

function elementsOf(shapes: ReadonlyMap<string, readonly number[]>): number {
  let elements = 0;
  for (const shape of shapes.values()) elements += elementCount(shape);
  return elements;
}

/** Bytes that live as long as the model: weights, two moments, gradient sums, copies. */
export function stateBytes(config: ModelConfig, form: StorageForm): number {
  const { lora } = form;
  const shapes = expectedTensors(config);
  const elements = elementsOf(shapes);
  // Adapted weights are stored twice: frozen, and merged.
  const adapted = new Map([...shapes].filter(([name]) => lora !== null && isAdapted(name, lora)));
  const trained =
    lora === null ? 3 * FLOAT * elements : FLOAT * (4 * elementsOf(adapterShapes(adapted, lora)) + elementsOf(adapted));
  const narrow = narrowBytes(form);
  const training = form.precision === "bfloat16" ? narrow : 0;
  return trained + elements * (FLOAT + (form.copies ? training + narrow : 0));
}

/** What of `stateBytes` only training needs: moments and gradient sums. */
export function trainingStateBytes(config: ModelConfig, { lora }: StorageForm): number {
  const shapes = expectedTensors(config);
  if (lora === null) return 3 * FLOAT * elementsOf(shapes);
  const adapted = new Map([...shapes].filter(([name]) => isAdapted(name, lora)));
  return 3 * FLOAT * elementsOf(adapterShapes(adapted, lora));
}

/** Copies that make a step undoable: trained weights and their moments; with adapters also the weights that follow from them. */
export function trialBytes(config: ModelConfig, { lora }: StorageForm): number {
  const shapes = expectedTensors(config);
  if (lora === null) return 3 * FLOAT * elementsOf(shapes);
  const adapted = new Map([...shapes].filter(([name]) => isAdapted(name, lora)));
  return FLOAT * (3 * elementsOf(adapterShapes(adapted, lora)) + elementsOf(adapted));
}

/** Bytes taken before any micro-batch: the program and the model's state. */
export function standingBytes(config: ModelConfig, form: StorageForm): number {
  return PROGRAM_BYTES + stateBytes(config, form);
}

/**
 * Bytes of prompts that have run for their keys and values, with the activations of `savedLayers` layers (null: none). The last
 * layer computes nothing else, and saves its input and two norms.
 */
export function prefixBytes(
  config: ModelConfig,
  form: StorageForm,
  size: { readonly tokens: number; readonly slots: number },
  savedLayers: number | null,
): number {
  const { layers, hiddenSize, kvHeads, headDim } = config;
  const keys = 2 * layers * kvHeads * headDim * size.slots * narrowBytes(form);
  if (savedLayers === null) return keys;
  const saved = savedBytes(config, form);
  const whole = Math.min(savedLayers, layers - 1);
  return (
    keys +
    whole * (size.tokens * saved.token + size.slots * saved.slot) +
    (layers - whole) * size.tokens * 2 * FLOAT * hiddenSize
  );
}

/** Plans a micro-batch under a budget. Where even full recomputation exceeds it, `peakBytes` says so. */
export function planMemory(config: ModelConfig, form: StorageForm, size: MicroBatchSize, budget: number): MemoryPlan {
  const { layers, hiddenSize, kvHeads, headDim, vocabSize } = config;
  const { prefixTokens, rowTokens, prefixSlots = prefixTokens, rowSlots = rowTokens } = size;
  const tokens = prefixTokens + rowTokens;
  const slots = prefixSlots + rowSlots;
  const narrow = narrowBytes(form);
  const state = standingBytes(config, form);
  const keys = 2 * layers * kvHeads * headDim * prefixSlots * (narrow + FLOAT);
  const inputs = layers * tokens * FLOAT * hiddenSize;
  const each = workBytes(config, form);
  const layerWork = tokens * each.token + slots * each.slot;
  const rows = Math.min(size.targets, chunkRows(vocabSize));
  const headSums = form.lora === null ? 2 * vocabSize * hiddenSize * FLOAT : 0;
  const headWork = rows * vocabSize * (narrow + (form.fused ? narrow : 3 * FLOAT)) + headSums;
  const work = Math.max(layerWork, headWork) + tokens * 2 * FLOAT * hiddenSize;
  const fixed = state + keys + inputs + work;
  const saved = savedBytes(config, form);
  const perLayer = tokens * (saved.token - FLOAT * hiddenSize) + slots * saved.slot;
  const room = Math.max(0, budget - fixed);
  const savedLayers = perLayer <= 0 ? layers : Math.min(layers, Math.floor(room / perLayer));
  // A recomputed layer needs its activations while its backward pass runs.
  const recomputed = savedLayers < layers ? perLayer : 0;
  const activations = keys + inputs + savedLayers * perLayer;
  const trial = size.trial === true ? trialBytes(config, form) : 0;
  // The gradient is gone by the time of the trial, which saves no activations.
  const tried = trial === 0 ? 0 : state + trial + keys + work;
  const numbers = {
    stateBytes: state,
    activationBytes: activations,
    workBytes: work + recomputed,
    trialBytes: trial,
    peakBytes: Math.max(state + activations + work + recomputed, tried),
    budgetBytes: budget,
    layers,
    savedLayers,
  };
  return { ...numbers, text: describe(numbers) };
}

const gib = (bytes: number): string => (bytes / 1024 ** 3).toFixed(2);

function describe(plan: Omit<MemoryPlan, "text">): string {
  const recomputed = plan.layers - plan.savedLayers;
  const layers =
    recomputed === 0 ? "all layers save their activations" : `${recomputed} of ${plan.layers} layers are recomputed`;
  const trial = plan.trialBytes === 0 ? "" : `, or copies of a trial step ${gib(plan.trialBytes)}`;
  const over = plan.peakBytes > plan.budgetBytes ? `, above the budget of ${gib(plan.budgetBytes)} GiB` : "";
  return `${gib(plan.peakBytes)} GiB planned: state ${gib(plan.stateBytes)}, activations ${gib(plan.activationBytes)}, work ${gib(plan.workBytes)}${trial}; ${layers}${over}`;
}
