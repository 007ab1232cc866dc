/**
 * Conversions between float32 and the storage formats. Little-endian throughout (as safetensors and GGUF are).
 * Widening is exact; narrowing (also of float64, which is only read) rounds to nearest, ties to even.
 */
import type { WeightDtype } from "../../contracts/engine.js";
import { WeirError } from "../../errors.js";

/** Element types of weights that are written, under their safetensors names. */
export type StoredDtype = "F32" | "F16" | "BF16";

/** Element types of weights that are read. */
export type ReadableDtype = StoredDtype | "F64";

/** Names used in configurations and on the command line. */

export const BYTES_PER_ELEMENT: Readonly<Record<ReadableDtype, number>> = { F64: 8, F32: 4, F16: 2, BF16: 2 };

export const STORED_DTYPE: Readonly<Record<WeightDtype, StoredDtype>> = {
  float32: "F32",
  float16: "F16",
  bfloat16: "BF16",
};

/** Value of the IEEE 754 half whose bits are given. */
function halfToNumber(bits: number): number {
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  const sign = bits & 0x8000 ? -1 : 1;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

let halfTable: Float32Array | null = null;

/** All 65,536 halves as float32: 256 KiB, made on first use. */
export function halfToFloatTable(): Float32Array {
  if (halfTable === null) {
    halfTable = new Float32Array(65536);
    for (let bits = 0; bits < 65536; bits += 1) halfTable[bits] = halfToNumber(bits);
  }
  return halfTable;
}

/** Nearest half (ties to even) of a float32, by its bits; values beyond ±65,504 become infinite. */
function floatBitsToHalf(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  // 65,520 and above round to infinity.
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  if (magnitude >= 0x38800000) {
    const rounded = magnitude + 0xfff + ((magnitude >> 13) & 1);
    return sign | ((rounded - 0x38000000) >> 13);
  }
  if (magnitude < 0x33000000) return sign;
  // Subnormal half: the implicit one joins the fraction, which is shifted to units of 2^-24.
  const exponent = magnitude >> 23;
  const fraction = (magnitude & 0x7fffff) | 0x800000;
  const shift = 126 - exponent;
  const half = fraction >> shift;
  const rest = fraction & ((1 << shift) - 1);
  const middle = 1 << (shift - 1);
  return sign | (half + (rest > middle || (rest === middle && (half & 1) === 1) ? 1 : 0));
}

/** Nearest bfloat16 (ties to even) of a float32, by its bits. */
function floatBitsToBfloat(bits: number): number {
  if ((bits & 0x7fffffff) > 0x7f800000) return ((bits >>> 16) | 0x40) & 0xffff;
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

/** A typed view where the bytes are aligned for it, else of an aligned copy. */
function words16(bytes: Uint8Array): Uint16Array {
  const aligned = bytes.byteOffset % 2 === 0 ? bytes : bytes.slice();
  return new Uint16Array(aligned.buffer, aligned.byteOffset, bytes.byteLength >> 1);
}

/** Float64 elements rounded to float32. Throws WEIR_E_NON_FINITE when a finite value does not fit. */
function fromDoubles(bytes: Uint8Array, name: string): Float32Array {
  const aligned = bytes.byteOffset % 8 === 0 ? bytes : bytes.slice();
  const doubles = new Float64Array(aligned.buffer, aligned.byteOffset, bytes.byteLength >> 3);
  const values = Float32Array.from(doubles);
  const lost = values.findIndex((value, index) => !Number.isFinite(value) && Number.isFinite(doubles[index]!));
  if (lost >= 0)
    throw new WeirError(
      "WEIR_E_NON_FINITE",
      `Tensor ${name} is stored in float64 and holds ${doubles[lost]}, which float32 cannot. Use the model's float32 weights.`,
      { tensor: name, value: doubles[lost] },
    );
  return values;
}

/**
 * Little-endian stored elements as float32. `bytes.length` is a multiple of the element size; `name` is for messages only.
 * Throws WEIR_E_NON_FINITE when a finite float64 does not fit.
 */
export function widen(bytes: Uint8Array, dtype: ReadableDtype, name = "of the file"): Float32Array {
  if (dtype === "F64") return fromDoubles(bytes, name);
  if (dtype === "F32") {
    const aligned = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
    return new Float32Array(aligned.buffer, aligned.byteOffset, bytes.byteLength >> 2);
  }
  const words = words16(bytes);
  if (dtype === "BF16") {
    const bits = new Uint32Array(words.length);
    for (let i = 0; i < words.length; i += 1) bits[i] = words[i]! << 16;
    return new Float32Array(bits.buffer);
  }
  const table = halfToFloatTable();
  const values = new Float32Array(words.length);
  for (let i = 0; i < words.length; i += 1) values[i] = table[words[i]!]!;
  return values;
}

/**
 * Float32 values as little-endian stored bytes. `name` is for messages only.
 * Throws WEIR_E_NON_FINITE when a finite value does not fit float16.
 */
export function narrow(values: Float32Array, dtype: StoredDtype, name: string): Uint8Array {
  if (dtype === "F32") return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  const aligned = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const words = new Uint16Array(values.length);
  if (dtype === "BF16") {
    for (let i = 0; i < words.length; i += 1) words[i] = floatBitsToBfloat(aligned[i]!);
  } else {
    for (let i = 0; i < words.length; i += 1) {
      const half = floatBitsToHalf(aligned[i]!);
      if ((half & 0x7fff) === 0x7c00 && Number.isFinite(values[i]!))
        throw new WeirError(
          "WEIR_E_NON_FINITE",
          `Tensor ${name} holds ${values[i]}, which float16 cannot (limit 65504). Write bfloat16 or float32 instead.`,
          { tensor: name, value: values[i] },
        );
      words[i] = half;
    }
  }
  return new Uint8Array(words.buffer);
}
