/** The activation functions of a gated MLP and what `hidden_act` of config.json calls them. */

export type ActivationName = "silu" | "gelu_tanh" | "gelu" | "relu2";

/** transformers' names of each; the first is the one that is written. */
export const ACTIVATION_NAMES: Readonly<Record<ActivationName, readonly string[]>> = {
  silu: ["silu", "swish"],
  gelu_tanh: ["gelu_pytorch_tanh", "gelu_new", "gelu_fast"],
  gelu: ["gelu"],
  relu2: ["relu2"],
};

/** For families whose configuration may choose. */
export const EVERY_ACTIVATION = ["silu", "gelu_tanh", "gelu", "relu2"] as const satisfies readonly ActivationName[];
