/**
 * Reads a Hugging Face `config.json` (transformers v4 and v5 layouts) into the record that the model is built from.
 * Owns the rule "no silent difference": a field that asks for something the model does not compute is an error that
 * names the field and its value.
 */

import { join } from "node:path";
import { WeirError } from "../../errors.js";
import { ACTIVATION_NAMES, type ActivationName } from "./activation.js";
import { FAMILIES, familyNamed, type ModelFamily } from "./families/index.js";
import { differencesOf } from "./families/refused.js";
import { checkModelFolder } from "./folder-kind.js";
import { isRecord, type JsonRecord, readJson, readJsonIfPresent } from "./json.js";
import { type RopeConfig, readRope } from "./rope-config.js";

export type { RopeConfig } from "./rope-config.js";

export interface ModelConfig {
  /** Name of its family; see families/. */
  readonly family: string;
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly layers: number;
  readonly heads: number;
  /** Divides `heads`; each key/value head serves heads / kvHeads query heads. */
  readonly kvHeads: number;
  /** Even. heads · headDim need not equal hiddenSize. */
  readonly headDim: number;
  readonly rmsNormEps: number;
  /** RMSNorm multiplies by (offset + w). */
  readonly normOffset: 0 | 1;
  /** Of the gated MLP. */
  readonly activation: ActivationName;
  /** What embedded tokens are multiplied by; null: nothing. */
  readonly embeddingScale: number | null;
  /** True: the output head is the embedding matrix and `lm_head.weight` is not stored. */
  readonly tieWordEmbeddings: boolean;
  readonly attentionBias: { readonly q: boolean; readonly k: boolean; readonly v: boolean; readonly o: boolean };
  /** Biases on gate, up and down projections. */
  readonly mlpBias: boolean;
  /** RMSNorm over each head of q and k before rotation. */
  readonly qkNorm: boolean;
  readonly maxPositions: number;
  readonly rope: RopeConfig;
  /** Union of config.json and generation_config.json, config first, without repeats; may be empty. */
  readonly eosIds: readonly number[];
  readonly padId: number | null;
  readonly bosId: number | null;
}

/** Classes that can be run, for messages. */
const SUPPORTED_FAMILIES = FAMILIES.map(({ classes, models }) =>
  models === null ? classes[0] : `${classes[0]} (${models})`,
).join(", ");

/** Fields of related architectures that change the arithmetic, with their neutral values. */
const NEUTRAL_VALUES: Readonly<Record<string, readonly unknown[]>> = {
  attention_dropout: [0],
  attention_multiplier: [],
  attn_logit_softcapping: [],
  clip_qkv: [],
  embedding_multiplier: [1],
  final_logit_softcapping: [],
  is_causal: [true],
  logit_scale: [1],
  logits_scaling: [1],
  mlp_only_layers: [],
  moe_intermediate_size: [],
  n_routed_experts: [0],
  no_rope_layers: [],
  num_experts: [0],
  num_local_experts: [0],
  partial_rotary_factor: [1],
  quantization_config: [],
  query_pre_attn_scalar: [],
  residual_multiplier: [1],
  rotary_pct: [1],
  scale_embedding: [false],
  use_bidirectional_attention: [false],
  use_mrope: [false],
};

const OTHER_FAMILY = "Use a model of one of these families.";
const MIXTURE = "Mixtures of experts are not computed: use a dense model.";

/** Remedies by field; for other fields there is only another model. */
const REMEDIES: Readonly<Record<string, string>> = {
  architectures: OTHER_FAMILY,
  model_type: OTHER_FAMILY,
  mlp_only_layers: MIXTURE,
  moe_intermediate_size: MIXTURE,
  n_routed_experts: MIXTURE,
  num_experts: MIXTURE,
  num_local_experts: MIXTURE,
  quantization_config:
    "Quantised weights are not read: use the model they were made from (for many, the repository without GPTQ, AWQ, bnb or FP8 in its name).",
  text_config: "Models that also see images or hear are not computed: use a plain text model.",
};

/** The value as in the file, shortened where long. */
function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > 120 ? `${text.slice(0, 117)}…` : text;
}

/** Raised for a field whose value the model cannot honour. */
function unsupported(field: string, value: unknown, supported: string): WeirError {
  const remedy = REMEDIES[field] ?? "Use a model that does without it.";
  return new WeirError(
    "WEIR_E_MODEL_UNSUPPORTED",
    `config.json: ${field} = ${shown(value)} is not supported; supported: ${supported}. ${remedy}`,
    { field, value },
  );
}

