/**
 * How one family of decoder models differs from another. All have a norm before attention and one before a gated MLP, RoPE and
 * full causal attention; the fields below are what may differ.
 */
import type { ActivationName } from "../activation.js";

export interface ModelFamily {
  /** config.json's `model_type`. */
  readonly name: string;
  /** config.json's `architectures`: the language model, then the base model saved without a head. */
  readonly classes: readonly [string, string];
  /** What its models are called, for messages; null where the class name says it. */
  readonly models: string | null;
  /** RMSNorm multiplies by (offset + w). */
  readonly normOffset: 0 | 1;
  /** Activations that `hidden_act` may name; the first is the default. */
  readonly activations: readonly [ActivationName, ...ActivationName[]];
  /** Fields of config.json that name the activation; another one of the two may only repeat it. */
  readonly activationFields: readonly ("hidden_act" | "hidden_activation")[];
  /** RMSNorm over each head of q and k before rotation. */
  readonly qkNorm: boolean;
  /** Embedded tokens are multiplied by √hiddenSize. */
  readonly embeddingScaled: boolean;
  /** `qkv`: q, k and v always have one. `option`: `attention_bias` decides for q, k, v and o. */
  readonly attentionBias: "qkv" | "option";
  /** Whether `mlp_bias` is an option. */
  readonly mlpBias: boolean;
  /** Whether `use_sliding_window: false` switches a given window off; else a window is refused. */
  readonly windowOptional: boolean;
  /** What its configuration class supplies where the file is silent. */
  readonly defaults: {
    /** Null: as many as heads. */
    readonly kvHeads: number | null;
    /** Null: hiddenSize / heads. */
    readonly headDim: number | null;
    readonly maxPositions: number;
    readonly tieWordEmbeddings: boolean;
    readonly bosId: number | null;
    readonly eosId: number | null;
    readonly padId: number | null;
  };
  /** transformers builds a tokenizer of its own for this `model_type` where tokenizer_config.json names no class. */
  readonly tokenizerRebuilt: boolean;
  /** How llama.cpp's files hold it; null where they are not read. They hold w + 1 for norms of offset 1, which are not read. */
  readonly gguf: {
    /** `general.architecture`. */
    readonly architecture: string;
    /** Rows of q and k lie in rotary pairs (2j, 2j+1), to be put back to (j, j + d/2). */
    readonly pairedRows: boolean;
  } | null;
}
