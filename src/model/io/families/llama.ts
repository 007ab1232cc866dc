import { EVERY_ACTIVATION } from "../activation.js";
import type { ModelFamily } from "./family.js";

export const llama: ModelFamily = {
  name: "llama",
  classes: ["LlamaForCausalLM", "LlamaModel"],
  models: "Llama, SmolLM2 and kin",
  normOffset: 0,
  activations: EVERY_ACTIVATION,
  activationFields: ["hidden_act"],
  qkNorm: false,
  embeddingScaled: false,
  attentionBias: "option",
  mlpBias: true,
  windowOptional: false,
  defaults: {
    kvHeads: null,
    headDim: null,
    maxPositions: 2048,
    tieWordEmbeddings: false,
    bosId: 1,
    eosId: 2,
    padId: null,
  },
  tokenizerRebuilt: false,
  gguf: { architecture: "llama", pairedRows: true },
};
