/**
 * The key by which the paper mode compares QA answers: SQuAD's normalisation, with two corrections. Numbers keep
 * what their value depends on, so 15 is not 1.5, -5 is not 5 and 1/2 is not 12; and punctuation of every script is punctuation.
 */
import { squeezeSpaces } from "./text.js";

const DASHES = /[\u2010-\u2015\u2212\ufe58\ufe63]/g;
const GROUPED = /(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,]|\.\d*[.,]\d)/g;
/** Punctuation of any script, and the ASCII signs that string.punctuation of Python counts as such. */
const PUNCTUATION = /[\p{P}$+<=>^`|~]/gu;
const ARTICLES = /(?<![\p{L}\p{N}_])(?:a|an|the)(?![\p{L}\p{N}_])/gu;

/** True where the sign at `index` belongs to a number: between two digits, a leading decimal point, or a minus before one. */
function belongsToNumber(sign: string, before: string, after: string): boolean {
  const digitFollows = /^\d/.test(after);
  if (digitFollows && /\d$/.test(before)) return true;
  if (/[\p{L}\p{N}]$/u.test(before)) return false;
  if (sign === ".") return digitFollows;
  return sign === "-" && /^[$€£¥₹]?\.?\d/.test(after);
}

/** Lower case, punctuation dropped except the signs of numbers, thousands commas dropped, articles dropped, single spaces. */
function normalise(text: string): string {
  const plain = text
    .toLowerCase()
    .replace(DASHES, "-")
    .replace(GROUPED, (number) => number.replaceAll(",", ""));
  const bare = plain.replace(PUNCTUATION, (sign, index: number) =>
    belongsToNumber(sign, plain.slice(Math.max(0, index - 2), index), plain.slice(index + 1, index + 4)) ? sign : "",
  );
  return squeezeSpaces(bare.replace(/(?<!\d)\.(?=\d)/g, "0.").replace(ARTICLES, " "));
}

/**
 * The key of an answer: equal keys, equal answers. An answer that normalises to nothing ("A", "?") is compared by its
 * characters, so that it does not equal all others of that kind.
 */
export function qaKey(text: string): string {
  return normalise(text) || `=${squeezeSpaces(text.toLowerCase())}`;
}

/** "yes, both were French", "No — only one was": the word, where what follows neither denies nor repeats it. */
const CLOSED = /^["'“‘(\s]*(yes|no)["'”’)]*(?:\s*[,;—]|\s+[–-]\s|:\s+(?!\d))\s*(.*)$/isu;
const SECOND_THOUGHT =
  /(?:^|[^\p{L}])(?:yes|no|but|however|or|maybe|perhaps|sometimes|partly|partially|unclear|unknown|wait|actually)(?![\p{L}])/iu;

/** The yes or no that an answer begins with, null where there is none or the answer contradicts itself. */
export function closedAnswer(text: string): string | null {
  const [, word, rest] = CLOSED.exec(text) ?? [];
  return word === undefined || SECOND_THOUGHT.test(rest as string) ? null : word;
}