function wrongValue(field: string, value: unknown, expected: string): WeirError {
  return new WeirError(
    "WEIR_E_MODEL_FILES",
    `config.json: ${field} must be ${expected}, got ${shown(value)}. Fetch config.json again, or correct this field.`,
    { field, value },
  );
}

function positiveInteger(config: JsonRecord, field: string, fallback?: number): number {
  const value = config[field] ?? fallback;
  if (typeof value !== "number" || !Number.isInteger(value) || value <= 0)
    throw wrongValue(field, value, "a positive whole number");
  return value;
}

function positiveNumber(config: JsonRecord, field: string, fallback: number): number {
  const value = config[field] ?? fallback;
  if (typeof value !== "number" || !Number.isFinite(value) || value <= 0)
    throw wrongValue(field, value, "a positive number");
  return value;
}

function flag(config: JsonRecord, field: string, fallback: boolean): boolean {
  const value = config[field] ?? fallback;
  if (typeof value !== "boolean") throw wrongValue(field, value, "true or false");
  return value;
}

function tokenIds(value: unknown, field: string): number[] {
  if (value === undefined || value === null) return [];
  const list = Array.isArray(value) ? value : [value];
  return list.map((id) => {
    if (typeof id !== "number" || !Number.isInteger(id) || id < 0)
      throw wrongValue(field, value, "a token id, a list of token ids or null");
    return id;
  });
}

function readFamily(config: JsonRecord): ModelFamily {
  const architectures = config.architectures;
  const modelType = config.model_type;
  if (architectures !== undefined && architectures !== null) {
    const name = Array.isArray(architectures) && architectures.length === 1 ? architectures[0] : undefined;
    const family = FAMILIES.find(({ classes }) => classes.includes(name));
    if (family === undefined) {
      const differences = typeof name === "string" ? differencesOf(name) : null;
      const why = differences === null ? "" : ` (what it has and weir does not compute: ${differences})`;
      throw unsupported("architectures", architectures, `${SUPPORTED_FAMILIES}${why}`);
    }
    if (modelType !== undefined && modelType !== family.name)
      throw unsupported("model_type", modelType, `"${family.name}", as the architecture ${String(name)} says`);
    return family;
  }
  const family = familyNamed(String(modelType));
  if (family === undefined) throw unsupported("model_type", modelType, FAMILIES.map(({ name }) => name).join(", "));
  return family;
}

/** A field that the family does not read may only repeat what it has: releases of transformers differ in which one they read. */
function readActivation(config: JsonRecord, { activations, activationFields }: ModelFamily): ActivationName {
  const named = (field: string): ActivationName | null => {
    if ((config[field] ?? null) === null) return null;
    const activation = activations.find((name) => ACTIVATION_NAMES[name].includes(String(config[field])));
    if (activation !== undefined) return activation;
    throw unsupported(field, config[field], activations.flatMap((name) => ACTIVATION_NAMES[name]).join(", "));
  };
  const [found = activations[0]] = activationFields.flatMap((field) => named(field) ?? []);
  for (const field of ["hidden_act", "hidden_activation"]) {
    const other = named(field);
    if (other !== null && other !== found) throw unsupported(field, config[field], ACTIVATION_NAMES[found].join(", "));
  }
  return found;
}

/** Refuses what the dense, full-attention model with a gated MLP does not compute. */
function refuseUnsupported(config: JsonRecord, family: ModelFamily, layers: number): void {
  for (const [field, neutral] of Object.entries(NEUTRAL_VALUES)) {
    const value = config[field];
    if (value === undefined || value === null || neutral.includes(value)) continue;
    if (Array.isArray(value) && value.length === 0) continue;
    throw unsupported(field, value, neutral.length > 0 ? neutral.map(String).join(", ") : "absent or null");
  }
  const layerTypes = config.layer_types;
  if (layerTypes !== undefined && layerTypes !== null) {
    if (!Array.isArray(layerTypes) || layerTypes.length !== layers)
      throw wrongValue("layer_types", layerTypes, `a list of ${layers} names, one per layer`);
    if (layerTypes.some((kind) => kind !== "full_attention"))
      throw unsupported("layer_types", layerTypes, "full_attention in every layer");
  }
  const window = config.sliding_window;
  if (!family.windowOptional) {
    if (window !== undefined && window !== null) throw unsupported("sliding_window", window, "null");
    return;
  }
  // The Qwen families use the window (4,096 where the file is silent) only when asked to, from layer max_window_layers on.
  const firstWindowed = config.max_window_layers ?? 28;
  const allFull = Array.isArray(layerTypes) || (typeof firstWindowed === "number" && firstWindowed >= layers);
  if (flag(config, "use_sliding_window", false) && window !== null && !allFull)
    throw unsupported("use_sliding_window", true, "false (full attention in every layer)");
}

