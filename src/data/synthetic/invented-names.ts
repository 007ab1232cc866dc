/**
 * Names of entities that do not exist, spelled like real train names (a letter chain: each letter follows the one or two
 * before it as in some real name), so that a policy meets every kind of spelling without meeting the held-out names.
 */
import type { Draws } from "./draws.js";
import type { FactBook } from "./fact-book.js";
import type { ValueKind } from "./relations.js";

/** A letter looks back one letter instead of two this often: more variety, still mostly pronounceable. */
const SHORT_MEMORY_SHARE = 0.4;
/** Marks the start and the end of a name in the letter chain. */
const EDGE = ".";

/** What letters follow what: keys are the last one or two letters, values every continuation seen (with repeats). */
export type Spelling = ReadonlyMap<string, readonly string[]>;

/** The spelling of all plain country, city and language names of a book. */
export function spellingOf(book: FactBook): Spelling {
  const spelling = new Map<string, string[]>();
  for (const name of bookNames(book)) {
    const letters = `${EDGE}${name}${EDGE}`;
    for (let at = 1; at < letters.length; at++) {
      for (const memory of [1, 2]) {
        if (at < memory) continue;
        const key = letters.slice(at - memory, at);
        spelling.set(key, [...(spelling.get(key) ?? []), letters.charAt(at)]);
      }
    }
  }
  return spelling;
}

/** Every country, city and language name of a book, sorted, without repeats. */
export function bookNames(book: FactBook): string[] {
  const kinds: readonly ValueKind[] = ["city", "language"];
  const values = kinds.flatMap((kind) => book.values.get(kind) ?? []);
  return [...new Set([...book.countries.map((country) => country.name), ...values])].sort();
}

/** An invented name of 3 to 8 letters that is not in `taken`. */
export function inventName(spelling: Spelling, draws: Draws, taken: ReadonlySet<string>): string {
  for (;;) {
    let name = "";
    while (name.length <= 8) {
      const known = `${EDGE}${name}`;
      const memory = draws.fraction() < SHORT_MEMORY_SHARE ? 1 : 2;
      const next = draws.pick(spelling.get(known.slice(-memory)) ?? [EDGE]);
      if (next === EDGE) break;
      name += next;
    }
    if (name.length >= 3 && name.length <= 8 && /[aeiouy]/.test(name) && !taken.has(name)) return name;
  }
}
