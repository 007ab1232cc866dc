/** Gemma, Gemma 1.1 and CodeGemma (arXiv 2403.08295); Gemma 2 and later compute something else. */
import type { ModelFamily } from "./family.js";

export const gemma: ModelFamily = {
  name: "gemma",
  classes: ["GemmaForCausalLM", "GemmaModel"],
  models: "Gemma 1, CodeGemma",
  normOffset: 1,
  // Where a configuration says "gelu", releases of transformers differ in which GELU they compute; the models have this one.
  activations: ["gelu_tanh"],
  activationFields: ["hidden_act", "hidden_activation"],
  qkNorm: false,
  embeddingScaled: true,
  attentionBias: "option",
  mlpBias: false,
  windowOptional: false,
  defaults: {
    kvHeads: 16,
    headDim: 256,
    maxPositions: 8192,
    tieWordEmbeddings: true,
    bosId: 2,
    eosId: 1,
    padId: 0,
  },
  tokenizerRebuilt: true,
  gguf: null,
};