function readAttentionBias(config: JsonRecord, family: ModelFamily): ModelConfig["attentionBias"] {
  if (family.attentionBias === "qkv") {
    if (!flag(config, "attention_bias", true))
      throw unsupported("attention_bias", false, `true for ${family.name} (q, k and v always carry a bias)`);
    return { q: true, k: true, v: true, o: false };
  }
  const all = flag(config, "attention_bias", false);
  return { q: all, k: all, v: all, o: all };
}

/** Reads the record from parsed files; `generation` is generation_config.json or null. Throws as `readModelConfig`. */
export function parseModelConfig(config: JsonRecord, generation: JsonRecord | null): ModelConfig {
  const family = readFamily(config);
  const layers = positiveInteger(config, "num_hidden_layers");
  refuseUnsupported(config, family, layers);
  const activation = readActivation(config, family);
  const { defaults } = family;
  const hiddenSize = positiveInteger(config, "hidden_size");
  const heads = positiveInteger(config, "num_attention_heads");
  // An explicit null means as many as heads, in all families.
  const silentKvHeads = config.num_key_value_heads === null ? heads : (defaults.kvHeads ?? heads);
  const kvHeads = positiveInteger(config, "num_key_value_heads", silentKvHeads);
  if (heads % kvHeads !== 0)
    throw wrongValue("num_key_value_heads", kvHeads, `a divisor of num_attention_heads ${heads}`);
  const headDim = positiveInteger(config, "head_dim", defaults.headDim ?? hiddenSize / heads);
  if (headDim % 2 !== 0) throw wrongValue("head_dim", headDim, "even, for rotary pairs");
  const mlpBias = flag(config, "mlp_bias", false);
  if (mlpBias && !family.mlpBias) throw unsupported("mlp_bias", true, `false for ${family.name}`);
  const maxPositions = positiveInteger(config, "max_position_embeddings", defaults.maxPositions);
  // An explicit null means none.
  const eos = config.eos_token_id === undefined ? defaults.eosId : config.eos_token_id;
  const bos = config.bos_token_id === undefined ? defaults.bosId : config.bos_token_id;
  const pad = config.pad_token_id === undefined ? defaults.padId : config.pad_token_id;
  const padding = pad ?? generation?.pad_token_id;
  const eosIds = [
    ...tokenIds(eos, "eos_token_id"),
    ...tokenIds(generation?.eos_token_id, "eos_token_id (generation_config.json)"),
  ];
  return {
    family: family.name,
    vocabSize: positiveInteger(config, "vocab_size"),
    hiddenSize,
    intermediateSize: positiveInteger(config, "intermediate_size"),
    layers,
    heads,
    kvHeads,
    headDim,
    rmsNormEps: positiveNumber(config, "rms_norm_eps", 1e-6),
    normOffset: family.normOffset,
    activation,
    embeddingScale: family.embeddingScaled ? Math.sqrt(hiddenSize) : null,
    tieWordEmbeddings: flag(config, "tie_word_embeddings", defaults.tieWordEmbeddings),
    attentionBias: readAttentionBias(config, family),
    mlpBias,
    qkNorm: family.qkNorm,
    maxPositions,
    rope: readRope(config, maxPositions, { unsupported, wrongValue }),
    eosIds: [...new Set(eosIds)],
    // Early Llama folders say -1 for none.
    padId: config.pad_token_id === -1 ? null : (tokenIds(padding, "pad_token_id")[0] ?? null),
    bosId: tokenIds(bos ?? generation?.bos_token_id, "bos_token_id")[0] ?? null,
  };
}

/**
 * Reads `config.json` and, where present, `generation_config.json` of a Hugging Face model folder.
 * Throws WEIR_E_FILE_MISSING (no config.json), WEIR_E_MODEL_FILES (not JSON, or a field of the wrong kind) and
 * WEIR_E_MODEL_UNSUPPORTED (a field asks for what the model does not compute; `details.field`, `details.value`).
 */
export async function readModelConfig(directory: string): Promise<ModelConfig> {
  await checkModelFolder(directory);
  const config = await readJson(join(directory, "config.json"), "WEIR_E_MODEL_FILES");
  const generation = await readJsonIfPresent(join(directory, "generation_config.json"), "WEIR_E_MODEL_FILES");
  const textConfig = config.text_config;
  if (isRecord(textConfig)) throw unsupported("text_config", "{…}", "plain text models only");
  return parseModelConfig(config, generation);
}
