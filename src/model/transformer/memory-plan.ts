/**
 * The memory of a pass, planned before it runs: what is there all the time, what each layer keeps for its backward pass, what
 * the widest moment needs on top. Layers keep their activations from the first one on for as long as the budget allows; the
 * others keep their input and are run again. Pure arithmetic, but for the budget of an engine that was given none.
 */

import type { EnginePrecision, LoraOptions, MemoryPlan, PassSize } from "../../contracts/engine.js";
import { usableMemory } from "../../system/memory.js";

export type { PassSize } from "../../contracts/engine.js";

import type { ModelConfig } from "../io/config.js";
import { expectedTensors } from "../io/tensor-names.js";
import { elementCount } from "../io/tensor-source.js";
import { adapterShapes, isAdapted } from "./adapter-names.js";
import { chunkRows } from "./head.js";

/** Resident memory of Node and libtensorflow before a model is loaded. */
const PROGRAM_BYTES = 420 * 1024 ** 2;
/** Share of the free memory that an engine without a budget plans for. */
const FREE_SHARE = 0.8;
const FLOAT = 4;

/** How layers are stored between forward and backward pass. */
export interface StorageForm {
  readonly precision: EnginePrecision;
  /** weir's fused operations: fewer and narrower activations, attention without score matrices. */
  readonly fused: boolean;
  /** Copies of the weights besides the float32 ones: in the products' type for training and for decoding. */
  readonly copies: boolean;
  /** Adapters in the place of full training. */
  readonly lora: LoraOptions | null;
}

/** What the engine may plan for, bytes: what was asked for, else a share of what is free here and within the container's limits. */
export function memoryBudget(memoryGiB: number | null, free = () => usableMemory().freeBytes): number {
  return memoryGiB === null ? free() * FREE_SHARE : memoryGiB * 1024 ** 3;
}

const narrowBytes = ({ precision }: StorageForm): number => (precision === "bfloat16" ? 2 : FLOAT);

/** Bytes of the activations that one layer keeps: of a token, and of a slot of attention. */
function keptBytes(config: ModelConfig, form: StorageForm): { readonly token: number; readonly slot: number } {
  const { hiddenSize, intermediateSize, heads, kvHeads, headDim } = config;
  const narrow = narrowBytes(form);
  const norms = form.fused ? 2 * narrow * hiddenSize + 2 * FLOAT : 0;
  return {
    token: 2 * FLOAT * hiddenSize + narrow * 2 * intermediateSize + norms,
    slot: narrow * (2 * heads + 2 * kvHeads) * headDim + (form.fused ? FLOAT * heads : 0),
  };
}

/** Bytes in the widest moment of a layer's backward pass: of a token, and of a slot of attention. */
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

/** Bytes of everything that lives as long as the model: weights, two moments, gradient sums, copies. */
export function stateBytes(config: ModelConfig, form: StorageForm): number {
  const { lora } = form;
  const shapes = expectedTensors(config);
  const elements = elementsOf(shapes);
  // Frozen weights stand beside the merged ones where they are adapted.
  const adapted = new Map([...shapes].filter(([name]) => lora !== null && isAdapted(name, lora)));
  const trained =
    lora === null ? 3 * FLOAT * elements : FLOAT * (4 * elementsOf(adapterShapes(adapted, lora)) + elementsOf(adapted));
  const narrow = narrowBytes(form);
  const training = form.precision === "bfloat16" ? narrow : 0;
  return trained + elements * (FLOAT + (form.copies ? training + narrow : 0));
}

/** Bytes that are taken before any pass: the program, and what lives as long as the model. */
export function standingBytes(config: ModelConfig, form: StorageForm): number {
  return PROGRAM_BYTES + stateBytes(config, form);
}

/**
 * Bytes of prompts that have run for their keys and values, with `keeping` layers' activations (null: none) kept: the last
 * layer computes nothing else, and keeps its input and two norms.
 */
export function prefixBytes(
  config: ModelConfig,
  form: StorageForm,
  size: { readonly tokens: number; readonly slots: number },
  keeping: number | null,
): number {
  const { layers, hiddenSize, kvHeads, headDim } = config;
  const keys = 2 * layers * kvHeads * headDim * size.slots * narrowBytes(form);
  if (keeping === null) return keys;
  const kept = keptBytes(config, form);
  const whole = Math.min(keeping, layers - 1);
  return (
    keys +
    whole * (size.tokens * kept.token + size.slots * kept.slot) +
    (layers - whole) * size.tokens * 2 * FLOAT * hiddenSize
  );
}

/** Plans one pass under a budget. The plan may exceed the budget where nothing is left to save; `peakBytes` says so. */
export function planMemory(config: ModelConfig, form: StorageForm, pass: PassSize, budget: number): MemoryPlan {
  const { layers, hiddenSize, kvHeads, headDim, vocabSize } = config;
  const { prefixTokens, rowTokens, prefixSlots = prefixTokens, rowSlots = rowTokens } = pass;
  const tokens = prefixTokens + rowTokens;
  const slots = prefixSlots + rowSlots;
  const narrow = narrowBytes(form);
  const state = standingBytes(config, form);
  const keys = 2 * layers * kvHeads * headDim * prefixSlots * (narrow + FLOAT);
  const inputs = layers * tokens * FLOAT * hiddenSize;
  const each = workBytes(config, form);
  const layerWork = tokens * each.token + slots * each.slot;
  const rows = Math.min(pass.targets, chunkRows(vocabSize));
  const headSums = form.lora === null ? 2 * vocabSize * hiddenSize * FLOAT : 0;
  const headWork = rows * vocabSize * (narrow + (form.fused ? narrow : 3 * FLOAT)) + headSums;
  const work = Math.max(layerWork, headWork) + tokens * 2 * FLOAT * hiddenSize;
  const fixed = state + keys + inputs + work;
  const kept = keptBytes(config, form);
  const perLayer = tokens * (kept.token - FLOAT * hiddenSize) + slots * kept.slot;
  const room = Math.max(0, budget - fixed);
  const keptLayers = perLayer <= 0 ? layers : Math.min(layers, Math.floor(room / perLayer));
  // A layer that is run again holds its activations while its backward pass runs.
  const again = keptLayers < layers ? perLayer : 0;
  const keptTotal = keys + inputs + keptLayers * perLayer;
  const numbers = {
    stateBytes: state,
    keptBytes: keptTotal,
    workBytes: work + again,
    peakBytes: state + keptTotal + work + again,
    budgetBytes: budget,
    layers,
    keptLayers,
  };
  return { ...numbers, text: describe(numbers) };
}

const gib = (bytes: number): string => (bytes / 1024 ** 3).toFixed(2);

function describe(plan: Omit<MemoryPlan, "text">): string {
  const again = plan.layers - plan.keptLayers;
  const layers = again === 0 ? "all layers keep their activations" : `${again} of ${plan.layers} layers are run again`;
  const over = plan.peakBytes > plan.budgetBytes ? `, above the budget of ${gib(plan.budgetBytes)} GiB` : "";
  return `${gib(plan.peakBytes)} GiB planned: state ${gib(plan.stateBytes)}, kept ${gib(plan.keptBytes)}, work ${gib(plan.workBytes)}; ${layers}${over}`;
}
