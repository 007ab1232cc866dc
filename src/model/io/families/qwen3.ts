import { EVERY_ACTIVATION } from "../activation.js";
import type { ModelFamily } from "./family.js";

export const qwen3: ModelFamily = {
  name: "qwen3",
  classes: ["Qwen3ForCausalLM", "Qwen3Model"],
  models: null,
  normOffset: 0,
  activations: EVERY_ACTIVATION,
  activationFields: ["hidden_act"],
  qkNorm: true,
  embeddingScaled: false,
  attentionBias: "option",
  mlpBias: false,
  windowOptional: true,
  defaults: {
    kvHeads: 32,
    headDim: 128,
    maxPositions: 32768,
    tieWordEmbeddings: false,
    bosId: null,
    eosId: null,
    padId: null,
  },
  tokenizerRebuilt: true,
  gguf: { architecture: "qwen3", pairedRows: false },
};
