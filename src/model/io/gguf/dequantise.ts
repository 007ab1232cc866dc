/**
 * Turns ggml blocks into float32, by the formulas of ggml-quants.c. Results are the exact ones rounded once to float32
 * (products of the small factors are exact in float64), which is what the reference computes in float32.
 */
import { halfToFloatTable, widen } from "../dtype.js";
import { BLOCKS, type GgmlType } from "./ggml-types.js";

/** Reads one block at byte `at` and writes its elements from index `to` on. */
type BlockReader = (bytes: Uint8Array, at: number, out: Float32Array, to: number) => void;

const half = halfToFloatTable();

function halfAt(bytes: Uint8Array, at: number): number {
  return half[bytes[at]! | (bytes[at + 1]! << 8)]!;
}

function signed(byte: number): number {
  return (byte << 24) >> 24;
}

/** 4-bit blocks of 32: low nibbles are elements 0–15, high nibbles 16–31. value = scale · (q − zero) + minimum. */
function nibbles(zero: number, hasMinimum: boolean, hasFifthBits: boolean): BlockReader {
  return (bytes, at, out, to) => {
    const scale = halfAt(bytes, at);
    // Adding −0 changes nothing, the sign of zero included.
    const minimum = hasMinimum ? halfAt(bytes, at + 2) : -0;
    let next = at + (hasMinimum ? 4 : 2);
    let fifth = 0;
    if (hasFifthBits) {
      fifth = bytes[next]! | (bytes[next + 1]! << 8) | (bytes[next + 2]! << 16) | (bytes[next + 3]! << 24);
      next += 4;
    }
    for (let j = 0; j < 16; j += 1) {
      const byte = bytes[next + j]!;
      const low = (byte & 15) | (((fifth >>> j) & 1) << 4);
      const high = (byte >> 4) | (((fifth >>> (j + 16)) & 1) << 4);
      out[to + j] = scale * (low - zero) + minimum;
      out[to + j + 16] = scale * (high - zero) + minimum;
    }
  };
}

const q8: BlockReader = (bytes, at, out, to) => {
  const scale = halfAt(bytes, at);
  for (let j = 0; j < 32; j += 1) out[to + j] = scale * signed(bytes[at + 2 + j]!);
};

/** The j-th 6-bit scale and minimum of a K block, packed into 12 bytes. */
function scaleAndMinimum(bytes: Uint8Array, at: number, j: number): readonly [number, number] {
  if (j < 4) return [bytes[at + j]! & 63, bytes[at + j + 4]! & 63];
  return [
    (bytes[at + j + 4]! & 15) | ((bytes[at + j - 4]! >> 6) << 4),
    (bytes[at + j + 4]! >> 4) | ((bytes[at + j]! >> 6) << 4),
  ];
}

/** Super-blocks of 256 in 8 groups of 32: value = d · scale · q − dmin · minimum; Q5_K adds a fifth bit per element. */
function fourOrFiveBitK(hasFifthBits: boolean): BlockReader {
  return (bytes, at, out, to) => {
    const d = halfAt(bytes, at);
    const dMinimum = halfAt(bytes, at + 2);
    const fifths = at + 16;
    const quants = at + 16 + (hasFifthBits ? 32 : 0);
    for (let group = 0; group < 8; group += 1) {
      const [scale, minimum] = scaleAndMinimum(bytes, at + 4, group);
      const factor = d * scale;
      const offset = Math.fround(dMinimum * minimum);
      const first = quants + (group >> 1) * 32;
      const shift = (group & 1) * 4;
      for (let j = 0; j < 32; j += 1) {
        const fifth = hasFifthBits ? ((bytes[fifths + j]! >> group) & 1) << 4 : 0;
        out[to + group * 32 + j] = Math.fround(factor * (((bytes[first + j]! >> shift) & 15) | fifth)) - offset;
      }
    }
  };
}

/** Super-blocks of 256: two halves of 128; 4 low bits, 2 high bits, a signed 8-bit scale per 16. value = d · scale · (q − 32). */
const q6k: BlockReader = (bytes, at, out, to) => {
  const d = halfAt(bytes, at + 208);
  for (let part = 0; part < 2; part += 1) {
    const low = at + part * 64;
    const high = at + 128 + part * 32;
    const scales = at + 192 + part * 8;
    for (let quarter = 0; quarter < 4; quarter += 1) {
      const lowStart = low + (quarter & 1) * 32;
      const lowShift = (quarter >> 1) * 4;
      for (let j = 0; j < 32; j += 1) {
        const q = ((bytes[lowStart + j]! >> lowShift) & 15) | (((bytes[high + j]! >> (quarter * 2)) & 3) << 4);
        const scale = signed(bytes[scales + quarter * 2 + (j >> 4)]!);
        out[to + part * 128 + quarter * 32 + j] = d * scale * (q - 32);
      }
    }
  }
};

const READERS: Readonly<Record<Exclude<GgmlType, "F32" | "F16" | "BF16">, BlockReader>> = {
  Q4_0: nibbles(8, false, false),
  Q4_1: nibbles(0, true, false),
  Q5_0: nibbles(16, false, true),
  Q5_1: nibbles(0, true, true),
  Q8_0: q8,
  Q4_K: fourOrFiveBitK(false),
  Q5_K: fourOrFiveBitK(true),
  Q6_K: q6k,
};

/** Float32 values of whole blocks; `bytes.length` is a multiple of the type's block. */
export function dequantise(bytes: Uint8Array, type: GgmlType): Float32Array {
  if (type === "F32" || type === "F16" || type === "BF16") return widen(bytes, type);
  const { elements, bytes: blockBytes } = BLOCKS[type];
  const blocks = bytes.length / blockBytes;
  const out = new Float32Array(blocks * elements);
  const read = READERS[type];
  for (let block = 0; block < blocks; block += 1) read(bytes, block * blockBytes, out, block * elements);
  return out;
}
