/**
 * The paper mode's definition of "the answer", for every family (docs/answers.md): what follows the last
 * "the … answer is" or "the … answer:", up to the text that ends a turn; and how far that answer reaches, since a
 * statement may be followed by an explanation.
 * Invariant: text is left out only where what follows explains the answer; never where it adds, denies or corrects one.
 */
import { plainText } from "./plain-text.js";

const KINDS = "final|correct|right|best|overall|short|actual|exact|true|proper|complete|numerical|numeric|only|single";
const ABOUT =
  "\\s{1,20}(?:to|for)\\s{1,20}(?:the|this|that|your|our)\\s{1,20}(?:[a-z]{1,20}\\s{1,20})?(?:question|problem|query|task)";
/**
 * "the (final, correct …) answer (choice) (to the question) is", with or without a colon; or a colon or "=" alone. At the
 * beginning of a line also "(Final, Correct …) answer:".
 */
const STATEMENT = new RegExp(
  `(?<![\\p{L}\\p{N}_])(?:the|my|our)\\s{1,20}(?:(?:${KINDS})\\s{1,20}){0,3}answer` +
    `(?:\\s{1,20}(?:choice|option|letter))?(?:${ABOUT})?(?:\\s{0,20}[:=]|\\s{1,20}is(?![\\p{L}'’_]))` +
    `|(?<=^[#>\\s]{0,20})(?:(?:${KINDS})\\s{1,20}){0,3}answer\\s{0,20}:`,
  "gimu",
);
/** "the answer is based on …", "… is correct": a remark on an answer that was stated before. */
const REMARK =
  /^\s(?:(?:based|derived|supported|found|obtained|calculated|computed|confirmed|given|stated|shown|mentioned)\s(?:on|from|by|in|at|as|above|below)|(?:therefore\s|thus\s|also\s)?(?:correct|right|clear|unique|consistent)(?![\p{L}]))/u;
/** Texts that end or open a turn: <|im_end|> and its like (full-width bars are plain by then), </s>, <end_of_turn>, [|endofturn|] … */
const TURN =
  "<\\|[^<>|]{1,64}\\|>|\\[\\|[^\\[\\]|]{1,64}\\|\\]|</s>|\\[/?INST\\]|\\[(?:EOS|SEP|PAD)\\]|" +
  "<(?:eos|eot|eod|eop|eoa|eom|pad|bos|sep|endoftext|turn_end|(?:end|start)_of_[a-z]{1,20}|(?:extra_id|reserved|special)_\\d{1,6})>";
const LEADING_TURNS = new RegExp(`^(?:\\s|${TURN})+`, "i");
const FIRST_TURN = new RegExp(TURN, "i");

/**
 * What follows the last statement of a response or gold sentence, as plain text; null without a statement; may be "". A
 * remark ("the answer is based on …") counts only where nothing else is stated.
 */
export function lastStatement(text: string): string | null {
  const plain = plainText(text);
  let end = -1;
  for (const match of plain.matchAll(STATEMENT)) {
    const after = match.index + match[0].length;
    if (end < 0 || !REMARK.test(plain.slice(after, after + 40))) end = after;
  }
  if (end < 0) return null;
  const rest = plain
    .slice(end)
    .replace(/^[\s:]+/, "")
    .replace(LEADING_TURNS, "");
  const turn = FIRST_TURN.exec(rest);
  return (turn ? rest.slice(0, turn.index) : rest).replace(/^[\s:]+/, "").trimEnd();
}

