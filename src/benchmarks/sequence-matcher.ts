/**
 * The similarity of two texts as Python's `difflib.SequenceMatcher(None, a, b).ratio()` gives it, which MRCR scores by: 2·M / T, with M the
 * characters of the matching blocks and T those of both texts. Characters are code points.
 *
 * A block is the longest stretch that both texts share, the earliest in `a` and then in `b`; the texts before and after it are searched alike.
 * In a `b` of 200 characters or more, characters that make up more than 1 % of it start no block (difflib's `autojunk`); they only extend one.
 */

/** Shortest `b` in which frequent characters are left out. */
const AUTOJUNK_LENGTH = 200;

/** In [0, 1]; 1 for two empty texts. */
export function sequenceRatio(a: string, b: string): number {
  const [first, second] = [codePoints(a), codePoints(b)];
  const total = first.length + second.length;
  return total === 0 ? 1 : (2 * matched(first, second)) / total;
}

function codePoints(text: string): readonly number[] {
  return Array.from(text, (character) => character.codePointAt(0) as number);
}

/** Number of elements in the matching blocks. */
function matched(a: readonly number[], b: readonly number[]): number {
  const places = placesOf(b);
  let total = 0;
  const open: [number, number, number, number][] = [[0, a.length, 0, b.length]];
  for (let range = open.pop(); range !== undefined; range = open.pop()) {
    const [aStart, aEnd, bStart, bEnd] = range;
    const block = longestBlock(a, b, places, range);
    if (block.size === 0) continue;
    total += block.size;
    open.push([aStart, block.a, bStart, block.b], [block.a + block.size, aEnd, block.b + block.size, bEnd]);
  }
  return total;
}

/** Where each element of `b` stands, in order, without those that are too frequent. */
function placesOf(b: readonly number[]): ReadonlyMap<number, readonly number[]> {
  const places = new Map<number, number[]>();
  for (const [index, element] of b.entries()) {
    const known = places.get(element);
    if (known) known.push(index);
    else places.set(element, [index]);
  }
  if (b.length < AUTOJUNK_LENGTH) return places;
  const most = Math.floor(b.length / 100) + 1;
  for (const [element, indices] of places) if (indices.length > most) places.delete(element);
  return places;
}

interface Block {
  readonly a: number;
  readonly b: number;
  readonly size: number;
}

function longestBlock(
  a: readonly number[],
  b: readonly number[],
  places: ReadonlyMap<number, readonly number[]>,
  [aStart, aEnd, bStart, bEnd]: readonly [number, number, number, number],
): Block {
  let best: Block = { a: aStart, b: bStart, size: 0 };
  // Length of the match that ends at each place of b, for the present and the previous place of a.
  let before = new Map<number, number>();
  for (let i = aStart; i < aEnd; i++) {
    const now = new Map<number, number>();
    for (const j of places.get(a[i] as number) ?? []) {
      if (j < bStart) continue;
      if (j >= bEnd) break;
      const size = (before.get(j - 1) ?? 0) + 1;
      now.set(j, size);
      if (size > best.size) best = { a: i - size + 1, b: j - size + 1, size };
    }
    before = now;
  }
  return extended(a, b, best, [aStart, aEnd, bStart, bEnd]);
}

/** The block with the equal elements on both its sides, which may be frequent ones. */
function extended(
  a: readonly number[],
  b: readonly number[],
  block: Block,
  [aStart, aEnd, bStart, bEnd]: readonly [number, number, number, number],
): Block {
  let { a: i, b: j, size } = block;
  while (i > aStart && j > bStart && a[i - 1] === b[j - 1]) {
    i--;
    j--;
    size++;
  }
  while (i + size < aEnd && j + size < bEnd && a[i + size] === b[j + size]) size++;
  return { a: i, b: j, size };
}
