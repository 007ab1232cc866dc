import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { parseModelConfig, readModelConfig } from "../../src/model/io/config.js";
import { failure } from "../helpers/errors.js";
import { OWN_FIXTURES, temporaryFolder } from "../helpers/fixtures.js";

/** Qwen2.5-0.5B-Instruct's published file, in the v4 layout. */
const QWEN25 = {
  architectures: ["Qwen2ForCausalLM"],
  attention_dropout: 0.0,
  bos_token_id: 151643,
  eos_token_id: 151645,
  hidden_act: "silu",
  hidden_size: 896,
  initializer_range: 0.02,
  intermediate_size: 4864,
  max_position_embeddings: 32768,
  max_window_layers: 21,
  model_type: "qwen2",
  num_attention_heads: 14,
  num_hidden_layers: 24,
  num_key_value_heads: 2,
  rms_norm_eps: 1e-6,
  rope_theta: 1000000.0,
  sliding_window: 32768,
  tie_word_embeddings: true,
  torch_dtype: "bfloat16",
  use_cache: true,
  use_sliding_window: false,
  vocab_size: 151936,
};

const LLAMA = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  hidden_size: 64,
  intermediate_size: 128,
  num_attention_heads: 4,
  num_hidden_layers: 2,
  vocab_size: 100,
  max_position_embeddings: 2048,
};

const QWEN3 = { ...LLAMA, architectures: ["Qwen3ForCausalLM"], model_type: "qwen3", num_key_value_heads: 2 };

