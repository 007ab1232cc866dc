/**
 * Rewrites an expression so that Oniguruma 6.9.8, compiled to WebAssembly, matches what the Rust library's newer one does:
 * characters of Unicode 15 and 16 in `\p{…}`, `\w`, `\d` and `\b`, `\R` with quantifiers, signs in `[:punct:]`. Other
 * brackets such as `[:alpha:]`, and `\X`, know Unicode 14. Pure.
 */
import { type CodePoints, NEW_CHARACTERS } from "./unicode-versions.js";

const WORD_CATEGORIES = ["Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Pc"];
/** Characters of Unicode 15 and 16 by script, for the scripts that expressions of tokenizers name. */
const NEW_IN_SCRIPTS: Readonly<Record<string, CodePoints>> = {
  han: [
    [0x2b739, 0x2b739],
    [0x2ebf0, 0x2ee5d],
    [0x31350, 0x323af],
  ],
  latin: [
    [0xa7cb, 0xa7cd],
    [0xa7da, 0xa7dc],
    [0x1df25, 0x1df2a],
  ],
  cyrillic: [
    [0x1c89, 0x1c8a],
    [0x1e030, 0x1e06d],
    [0x1e08f, 0x1e08f],
  ],
};
const NEW_LINE = "(?>\\r\\n|[\\n-\\r\\x{85}\\x{2028}\\x{2029}])";

/** Ranges in the notation of Oniguruma's classes. */
function ranges(points: CodePoints): string {
  return points.map(([first, last]) => `\\x{${first.toString(16)}}-\\x{${last.toString(16)}}`).join("");
}

/** New characters of general categories: `L` stands for all that begin with it, `LC` for cased letters. */
function ofCategory(name: string): string {
  const chosen = (category: string) =>
    category.toLowerCase().startsWith(name) || (name === "lc" && /^L[ult]/.test(category));
  return Object.entries(NEW_CHARACTERS)
    .filter(([category]) => chosen(category))
    .map(([, points]) => ranges(points))
    .join("");
}

const ofWords = WORD_CATEGORIES.map((category) => ranges(NEW_CHARACTERS[category] ?? [])).join("");

/** New characters of a property by its name in lower case; empty for properties that gained none or are not followed. */
function newMembers(name: string): string {
  if (/^(l|m|n|p|s|z|c)[a-z]?$/.test(name)) return name.startsWith("c") ? "" : ofCategory(name);
  return name === "word" ? ofWords : ranges(NEW_IN_SCRIPTS[name] ?? []);
}

/** `\p{L}`, `\P{L}`, `\p{^L}`, `\w`, `\d` and their negations with the new characters, or null for anything else. */
function withNewMembers(part: string, inClass: boolean): string | null {
  const shorthand = /^\\([wWdD])$/.exec(part)?.[1];
  const property = /^\\([pP])\{(\^?)([A-Za-z]+)\}$/.exec(part);
  if (shorthand === undefined && property === null) return null;
  const [, letter, caret, name = ""] = property ?? [];
  const negated =
    shorthand === undefined ? (letter === "P") !== (caret === "^") : shorthand === shorthand.toUpperCase();
  const known = shorthand?.toLowerCase() ?? name.toLowerCase();
  const plain = shorthand === undefined ? (known === "word" ? "\\w" : `\\p{${name}}`) : `\\${known}`;
  const members = newMembers(known === "w" ? "word" : known === "d" ? "nd" : known);
  if (members === "" && known !== "word") return null;
  // Outside of classes Oniguruma counts ², ³, ¹ and vulgar fractions of Latin-1 among the words, inside it does not.
  if (plain === "\\w" && !inClass) return negated ? `(?:(?![${members}])\\W)` : WORD;
  if (negated) return `[^${plain}${members}]`;
  return inClass ? plain + members : `[${plain}${members}]`;
}

const PARTS = /\(\?#(?:[^)\\]|\\[\s\S])*\)|\\[pP]\{[^}]*\}|\\[\s\S]|\[:\^?[a-z]+:\]|\[\^?\]?|\]|\(|[^\\[\]()]+|\)/g;

/** A character of a word, outside of classes, and the two kinds of places between characters. */
const WORD = `(?:\\w|[${ofWords}])`;
const BOUNDARY = `(?:(?<!${WORD})(?=${WORD})|(?<=${WORD})(?!${WORD}))`;
const NO_BOUNDARY = `(?:(?<!${WORD})(?!${WORD})|(?<=${WORD})(?=${WORD}))`;

/** The rewritten expression. */
export function modernSource(source: string): string {
  let depth = 0;
  return source.replace(PARTS, (part) => {
    if (part === "[:punct:]") return `\\p{P}\\p{S}${newMembers("p")}${newMembers("s")}`;
    if (part === "[:^punct:]") return `[^\\p{P}\\p{S}${newMembers("p")}${newMembers("s")}]`;
    if (part.startsWith("[") && !part.startsWith("[:")) depth += 1;
    else if (part === "]") depth = Math.max(0, depth - 1);
    else if (depth === 0) {
      if (part === "\\R") return NEW_LINE;
      if (part === "\\b") return BOUNDARY;
      if (part === "\\B") return NO_BOUNDARY;
    }
    return withNewMembers(part, depth > 0) ?? part;
  });
}
