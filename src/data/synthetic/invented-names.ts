/**
 * Names of entities that do not exist, put together from pieces of real names ("Bra|zil" + "Tha|iland" → "Brailand"), so
 * that a policy learns every piece and reads unseen names as well as seen ones.
 */
import type { Draws } from "./draws.js";
import type { FactBook } from "./fact-book.js";
import type { ValueKind } from "./relations.js";

/** What names are put together from: pieces that begin a name, and pieces that go on. */
export interface NamePieces {
  readonly starts: readonly string[];
  readonly rests: readonly string[];
}

/** Share of invented names with two rests instead of one; about that of real names. */
const LONG_SHARE = 0.4;

/** The pieces of segmented names, without repeats, sorted. */
export function namePieces(segmented: readonly (readonly string[])[]): NamePieces {
  const starts = new Set(segmented.map((pieces) => pieces[0] as string));
  const rests = new Set(segmented.flatMap((pieces) => pieces.slice(1)));
  return { starts: [...starts].sort(), rests: [...rests].sort() };
}

/** Every country, city and language name of a book, sorted, without repeats. */
export function bookNames(book: FactBook): string[] {
  const kinds: readonly ValueKind[] = ["city", "language"];
  const values = kinds.flatMap((kind) => book.values.get(kind) ?? []);
  return [...new Set([...book.countries.map((country) => country.name), ...values])].sort();
}

/** An invented name of 3 to 10 letters that is not in `taken`. */
export function inventName(pieces: NamePieces, draws: Draws, taken: ReadonlySet<string>): string {
  for (;;) {
    const middle = draws.fraction() < LONG_SHARE ? draws.pick(pieces.rests) : "";
    const name = draws.pick(pieces.starts) + middle + draws.pick(pieces.rests);
    if (name.length >= 3 && name.length <= 10 && !taken.has(name)) return name;
  }
}