/** Openings of a text that retracts an answer or adds another. "No other city fits" does not. */
const RETRACTION =
  /^["'“‘(\s]*(?:no(?=[,.:;!?–—-]|\s*$|\s+wait)|nope|wait|actually|hm+|correction|sorry|oops|or|and|nor|but|also|alternatively|rather|instead|scratch|maybe|perhaps|possibly|unless)(?![\p{L}\p{N}])/iu;
/** A list, its heading, or a further item. */
const LIST = /^\s*(?:[-•‣▪*+–—]\s|\(?\d{1,3}[.)]\s|[,;/&|])/;

/** True where `continuation`, the text after an answer, retracts the answer or adds another. */
export function retracts(continuation: string): boolean {
  return RETRACTION.test(continuation);
}

function words(text: string): number {
  return text.split(/\s+/, 5).filter(Boolean).length;
}

/** True where a text holds more than dots. */
function says(text: string): boolean {
  return /[^\s.。…]/.test(text);
}

/** True where `continuation` can only be a remark on the answer before it: a sentence, no list and no retraction. */
function explains(continuation: string): boolean {
  if (retracts(continuation) || LIST.test(continuation)) return false;
  const count = words(continuation);
  return count >= 4 || (count >= 2 && /[.!?:]/.test(continuation));
}

/** Words that end in a dot without ending a sentence; initials and abbreviations with inner dots are found by shape. */
const TITLES = new Set(
  "st mr mrs ms dr prof mt ft gen col lt capt sgt rev hon gov sen rep pres vs vol fig eq approx ca cf art sec".split(
    " ",
  ),
);
const SUFFIXES = new Set("inc ltd co corp jr sr bros etc llc plc dept univ".split(" "));
/** Openings that mark a new sentence even after an abbreviation. */
const SENTENCE_WORD = /^(?:This|That|It|He|She|They|These|Those|According|Based|Because|Since|As|Here|We|I)\b/;
const SENTENCE_END = /([.!?。！？]["'”’»)\]]*)(\s+)(?=["“'‘«([#]?[\p{Lu}\p{Lo}])/gu;

/** True where the dot after `before` belongs to an abbreviation, given what follows it. */
function isAbbreviation(before: string, after: string): boolean {
  const word = /[\p{L}.]+$/u.exec(before.slice(-30))?.[0].toLowerCase() ?? "";
  if (TITLES.has(word)) return true;
  const short = SUFFIXES.has(word) || /^\p{L}$/u.test(word) || word.includes(".");
  return short && !SENTENCE_WORD.test(after);
}

/** Where the first sentence of a line ends, if an explanation follows; null otherwise. */
function firstSentence(line: string): string | null {
  for (const match of line.matchAll(SENTENCE_END)) {
    const before = line.slice(0, match.index);
    const after = line.slice(match.index + match[0].length);
    if (match[1]?.startsWith(".") && isAbbreviation(before, after)) continue;
    return says(before) && explains(after) ? before : null;
  }
  return null;
}

/** What a reason may refer to: the document, in general words. */
const PLACE =
  "(?:the |this |that |these )?(?:given |provided |above |first |second |third |last )?(?:paragraph|passage|table|section|document|text|page|line|row|figure|source|article|information|context|report|data|statement)s?\\b";
/**
 * Where a reason begins inside a sentence. Some openings need a comma, a dash or a bracket before them, or a word for the document
 * after them: "since 1990", "the Gospel according to Luke" and "as well as" do not begin a reason.
 */
const REASONS = [
  /\s*[,;:–—-]?\s+because\b/iu,
  /\s*[,;(–—-]\s*(?:since\s+(?!\d)|as\s+(?!(?:well|much|many)\b)|which\s|who\s|given\s)/iu,
  /\s*[,;(–—-]\s*(?:see\b|based\s+on|according\s+to|due\s+to|derived\s+from)/iu,
  new RegExp(
    `\\s*(?:based on|according to|derived from|as (?:stated|shown|described|mentioned|indicated|reported|given)(?: in)?)\\s${PLACE}`,
    "iu",
  ),
  new RegExp(`\\s*[(\\[](?:from |source:? |in |per |cf\\. )?${PLACE}`, "iu"),
  /\s*[,;(–—-]?\s*\b(?:(?:calculated|computed|obtained)\s+(?:as|by|from)|rounded\s+to)\b/iu,
];

/** The text before its first reason; null where there is none. */
function withoutReason(text: string): string | null {
  const starts = REASONS.map((reason) => text.search(reason)).filter((start) => start > 0);
  if (starts.length === 0) return null;
  const bare = text.slice(0, Math.min(...starts)).trim();
  return says(bare) ? bare : null;
}

export interface Readings {
  /** The statement without further paragraphs and sentences that explain it. */
  readonly stated: string;
  /** All readings, the whole statement first, the shortest last: that is `stated` without its reason ("…, because …"). */
  readonly all: readonly string[];
}

/** How far the answer of a statement may reach. */
export function readingsOf(statement: string): Readings {
  const all = [statement];
  const first = firstParagraph(statement);
  if (first !== null) all.push(first);
  const sentence = firstSentence(first ?? statement);
  if (sentence !== null) all.push(sentence);
  const stated = all.at(-1) as string;
  const bare = withoutReason(stated);
  return { stated, all: bare === null ? all : [...all, bare] };
}

/** The first line, if it stands apart from the next one and that explains it; null otherwise. */
function firstParagraph(statement: string): string | null {
  const end = statement.indexOf("\n");
  if (end < 0) return null;
  const line = statement.slice(0, end).trimEnd();
  const after = statement.slice(end);
  const apart = /^\n *\n/.test(after) || /[.!?。"'”’)\]]$/.test(line);
  return apart && says(line) && explains(after.trim()) ? line : null;
}
