import { EVERY_ACTIVATION } from "../activation.js";
import type { ModelFamily } from "./family.js";

export const qwen2: ModelFamily = {
  name: "qwen2",
  classes: ["Qwen2ForCausalLM", "Qwen2Model"],
  models: "Qwen2, Qwen2.5",
  normOffset: 0,
  activations: EVERY_ACTIVATION,
  activationFields: ["hidden_act"],
  qkNorm: false,
  embeddingScaled: false,
  attentionBias: "qkv",
  mlpBias: false,
  windowOptional: true,
  defaults: {
    kvHeads: 32,
    headDim: null,
    maxPositions: 32768,
    tieWordEmbeddings: false,
    bosId: null,
    eosId: null,
    padId: null,
  },
  tokenizerRebuilt: true,
  gguf: { architecture: "qwen2", pairedRows: false },
};
