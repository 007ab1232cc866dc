/** The names that a book of facts speaks of. */
import type { FactBook } from "./fact-book.js";
import type { ValueKind } from "./relations.js";

/** Every country, city and language name of a book, sorted, without repeats. */
export function bookNames(book: FactBook): string[] {
  const kinds: readonly ValueKind[] = ["city", "language"];
  const values = kinds.flatMap((kind) => book.values.get(kind) ?? []);
  return [...new Set([...book.countries.map((country) => country.name), ...values])].sort();
}
