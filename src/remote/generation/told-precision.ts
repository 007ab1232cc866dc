import { type ProductPrecision, WEIGHT_DTYPES } from "../../contracts/precision.js";

/** Other names that servers have for element types. */
const ALIASES: Readonly<Record<string, ProductPrecision>> = { float: "float32", half: "float16" };

/** The precision that a server's name of an element type means, with or without `torch.`; null for any other, such as `auto`. */
export function toldPrecision(dtype: string | null | undefined): ProductPrecision | null {
  const name = dtype?.replace(/^torch\./, "") ?? "";
  return WEIGHT_DTYPES.find((known) => known === name) ?? ALIASES[name] ?? null;
}
