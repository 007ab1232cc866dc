import { wordsOf } from "./overlap.js";

/**
 * How similar two texts are by the runs of words that they share, and signatures by which similar texts are found among many: MinHash
 * with one permutation (Li, Owen and Zhang, NeurIPS 2012), empty bins filled from the next full one (Shrivastava and Li, ICML 2014), and
 * banding (Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, 3.4).
 */

/** Words of a shingle: long enough that shared ones are no accident of the language. */
const SHINGLE_WORDS = 5;
const BINS = 128;
const BIN_BITS = 7;
/**
 * Bins of a band: texts of similarity s share one of the 32 bands with probability 1 − (1 − s⁴)³², which is 0.9999 for 0.7 and 0.05 for 0.2.
 */
const BAND_BINS = 4;
const FNV_BASIS = 0x811c9dc5;
const FNV_PRIME = 0x01000193;
/** Added per bin that a value was carried, so that equal values of different bins stay apart. */
const CARRIED = 0x9e3779b9;

const mixed = (hash: number): number => {
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
};

function hashOfWord(word: string): number {
  let hash = FNV_BASIS;
  for (let i = 0; i < word.length; i++) hash = Math.imul(hash ^ word.charCodeAt(i), FNV_PRIME);
  return hash;
}

/** 32-bit hashes of the text's runs of five words, growing, each once; of all its words where it has fewer; empty without words. */
export function shinglesOf(text: string): Uint32Array {
  const hashes = wordsOf(text).map(hashOfWord);
  if (hashes.length === 0) return new Uint32Array();
  const width = Math.min(SHINGLE_WORDS, hashes.length);
  const found = new Set<number>();
  for (let at = 0; at + width <= hashes.length; at++) {
    let hash = FNV_BASIS;
    for (let i = 0; i < width; i++) hash = Math.imul(hash ^ (hashes[at + i] as number), FNV_PRIME) + i;
    found.add(mixed(hash));
  }
  return Uint32Array.from(found).sort();
}

/** |A ∩ B| / |A ∪ B| of two growing lists without repetition; 0 where either is empty. */
export function jaccard(a: Uint32Array, b: Uint32Array): number {
  let [i, j, shared] = [0, 0, 0];
  while (i < a.length && j < b.length) {
    const [x, y] = [a[i] as number, b[j] as number];
    if (x === y) shared++;
    if (x <= y) i++;
    if (y <= x) j++;
  }
  const all = a.length + b.length - shared;
  return all === 0 ? 0 : shared / all;
}

/** Keys of the bands of some shingles; texts that share one are candidates. Empty without shingles. */
export function bandKeys(shingles: Uint32Array): string[] {
  if (shingles.length === 0) return [];
  const bins = new Array<number | null>(BINS).fill(null);
  for (const hash of shingles) {
    const bin = hash >>> (32 - BIN_BITS);
    const before = bins[bin] ?? null;
    // The order of the lower bits is independent of the bin.
    const value = mixed(hash);
    if (before === null || value < before) bins[bin] = value;
  }
  const filled = bins.map((_, bin) => {
    for (let step = 0; ; step++) {
      const value = bins[(bin + step) % BINS];
      if (value !== null && value !== undefined) return (value + Math.imul(CARRIED, step)) >>> 0;
    }
  });
  return Array.from(
    { length: BINS / BAND_BINS },
    (_, band) => `${band}:${filled.slice(band * BAND_BINS, (band + 1) * BAND_BINS).join(",")}`,
  );
}
