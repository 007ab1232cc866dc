/** The tensor types of ggml that can be read, with their block sizes; the others by name, for messages. */
import { WeirError } from "../../../errors.js";
import { elementCount } from "../tensor-source.js";

export type GgmlType = "F32" | "F16" | "BF16" | "Q4_0" | "Q4_1" | "Q5_0" | "Q5_1" | "Q8_0" | "Q4_K" | "Q5_K" | "Q6_K";

/** Elements and bytes of one block (ggml-common.h). */
export const BLOCKS: Readonly<Record<GgmlType, { readonly elements: number; readonly bytes: number }>> = {
  F32: { elements: 1, bytes: 4 },
  F16: { elements: 1, bytes: 2 },
  BF16: { elements: 1, bytes: 2 },
  Q4_0: { elements: 32, bytes: 18 },
  Q4_1: { elements: 32, bytes: 20 },
  Q5_0: { elements: 32, bytes: 22 },
  Q5_1: { elements: 32, bytes: 24 },
  Q8_0: { elements: 32, bytes: 34 },
  Q4_K: { elements: 256, bytes: 144 },
  Q5_K: { elements: 256, bytes: 176 },
  Q6_K: { elements: 256, bytes: 210 },
};

/** Numbers of the types in files (enum ggml_type). */
const NAMES: Readonly<Record<number, string>> = {
  0: "F32",
  1: "F16",
  2: "Q4_0",
  3: "Q4_1",
  6: "Q5_0",
  7: "Q5_1",
  8: "Q8_0",
  9: "Q8_1",
  10: "Q2_K",
  11: "Q3_K",
  12: "Q4_K",
  13: "Q5_K",
  14: "Q6_K",
  15: "Q8_K",
  16: "IQ2_XXS",
  17: "IQ2_XS",
  18: "IQ3_XXS",
  19: "IQ1_S",
  20: "IQ4_NL",
  21: "IQ3_S",
  22: "IQ2_S",
  23: "IQ4_XS",
  24: "I8",
  25: "I16",
  26: "I32",
  27: "I64",
  28: "F64",
  29: "IQ1_M",
  30: "BF16",
  34: "TQ1_0",
  35: "TQ2_0",
  39: "MXFP4",
};

function isReadable(name: string): name is GgmlType {
  return Object.hasOwn(BLOCKS, name);
}

/** The type with this number. Throws WEIR_E_GGUF, led by `subject`, when it cannot be read. */
export function ggmlType(number: number, subject: string): GgmlType {
  const name = NAMES[number] ?? `number ${number}`;
  if (isReadable(name)) return name;
  throw new WeirError(
    "WEIR_E_GGUF",
    `${subject} has the type ${name}; readable are ${Object.keys(BLOCKS).join(", ")}. Use a file in one of these.`,
    { type: name },
  );
}

/** Bytes of a tensor; its rows (last dimension) are whole blocks. Throws WEIR_E_GGUF, led by `subject`, when they are not. */
export function storedBytes(type: GgmlType, shape: readonly number[], subject: string): number {
  const { elements, bytes } = BLOCKS[type];
  const row = shape.at(-1) ?? 1;
  if (row % elements !== 0)
    throw new WeirError(
      "WEIR_E_GGUF",
      `${subject} has rows of ${row} elements, no multiple of the ${elements} of a ${type} block. Fetch the file again.`,
      { type, shape },
    );
  return (elementCount(shape) / elements) * bytes;
}
