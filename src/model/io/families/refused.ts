/** Well-known families that cannot be run, by class name without `ForCausalLM`, and their parts that weir does not compute. */

const EXPERTS = "mixtures of experts";
const LAYER_NORM = "LayerNorm";
const UNGATED = "an MLP without a gate";
const PARTIAL = "rotation of a part of each head";
const WINDOWS = "sliding windows";

const DIFFERENCES: Readonly<Record<string, readonly string[]>> = {
  Apertus: [UNGATED, "the activation xIELU"],
  Arcee: [UNGATED],
  Cohere: [LAYER_NORM, "attention and MLP in parallel", "scaled logits"],
  Cohere2: [LAYER_NORM, "attention and MLP in parallel", WINDOWS],
  DeepseekV2: [EXPERTS, "latent attention"],
  DeepseekV3: [EXPERTS, "latent attention"],
  Falcon: [LAYER_NORM, UNGATED],
  GPT2: [LAYER_NORM, UNGATED, "learned positions"],
  GPTNeoX: [LAYER_NORM, UNGATED, PARTIAL],
  Gemma2: ["norms after attention and MLP", "soft-capped logits", WINDOWS],
  Gemma3: ["norms after attention and MLP", WINDOWS],
  Glm: [PARTIAL, "gate and up projection in one matrix"],
  Glm4: [PARTIAL, "norms after attention and MLP", "gate and up projection in one matrix"],
  GptOss: [EXPERTS, "attention sinks", WINDOWS],
  Granite: ["multipliers of embeddings, attention, residuals and logits"],
  Mistral: [`${WINDOWS} where the file is silent`],
  Mixtral: [EXPERTS],
  Nemotron: [LAYER_NORM, UNGATED, PARTIAL],
  Olmo: ["LayerNorm without weights"],
  Olmo2: ["norms after attention and MLP instead of before", "q/k norm over all heads together"],
  Phi: [LAYER_NORM, UNGATED, PARTIAL],
  Phi3: ["joined projections in one matrix"],
  Qwen2Moe: [EXPERTS],
  Qwen3Moe: [EXPERTS],
  Qwen3Next: [EXPERTS, "linear attention"],
  SmolLM3: ["layers without rotation"],
  StableLm: [LAYER_NORM, PARTIAL],
  Starcoder2: [LAYER_NORM, UNGATED],
};

/** The parts of a class that are not computed, in words; null for an unknown class. */
export function differencesOf(className: string): string | null {
  const found = DIFFERENCES[className.replace(/(?:ForCausalLM|LMHeadModel|Model)$/, "")];
  return found === undefined ? null : found.join(", ");
}
