/**
 * Builds a Hugging Face config.json from GGUF metadata, for the families that say how their files are read.
 * Whatever the metadata asks for beyond them is an error that names the key.
 */
import { WeirError } from "../../../errors.js";
import { ACTIVATION_NAMES } from "../activation.js";
import { FAMILIES, type ModelFamily } from "../families/index.js";
import { readRange } from "../safetensors.js";
import { dequantise } from "./dequantise.js";
import { Metadata } from "./metadata.js";
import type { GgufHead, GgufTensor } from "./reader.js";

/** Keys (after the architecture's name) that change the arithmetic, with the value that changes nothing. */
const NEUTRAL: Readonly<Record<string, number>> = {
  "attention.scale": 0,
  "attention.sliding_window": 0,
  attn_logit_softcapping: 0,
  embedding_scale: 1,
  expert_count: 0,
  expert_used_count: 0,
  final_logit_softcapping: 0,
  logit_scale: 1,
  residual_scale: 1,
  "rope.scaling.attn_factor": 1,
  "rope.scaling.yarn_ext_factor": 1,
};

/** Llama 3.1 and later: the frequency bands are the same in all published models; the factor is 8 or 32. */
const LLAMA3_BANDS = { low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 } as const;

/** The family of the file's architecture. */
function readFamily(metadata: Metadata): { readonly architecture: string; readonly family: ModelFamily } {
  const name = metadata.text("general.architecture");
  const family = FAMILIES.find(({ gguf }) => gguf?.architecture === name);
  if (family !== undefined) return { architecture: name, family };
  const known = FAMILIES.flatMap(({ gguf }) => (gguf === null ? [] : [gguf.architecture]));
  throw metadata.fault("general.architecture", known.join(", "), "Other architectures are not supported.");
}

/** Divisors of the rotary frequencies under llama3 scaling (transformers' `_compute_llama3_parameters`), one per pair. */
function llama3Divisors(theta: number, headDim: number, factor: number): number[] {
  const { low_freq_factor: low, high_freq_factor: high, original_max_position_embeddings: positions } = LLAMA3_BANDS;
  return Array.from({ length: headDim / 2 }, (_, pair) => {
    const wavelength = 2 * Math.PI * theta ** ((2 * pair) / headDim);
    if (wavelength < positions / high) return 1;
    if (wavelength > positions / low) return factor;
    const smooth = (positions / wavelength - low) / (high - low);
    return 1 / ((1 - smooth) / factor + smooth);
  });
}

/** Recovers llama3 scaling from the table of divisors that the file has instead of the parameters. */
function ropeFromDivisors(path: string, tensor: GgufTensor, theta: number, headDim: number): Record<string, unknown> {
  const divisors = dequantise(readRange(tensor.path, tensor.start, tensor.end), tensor.type);
  const factor = Number(Math.max(...divisors).toPrecision(6));
  const expected = llama3Divisors(theta, headDim, factor);
  const agrees =
    divisors.length === expected.length && expected.every((value, i) => Math.abs(value / divisors[i]! - 1) < 1e-3);
  if (!agrees)
    throw new WeirError(
      "WEIR_E_GGUF",
      `${path}: tensor rope_freqs.weight holds rotary factors that are not those of Llama 3 scaling over ` +
        `${LLAMA3_BANDS.original_max_position_embeddings} positions. Use the model's safetensors files.`,
      { path, tensor: "rope_freqs.weight" },
    );
  return { rope_type: "llama3", rope_theta: theta, factor, ...LLAMA3_BANDS };
}

