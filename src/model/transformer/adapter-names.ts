/** Which weights carry adapters, and how their pairs are named and shaped: W = W₀ + (α/r)·B·A. Names and numbers only. */
import type { LoraOptions } from "../../contracts/engine.js";

/** Names of a weight's trained pair, as PEFT gives them inside a model. */
export function adapterNames(weight: string): { readonly a: string; readonly b: string } {
  const module = weight.replace(/\.weight$/, "");
  return { a: `${module}.lora_A.weight`, b: `${module}.lora_B.weight` };
}

/** Whether a weight is one that the options adapt. */
export function isAdapted(weight: string, { targets }: LoraOptions): boolean {
  return targets.some((target) => weight.endsWith(`.${target}.weight`));
}

/** Shapes of all pairs of a model, A [r, in] and B [out, r]; `shapes` are those of its tensors. */
export function adapterShapes(
  shapes: ReadonlyMap<string, readonly number[]>,
  options: LoraOptions,
): ReadonlyMap<string, readonly number[]> {
  const result = new Map<string, readonly number[]>();
  for (const [name, shape] of shapes) {
    if (!isAdapted(name, options)) continue;
    const [out, input] = shape as readonly [number, number];
    const { a, b } = adapterNames(name);
    result.set(a, [options.rank, input]);
    result.set(b, [out, options.rank]);
  }
  return result;
}