describe("reading a model configuration", () => {
  it("reads Qwen2.5 in the v4 layout", () => {
    const generation = { eos_token_id: [151645, 151643], pad_token_id: 151643 };
    expect(parseModelConfig(QWEN25, generation)).toEqual({
      family: "qwen2",
      vocabSize: 151936,
      hiddenSize: 896,
      intermediateSize: 4864,
      layers: 24,
      heads: 14,
      kvHeads: 2,
      headDim: 64,
      rmsNormEps: 1e-6,
      normOffset: 0,
      activation: "silu",
      embeddingScale: null,
      tieWordEmbeddings: true,
      attentionBias: { q: true, k: true, v: true, o: false },
      mlpBias: false,
      qkNorm: false,
      maxPositions: 32768,
      rope: { type: "default", theta: 1e6 },
      eosIds: [151645, 151643],
      padId: 151643,
      bosId: 151643,
    });
  });

  it("reads the same model from the v5 layout", () => {
    const { rope_theta, torch_dtype, ...rest } = QWEN25;
    const v5 = {
      ...rest,
      dtype: torch_dtype,
      layer_types: Array.from({ length: 24 }, () => "full_attention"),
      sliding_window: null,
      rope_parameters: { rope_theta, rope_type: "default" },
    };
    expect(parseModelConfig(v5, null)).toEqual(parseModelConfig(QWEN25, null));
  });

  it("gives Qwen3 its q/k norm, its own head size and no biases", () => {
    const config = parseModelConfig(QWEN3, null);
    expect(config).toMatchObject({ family: "qwen3", qkNorm: true, headDim: 128, kvHeads: 2 });
    expect(config.attentionBias).toEqual({ q: false, k: false, v: false, o: false });
    expect(parseModelConfig({ ...QWEN3, attention_bias: true, head_dim: 32 }, null)).toMatchObject({
      headDim: 32,
      attentionBias: { q: true, k: true, v: true, o: true },
    });
  });

  it("gives Llama as many key heads as heads, bos 1 and eos 2 where the file is silent, and none where it says null", () => {
    expect(parseModelConfig(LLAMA, null)).toMatchObject({
      kvHeads: 4,
      headDim: 16,
      bosId: 1,
      eosIds: [2],
      padId: null,
    });
    const silent = { ...LLAMA, bos_token_id: null, eos_token_id: null };
    expect(parseModelConfig(silent, null)).toMatchObject({ bosId: null, eosIds: [] });
  });

  it("merges stop ids of both files without repeats, the configuration's first", () => {
    const config = parseModelConfig({ ...LLAMA, eos_token_id: 128009 }, { eos_token_id: [128001, 128008, 128009] });
    expect(config.eosIds).toEqual([128009, 128001, 128008]);
  });

  it.each([
    [
      "linear, v4 name",
      { rope_theta: 1e4, rope_scaling: { type: "linear", factor: 2 } },
      { type: "linear", theta: 1e4, factor: 2 },
    ],
    [
      "llama3",
      {
        rope_theta: 5e5,
        rope_scaling: {
          rope_type: "llama3",
          factor: 32,
          low_freq_factor: 1,
          high_freq_factor: 4,
          original_max_position_embeddings: 8192,
        },
      },
      { type: "llama3", theta: 5e5, factor: 32, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPositions: 8192 },
    ],
    [
      // attention factor 0.1 ln 4 + 1
      "yarn with its defaults",
      { rope_theta: 1e6, rope_scaling: { type: "yarn", factor: 4, original_max_position_embeddings: 32768 } },
      {
        type: "yarn",
        theta: 1e6,
        factor: 4,
        originalMaxPositions: 32768,
        attentionFactor: 1.138629436111989,
        betaFast: 32,
        betaSlow: 1,
        truncate: true,
      },
    ],
    [
      // original positions fall back to the present ones; (0.07 ln 8 + 1) / (0.05 ln 8 + 1), as transformers 5.23 has it
      "yarn, v5 layout, with mscale",
      {
        rope_parameters: {
          rope_type: "yarn",
          rope_theta: 1e4,
          factor: 8,
          mscale: 0.7,
          mscale_all_dim: 0.5,
          truncate: false,
          beta_fast: 16,
        },
      },
      {
        type: "yarn",
        theta: 1e4,
        factor: 8,
        originalMaxPositions: 2048,
        attentionFactor: 1.0376719952405395,
        betaFast: 16,
        betaSlow: 1,
        truncate: false,
      },
    ],
    [
      "one set under full_attention",
      { rope_parameters: { full_attention: { rope_type: "default", rope_theta: 7e4 } } },
      { type: "default", theta: 7e4 },
    ],
  ])("reads rotary settings: %s", (_, fields, expected) => {
    const { rope } = parseModelConfig({ ...LLAMA, ...fields }, null);
    expect(Object.keys(rope).sort()).toEqual(Object.keys(expected).sort());
    for (const [key, value] of Object.entries(expected)) {
      const found = (rope as unknown as Record<string, unknown>)[key];
      if (typeof value === "number") expect(found, key).toBeCloseTo(value, 9);
      else expect(found, key).toBe(value);
    }
  });

  it.each<[string, Record<string, unknown>]>([
    ["architectures", { architectures: ["LlamaForSequenceClassification"] }],
    ["architectures", { architectures: ["MistralForCausalLM"] }],
    ["model_type", { architectures: undefined, model_type: "mistral" }],
    ["model_type", { model_type: "mistral" }],
    ["hidden_act", { hidden_act: "quick_gelu" }],
    ["hidden_activation", { hidden_activation: "relu" }],
    ["hidden_activation", { hidden_act: "silu", hidden_activation: "gelu" }],
    ["quantization_config", { quantization_config: { bits: 4 } }],
    ["num_experts", { num_experts: 8 }],
    ["num_local_experts", { num_local_experts: 8 }],
    ["attention_dropout", { attention_dropout: 0.1 }],
    ["partial_rotary_factor", { partial_rotary_factor: 0.5 }],
    ["final_logit_softcapping", { final_logit_softcapping: 30 }],
    ["logits_scaling", { logits_scaling: 8 }],
    ["no_rope_layers", { no_rope_layers: [1, 0] }],
    ["sliding_window", { sliding_window: 4096 }],
    ["layer_types", { layer_types: ["full_attention", "sliding_attention"] }],
    ["rope_scaling.type", { rope_scaling: { type: "dynamic", factor: 2 } }],
    ["rope_scaling.rope_type", { rope_scaling: { rope_type: "longrope", factor: 2 } }],
    ["rope_parameters.rope_type", { rope_parameters: { rope_type: "ntk", rope_theta: 1e4 } }],
    [
      "rope_parameters.partial_rotary_factor",
      { rope_parameters: { rope_type: "default", partial_rotary_factor: 0.25 } },
    ],
    [
      "rope_parameters",
      { rope_parameters: { full_attention: { rope_theta: 1 }, sliding_attention: { rope_theta: 2 } } },
    ],
  ])("refuses what it does not compute, naming %s", async (field, fields) => {
    const error = await failure(() => parseModelConfig({ ...LLAMA, ...fields }, null), "WEIR_E_MODEL_UNSUPPORTED");
    expect(error.details.field).toBe(field);
    expect(error.message).toContain(field);
    const value = field
      .split(".")
      .reduce<unknown>((inner, key) => (inner as Record<string, unknown>)[key], { ...LLAMA, ...fields });
    expect(error.details.value).toEqual(value);
  });

  it.each([
    ["swish", "silu"],
    ["gelu_pytorch_tanh", "gelu_tanh"],
    ["gelu", "gelu"],
    ["relu2", "relu2"],
  ])("reads the activation %s", (name, activation) => {
    expect(parseModelConfig({ ...LLAMA, hidden_act: name }, null).activation).toBe(activation);
  });

  it("gives Gemma its norms, activation and scaled embedding, and its class's values where the file is silent", () => {
    const { num_attention_heads, ...rest } = LLAMA;
    const gemma = { ...rest, architectures: ["GemmaForCausalLM"], model_type: "gemma", num_attention_heads: 16 };
    expect(parseModelConfig(gemma, null)).toMatchObject({
      family: "gemma",
      normOffset: 1,
      activation: "gelu_tanh",
      embeddingScale: 8,
      kvHeads: 16,
      headDim: 256,
      tieWordEmbeddings: true,
      bosId: 2,
      eosIds: [1],
      padId: 0,
    });
  });

  it("refuses a Gemma whose activation releases of transformers read differently", async () => {
    const gemma = { ...LLAMA, architectures: ["GemmaForCausalLM"], model_type: "gemma", hidden_act: "gelu" };
    const error = await failure(() => parseModelConfig(gemma, null), "WEIR_E_MODEL_UNSUPPORTED");
    expect(error.details).toMatchObject({ field: "hidden_act", value: "gelu" });
    expect(error.message).toContain("gelu_pytorch_tanh");
  });

  it("says what a well-known family has that is not computed", async () => {
    const gemma2 = { ...LLAMA, architectures: ["Gemma2ForCausalLM"], model_type: "gemma2" };
    const error = await failure(() => parseModelConfig(gemma2, null), "WEIR_E_MODEL_UNSUPPORTED");
    expect(error.message).toContain("norms after attention and MLP, soft-capped logits");
  });

  it.each<[string, Record<string, unknown>]>([
    ["use_sliding_window", { use_sliding_window: true }],
    ["attention_bias", { attention_bias: false }],
    ["mlp_bias", { mlp_bias: true }],
  ])("refuses in Qwen2 what it does not compute, naming %s", async (field, fields) => {
    const error = await failure(() => parseModelConfig({ ...QWEN25, ...fields }, null), "WEIR_E_MODEL_UNSUPPORTED");
    expect(error.details.field).toBe(field);
  });

  it("takes a window that starts behind the last layer as unused", () => {
    expect(parseModelConfig({ ...QWEN25, use_sliding_window: true, max_window_layers: 24 }, null).layers).toBe(24);
  });

  it.each<[string, Record<string, unknown>]>([
    ["hidden_size", { hidden_size: "64" }],
    ["hidden_size", { hidden_size: undefined }],
    ["num_hidden_layers", { num_hidden_layers: 0 }],
    ["num_key_value_heads", { num_key_value_heads: 3 }],
    ["head_dim", { head_dim: 15 }],
    ["rms_norm_eps", { rms_norm_eps: -1 }],
    ["tie_word_embeddings", { tie_word_embeddings: "yes" }],
    ["eos_token_id", { eos_token_id: "</s>" }],
    ["layer_types", { layer_types: ["full_attention"] }],
    ["rope_theta", { rope_theta: "large" }],
    ["rope_scaling.factor", { rope_scaling: { type: "linear" } }],
    ["rope_scaling.low_freq_factor", { rope_scaling: { type: "llama3", factor: 8 } }],
  ])("calls a wrong value wrong, naming %s", async (field, fields) => {
    const error = await failure(() => parseModelConfig({ ...LLAMA, ...fields }, null), "WEIR_E_MODEL_FILES");
    expect(error.details.field).toBe(field);
  });

  it("does not accept two rotary settings that differ", async () => {
    const fields = {
      rope_parameters: { rope_type: "linear", factor: 2 },
      rope_scaling: { rope_type: "linear", factor: 4 },
    };
    const error = await failure(() => parseModelConfig({ ...LLAMA, ...fields }, null), "WEIR_E_MODEL_FILES");
    expect(error.details.field).toBe("rope_scaling");
  });
});

