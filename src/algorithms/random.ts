/**
 * Counter-based randomness (I12): a number depends on what it is for, never on how many were drawn before it.
 *
 * `counterKey` hashes (run seed, purpose, parts …) to a 32-bit key; `uniform(key, counter)` is the counter-th number of
 * that key's stream. Hash: MurmurHash3_x86_32 over a type-tagged encoding (Appleby, public domain). Stream: Philox-2x32-10
 * (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC'11), which passes BigCrush and has published vectors.
 * Both use 32-bit integer arithmetic only, so every platform gives the same bits.
 */
import { WeirError } from "../errors.js";

const TWO_32 = 4294967296;
const PHILOX_MULTIPLIER = 0xd256d193;
const PHILOX_WEYL = 0x9e3779b9;
const PHILOX_ROUNDS = 10;
/** Type tags keep 1 and "1", and ("ab","c") and ("a","bc"), apart. */
const TAG_NUMBER = 1;
const TAG_STRING = 2;

const encoder = new TextEncoder();

/** MurmurHash3_x86_32 of bytes with a 32-bit seed; returns uint32. */
export function murmur3(bytes: Uint8Array, seed: number): number {
  let hash = seed | 0;
  const blocks = bytes.length >>> 2;
  for (let block = 0; block < blocks; block++) {
    const at = block * 4;
    const word =
      (bytes[at] as number) |
      ((bytes[at + 1] as number) << 8) |
      ((bytes[at + 2] as number) << 16) |
      ((bytes[at + 3] as number) << 24);
    hash ^= scramble(word);
    hash = (hash << 13) | (hash >>> 19);
    hash = (Math.imul(hash, 5) + 0xe6546b64) | 0;
  }
  let tail = 0;
  for (let at = bytes.length - 1; at >= blocks * 4; at--) tail = (tail << 8) | (bytes[at] as number);
  if (bytes.length % 4 !== 0) hash ^= scramble(tail);
  hash ^= bytes.length;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

function scramble(word: number): number {
  const mixed = Math.imul(word, 0xcc9e2d51);
  return Math.imul((mixed << 15) | (mixed >>> 17), 0x1b873593);
}

/**
 * Key of a random stream: uint32 hash of (seed, purpose, parts), each tagged by type and strings by length.
 * Numbers must be finite (they are hashed as IEEE doubles, -0 as 0). Throws WEIR_E_SHAPE on NaN or infinities.
 */
export function counterKey(seed: number, purpose: string, ...parts: readonly (string | number)[]): number {
  const fields: readonly (string | number)[] = [seed, purpose, ...parts];
  const encoded = fields.map((field) => (typeof field === "string" ? encoder.encode(field) : null));
  let size = 0;
  for (const text of encoded) size += text === null ? 9 : 5 + text.length;
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  let at = 0;
  fields.forEach((field, index) => {
    const text = encoded[index];
    if (typeof field === "number") {
      if (!Number.isFinite(field)) {
        throw new WeirError("WEIR_E_SHAPE", `a random key needs finite numbers, got ${field} in field ${index}`);
      }
      view.setUint8(at, TAG_NUMBER);
      view.setFloat64(at + 1, field + 0, true);
      at += 9;
    } else if (text) {
      view.setUint8(at, TAG_STRING);
      view.setUint32(at + 1, text.length, true);
      bytes.set(text, at + 5);
      at += 5 + text.length;
    }
  });
  return murmur3(bytes, 0);
}

/** Philox-2x32-10: two uint32 from a 64-bit counter (low, high word) and a 32-bit key. */
export function philox2x32(low: number, high: number, key: number): readonly [number, number] {
  let left = low >>> 0;
  let right = high >>> 0;
  let roundKey = key >>> 0;
  for (let round = 0; round < PHILOX_ROUNDS; round++) {
    const product = Math.imul(PHILOX_MULTIPLIER, left) >>> 0;
    const carry = multiplyHigh(PHILOX_MULTIPLIER, left);
    left = (carry ^ roundKey ^ right) >>> 0;
    right = product;
    roundKey = (roundKey + PHILOX_WEYL) >>> 0;
  }
  return [left, right];
}

/** Upper 32 bits of the 64-bit product of two uint32. */
function multiplyHigh(a: number, b: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16);
  const cross = aLow * bHigh + (middle & 0xffff);
  return (aHigh * bHigh + Math.floor(middle / 65536) + Math.floor(cross / 65536)) >>> 0;
}

/** The counter-th uint32 of the stream `key`; counter in [0, 2^53). */
export function uint32(key: number, counter: number): number {
  return philox2x32(counter % TWO_32, Math.floor(counter / TWO_32), key)[0];
}

/** The counter-th number of the stream `key`: uniform in [0, 1) with 53 random bits; counter in [0, 2^53). */
export function uniform(key: number, counter: number): number {
  const [first, second] = philox2x32(counter % TWO_32, Math.floor(counter / TWO_32), key);
  return ((first >>> 5) * 67108864 + (second >>> 6)) / 9007199254740992;
}

/** The counter-th standard normal number of the stream `key` (Box-Muller over counters 2c and 2c+1). */
export function normal(key: number, counter: number): number {
  const radius = Math.sqrt(-2 * Math.log(1 - uniform(key, 2 * counter)));
  return radius * Math.cos(2 * Math.PI * uniform(key, 2 * counter + 1));
}

/** Integer in [0, n) from the counter-th number of the stream; n ≥ 1. */
export function below(n: number, key: number, counter: number): number {
  if (!Number.isInteger(n) || n < 1) {
    throw new WeirError("WEIR_E_SHAPE", `a random index needs an integer bound ≥ 1, got ${n}`);
  }
  return Math.floor(uniform(key, counter) * n);
}

/** A Fisher-Yates permutation of a copy of `items`; the same key and length give the same permutation. */
export function shuffled<T>(items: readonly T[], key: number): T[] {
  const result = items.slice();
  for (let last = result.length - 1; last > 0; last--) {
    const other = below(last + 1, key, last);
    [result[last], result[other]] = [result[other] as T, result[last] as T];
  }
  return result;
}

/** One item, uniformly; throws WEIR_E_SHAPE on an empty list. */
export function choice<T>(items: readonly T[], key: number, counter: number): T {
  return items[below(items.length, key, counter)] as T;
}