function ropeParameters(
  head: GgufHead,
  metadata: Metadata,
  architecture: string,
  headDim: number,
): Record<string, unknown> {
  const key = (name: string) => `${architecture}.rope.${name}`;
  const theta = metadata.optionalNumber(key("freq_base")) ?? 10000;
  const rotated = metadata.optionalNumber(key("dimension_count")) ?? headDim;
  if (rotated !== headDim)
    throw metadata.fault(
      key("dimension_count"),
      `${headDim}, the head size`,
      "Partial rotary embedding is not supported.",
    );
  const divisors = head.tensors.get("rope_freqs.weight");
  if (divisors !== undefined) return ropeFromDivisors(head.path, divisors, theta, headDim);
  const type = metadata.optionalText(key("scaling.type")) ?? (metadata.has(key("scale_linear")) ? "linear" : "none");
  const factor = () => metadata.optionalNumber(key("scaling.factor")) ?? metadata.number(key("scale_linear"));
  switch (type) {
    case "none":
      return { rope_type: "default", rope_theta: theta };
    case "linear":
      return { rope_type: "linear", rope_theta: theta, factor: factor() };
    case "yarn": {
      const parameters: Record<string, unknown> = { rope_type: "yarn", rope_theta: theta, factor: factor() };
      parameters.original_max_position_embeddings = metadata.number(key("scaling.original_context_length"));
      const fast = metadata.optionalNumber(key("scaling.yarn_beta_fast"));
      const slow = metadata.optionalNumber(key("scaling.yarn_beta_slow"));
      if (fast !== null) parameters.beta_fast = fast;
      if (slow !== null) parameters.beta_slow = slow;
      return parameters;
    }
    default:
      throw metadata.fault(key("scaling.type"), "none, linear or yarn", "Other rotary scalings are not supported.");
  }
}

/** Ids that the tokenizer part of the metadata names. */
export function specialIds(metadata: Metadata): {
  readonly bos: number | null;
  readonly eos: number | null;
  readonly unknown: number | null;
  readonly pad: number | null;
  /** End of turn, where it differs from eos. */
  readonly endOfTurn: number | null;
} {
  const id = (name: string) => metadata.optionalNumber(`tokenizer.ggml.${name}_token_id`);
  const eos = id("eos");
  const endOfTurn = id("eot");
  return {
    bos: id("bos"),
    eos,
    unknown: id("unknown"),
    pad: id("padding"),
    endOfTurn: endOfTurn === eos ? null : endOfTurn,
  };
}

/** The config.json of the model in the file, with `dtype` as the type its weights will be written in. */
export function configFromGguf(head: GgufHead, dtype: string): Record<string, unknown> {
  const metadata = new Metadata(head);
  const { architecture, family } = readFamily(metadata);
  const key = (name: string) => `${architecture}.${name}`;
  for (const [name, neutral] of Object.entries(NEUTRAL)) {
    const value = metadata.optionalNumber(key(name));
    if (value !== null && value !== neutral)
      throw metadata.fault(key(name), `absent or ${neutral}`, "The model uses a feature that is not supported.");
  }
  const embedding = head.tensors.get("token_embd.weight");
  if (embedding === undefined)
    throw new WeirError("WEIR_E_GGUF", `${head.path}: tensor token_embd.weight is missing. Fetch the file again.`, {
      path: head.path,
      tensor: "token_embd.weight",
    });
  const hiddenSize = metadata.number(key("embedding_length"));
  const heads = metadata.number(key("attention.head_count"));
  const headDim = metadata.optionalNumber(key("attention.key_length")) ?? hiddenSize / heads;
  const valueDim = metadata.optionalNumber(key("attention.value_length")) ?? headDim;
  if (valueDim !== headDim)
    throw metadata.fault(key("attention.value_length"), `${headDim}, as attention.key_length`, "Use another model.");
  const ids = specialIds(metadata);
  const config: Record<string, unknown> = {
    architectures: [family.classes[0]],
    attention_dropout: 0,
    bos_token_id: ids.bos,
    dtype,
    eos_token_id: ids.eos,
    head_dim: headDim,
    hidden_act: ACTIVATION_NAMES[family.activations[0]][0],
    hidden_size: hiddenSize,
    intermediate_size: metadata.number(key("feed_forward_length")),
    max_position_embeddings: metadata.number(key("context_length")),
    model_type: family.name,
    num_attention_heads: heads,
    num_hidden_layers: metadata.number(key("block_count")),
    num_key_value_heads: metadata.optionalNumber(key("attention.head_count_kv")) ?? heads,
    pad_token_id: ids.pad,
    rms_norm_eps: metadata.number(key("attention.layer_norm_rms_epsilon")),
    rope_parameters: ropeParameters(head, metadata, architecture, headDim),
    tie_word_embeddings: !head.tensors.has("output.weight"),
    use_cache: true,
    vocab_size: embedding.shape[0] ?? 0,
  };
  if (family.attentionBias === "option") config.attention_bias = head.tensors.has("blk.0.attn_q.bias");
  if (family.mlpBias) config.mlp_bias = head.tensors.has("blk.0.ffn_gate.bias");
  if (family.windowOptional) config.use_sliding_window = false;
  return config;
}
