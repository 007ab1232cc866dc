/** The release's rule for free-text answers (QA): parsing, normalisation, exact, substring and F1 matches. */
import { squeezeSpaces, strip, stripCharacters } from "./text.js";

const ANSWER_PHRASE = "the answer is";
/** Special tokens of the release's base models that may trail an answer. */
const SPECIAL_TEXTS = ["<｜Assistant｜>", "<｜end▁of▁sentence｜>"] as const;
/** string.punctuation of Python: the 32 ASCII punctuation characters. */
const ASCII_PUNCTUATION = /[!-/:-@[-`{-~]/g;
/** Articles as whole words; the look-arounds are Python's Unicode \b. */
const ARTICLES = /(?<![\p{L}\p{N}_])(?:a|an|the)(?![\p{L}\p{N}_])/gu;

/**
 * The answer of a response part: every `*` deleted, then what follows the last case-sensitive "the answer is", without
 * special-token texts, then without white space, dots and white space at the ends, in this order as released. Null where the
 * phrase is missing; may be the empty string.
 */
export function parseQaAnswer(text: string): string | null {
  const plain = text.replaceAll("*", "");
  const phrase = plain.lastIndexOf(ANSWER_PHRASE);
  if (phrase < 0) return null;
  let answer = strip(plain.slice(phrase + ANSWER_PHRASE.length));
  for (const special of SPECIAL_TEXTS) answer = answer.replaceAll(special, "");
  return strip(stripCharacters(strip(answer), "."));
}

/** SQuAD normalisation: lower case, no ASCII punctuation, no articles, single spaces. */
export function normaliseAnswer(text: string): string {
  return squeezeSpaces(text.toLowerCase().replace(ASCII_PUNCTUATION, "").replace(ARTICLES, " "));
}

/** Eq. 12: equal after normalisation. */
export function exactMatch(prediction: string, gold: string): boolean {
  return normaliseAnswer(prediction) === normaliseAnswer(gold);
}

/** The release's rule: either normalised string contains the other (the empty string is contained in all). */
export function substringMatch(prediction: string, gold: string): boolean {
  const p = normaliseAnswer(prediction);
  const g = normaliseAnswer(gold);
  return p.includes(g) || g.includes(p);
}

/** Closed answers that earn no partial credit. */
const CLOSED = new Set(["yes", "no", "noanswer"]);

/** Token F1 after normalisation; 0 where one side is yes/no/noanswer and the other differs. */
export function tokenF1(prediction: string, gold: string): number {
  const p = normaliseAnswer(prediction);
  const g = normaliseAnswer(gold);
  if (p !== g && (CLOSED.has(p) || CLOSED.has(g))) return 0;
  return wordF1(p, g);
}

/** LongBench's qa_f1_score: token F1 after normalisation, whatever the answers are. */
export function overlapF1(prediction: string, gold: string): number {
  return wordF1(normaliseAnswer(prediction), normaliseAnswer(gold));
}

/** F1 of the words of two normalised texts, each word as often as it occurs; 0 where they share none. */
function wordF1(p: string, g: string): number {
  const predicted = p.split(" ").filter(Boolean);
  const wanted = g.split(" ").filter(Boolean);
  const left = new Map<string, number>();
  for (const word of wanted) left.set(word, (left.get(word) ?? 0) + 1);
  let common = 0;
  for (const word of predicted) {
    const count = left.get(word) ?? 0;
    if (count > 0) {
      common++;
      left.set(word, count - 1);
    }
  }
  if (common === 0) return 0;
  const precision = common / predicted.length;
  const recall = common / wanted.length;
  return (2 * precision * recall) / (precision + recall);
}