describe("a model folder's configuration files", () => {
  it("tells a missing from a damaged file", async () => {
    const folder = await temporaryFolder();
    await failure(() => readModelConfig(folder), "WEIR_E_FILE_MISSING");
    await writeFile(join(folder, "config.json"), "{");
    await failure(() => readModelConfig(folder), "WEIR_E_MODEL_FILES");
    await writeFile(join(folder, "config.json"), "[]");
    await failure(() => readModelConfig(folder), "WEIR_E_MODEL_FILES");
  });

  it("reads all stored models", async () => {
    const bf16 = await readModelConfig(join(OWN_FIXTURES, "models", "tiny-qwen2-untied-bf16"));
    expect(bf16).toMatchObject({
      family: "qwen2",
      heads: 6,
      kvHeads: 3,
      headDim: 8,
      rope: { type: "default", theta: 1e6 },
    });
    const llama = await readModelConfig(join(OWN_FIXTURES, "models", "tiny-llama"));
    expect(llama).toMatchObject({ family: "llama", tieWordEmbeddings: false, eosIds: [2], padId: 0, bosId: null });
    const raw = JSON.parse(await readFile(join(OWN_FIXTURES, "models", "tiny-qwen2", "config.json"), "utf8"));
    expect((await readModelConfig(join(OWN_FIXTURES, "models", "tiny-qwen2"))).vocabSize).toBe(raw.vocab_size);
  });
});
