const FNV_OFFSET = 0x811c9dc5;
const FNV_PRIME = 0x01000193;

/**
 * One seed for a request that draws a sequence for each key: FNV-1a over the keys' bytes, in [0, 2^32). The servers count on from a
 * request's seed for its sequences, so that the keys themselves would repeat each other's draws.
 */
export function requestSeed(keys: readonly number[]): number {
  let hash = FNV_OFFSET;
  for (const key of keys)
    for (const shift of [0, 8, 16, 24]) hash = Math.imul(hash ^ ((key >>> shift) & 0xff), FNV_PRIME);
  return hash >>> 0;
}
