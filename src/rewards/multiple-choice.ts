/** The release's rule for multiple choice: the letter A–D of "The correct answer is (X)". */

const PARENTHESISED = /The correct answer is \(([A-D])\)/;
const BARE = /The correct answer is ([A-D])/;

/**
 * Every `*` deleted, then the first case-sensitive "The correct answer is (X)", else the first "The correct answer is X",
 * without a word boundary after X, as released. Null where neither occurs.
 */
export function parseChoice(text: string): string | null {
  const plain = text.replaceAll("*", "");
  return PARENTHESISED.exec(plain)?.[1] ?? BARE.exec(plain)?.[1] ?? null;
}
