/** How much of one text is found in another, by n-grams. Exact: no hashing. */

/** Words of a text in lower case: runs of letters and digits. */
export function wordsOf(text: string): string[] {
  return text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
}

/** The n-grams of a list, as text. */
function gramsOf(words: readonly string[], n: number): string[] {
  return words.slice(0, Math.max(0, words.length - n + 1)).map((_, at) => words.slice(at, at + n).join(" "));
}

/** Share of the n-grams of words of `sentences`, each taken by itself, that occur in `text`; null where they have none. */
export function quotedShare(sentences: readonly string[], text: string, n: number): number | null {
  const wanted = sentences.flatMap((sentence) => gramsOf(wordsOf(sentence), n));
  if (wanted.length === 0) return null;
  const found = new Set(gramsOf(wordsOf(text), n));
  return wanted.filter((gram) => found.has(gram)).length / wanted.length;
}

/**
 * For each response, which of its 3-grams of tokens occur in the source: 1 or 0 by the position at which they begin. [T − 2] each;
 * empty for fewer than three tokens. The source is read once for all of them.
 */
export function copiedTrigrams(responses: readonly (readonly number[])[], source: readonly number[]): number[][] {
  // Ids of the responses are few, so that three of them make one exact number.
  const places = new Map<number, number>();
  for (const ids of responses) for (const id of ids) if (!places.has(id)) places.set(id, places.size);
  const base = places.size;
  const sought = new Set<number>();
  const keysOf = (ids: readonly number[]) => {
    const keys: number[] = [];
    for (let t = 2; t < ids.length; t++) {
      const [a, b, c] = [ids[t - 2], ids[t - 1], ids[t]].map((id) => places.get(id as number) as number) as [
        number,
        number,
        number,
      ];
      keys.push((a * base + b) * base + c);
    }
    return keys;
  };
  const keys = responses.map(keysOf);
  for (const row of keys) for (const key of row) sought.add(key);
  const found = new Set<number>();
  let first: number | undefined;
  let second: number | undefined;
  for (const id of source) {
    const third = places.get(id);
    if (first !== undefined && second !== undefined && third !== undefined) {
      const key = (first * base + second) * base + third;
      if (sought.has(key)) found.add(key);
    }
    first = second;
    second = third;
  }
  return keys.map((row) => row.map((key) => (found.has(key) ? 1 : 0)));
}

/** Of one response, shares of its 3-grams of words. */
export interface CopiedShares {
  /** Those that occur in the evidence. */
  readonly evidence: number;
  /** Those that occur elsewhere in the document and not in the evidence; null where it is not known. */
  readonly distractors: number | null;
}

/**
 * How much of each response is copied from the evidence and how much from what surrounds it (GEAR, arXiv 2607.19345, overlap with
 * n = 3); null for a response of fewer than three words. 3-grams of the evidence stay within a sentence. `document`: texts that hold the
 * distractors, and perhaps the evidence too.
 */
export function copiedShares(
  responses: readonly string[],
  evidence: readonly string[],
  document: readonly string[] | null,
): (CopiedShares | null)[] {
  const ids = new Map<string, number>();
  const rows = responses.map((response) =>
    wordsOf(response).map((word) => {
      const known = ids.get(word) ?? ids.size;
      ids.set(word, known);
      return known;
    }),
  );
  /** Words that no response has are all -1, as are the borders between texts: no 3-gram holds one. */
  const sourceOf = (texts: readonly string[]) =>
    texts.flatMap((text) => [...wordsOf(text).map((word) => ids.get(word) ?? -1), -1]);
  const inEvidence = copiedTrigrams(rows, sourceOf(evidence));
  const inDocument = document === null ? null : copiedTrigrams(rows, sourceOf(document));
  return inEvidence.map((found, g) => {
    if (found.length === 0) return null;
    const elsewhere = inDocument?.[g]?.filter((copied, t) => copied === 1 && found[t] === 0);
    return {
      evidence: found.reduce((total, one) => total + one, 0) / found.length,
      distractors: elsewhere ? elsewhere.length / found.length : null,
    };
  });
}
