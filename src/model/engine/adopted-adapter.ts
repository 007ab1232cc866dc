/**
 * A policy that was published as a PEFT adapter, for an engine that only samples: W = W₀ + (α/r)·B·A for each weight that has a pair,
 * W₀ for the others. Everything is checked before the first weight is replaced.
 */
import { join } from "node:path";
import type { PublishedPolicy } from "../../contracts/published-policy.js";
import { WeirError } from "../../errors.js";
import { ADAPTER_CONFIG, ADAPTER_PREFIX, ADAPTER_WEIGHTS } from "../io/adapter-folder.js";
import { readJson } from "../io/json.js";
import { readSafetensors } from "../io/safetensors.js";
import type { TensorSource } from "../io/tensor-source.js";
import { scope, type Tensor, tf } from "../tensor/tf.js";
import { adapterNames } from "../transformer/adapter-names.js";
import type { ParameterStore } from "../transformer/parameters.js";

export interface AdoptedAdapter {
  /** α/r. */
  readonly scale: number;
  /** Pairs by their names inside the model. */
  readonly tensors: Pick<TensorSource, "shape" | "read">;
  /** Names of the weights that have a pair, sorted. */
  readonly weights: readonly string[];
}

type Adapter = Extract<PublishedPolicy["artifact"], { readonly kind: "adapter" }>;

/** Options of adapters of which another arithmetic follows, and the values that stand for W₀ + (α/r)·B·A. */
const PLAIN: Readonly<Record<string, unknown>> = {
  use_rslora: false,
  use_dora: false,
  bias: "none",
  fan_in_fan_out: false,
};

/**
 * Reads an adapter's folder. Errors: WEIR_E_POLICY_VERSION for one of other weights than those that hash to `baseSha256`, of a kind that
 * weir does not have, or that does not fit the model.
 */
export async function readAdopted(
  { uri, baseSha256: trainedOn }: Adapter,
  model: ParameterStore,
  baseSha256: string,
): Promise<AdoptedAdapter> {
  const refuse = (what: string): never => {
    throw new WeirError("WEIR_E_POLICY_VERSION", `the adapter in ${uri} ${what}`, { uri });
  };
  if (trainedOn !== baseSha256)
    refuse(
      `was trained on weights that hash to ${trainedOn.slice(0, 12)}…, this engine's model.path to ${baseSha256.slice(0, 12)}…; give both the same base model`,
    );
  const config = await readJson(join(uri, ADAPTER_CONFIG), "WEIR_E_POLICY_VERSION");
  for (const [option, plain] of Object.entries(PLAIN))
    if (config[option] !== undefined && config[option] !== plain)
      refuse(
        `has ${option} = ${JSON.stringify(config[option])}, which weir does not have; train one with ${JSON.stringify(plain)}`,
      );
  const { r, lora_alpha: alpha } = config;
  if (typeof r !== "number" || typeof alpha !== "number" || !(r > 0))
    return refuse(`names no rank and alpha in ${ADAPTER_CONFIG}`);
  const file = await readSafetensors(join(uri, ADAPTER_WEIGHTS));
  const stored = (name: string) => `${ADAPTER_PREFIX}${name}`;
  const pairs = file.names().filter((name) => name.endsWith(".lora_A.weight"));
  if (2 * pairs.length !== file.names().length) refuse("has tensors that are no pair of lora_A and lora_B");
  const weights = pairs.map((name) => name.replace(/\.lora_A\.weight$/, ".weight").slice(ADAPTER_PREFIX.length)).sort();
  for (const weight of weights) {
    const [out, input] = model.find(weight)?.shape ?? [];
    const { a, b } = adapterNames(weight);
    const fits = (name: string, ...shape: readonly unknown[]) =>
      file.names().includes(stored(name)) && file.shape(stored(name)).join() === shape.join();
    if (out === undefined || !fits(a, r, input) || !fits(b, out, r))
      refuse(`does not fit ${weight} of this engine's model with rank ${r}; give both the same base model`);
  }
  const tensors = {
    shape: (name: string) => file.shape(stored(name)),
    read: (name: string) => file.read(stored(name)),
  };
  return { scale: alpha / r, tensors, weights };
}

/** Sets the adapted weights, and those of `others`, which go back to the base model's. */
export function takeAdopted(
  model: ParameterStore,
  base: Pick<TensorSource, "read">,
  { scale, tensors, weights }: AdoptedAdapter,
  others: Iterable<string>,
): void {
  const adapted = new Set(weights);
  for (const name of new Set([...weights, ...others])) {
    const { shape } = model.get(name);
    const plain = () => tf.tensor(base.read(name), shape);
    const pair = (part: string) => tf.tensor(tensors.read(part), [...tensors.shape(part)]);
    const { a, b } = adapterNames(name);
    const merged = () => scope(() => tf.add(plain(), tf.mul(tf.matMul<Tensor>(pair(b), pair(a)), scale)));
    model.replace(name, adapted.has(name) ? merged() : plain());
  }
}
