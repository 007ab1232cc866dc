import { BEHAVIOURS, type Behaviour, type BehaviourCounts, type BehaviourSpan } from "../contracts/behaviour.js";
import { CUES } from "./behaviour-cues.js";

/**
 * Finds behaviours in a response by its words (docs/behaviours.md). An instance is a sentence with a cue of the behaviour; one sentence may
 * be an instance of several. Deterministic, without state, linear in the text.
 */

const PATTERNS: readonly (readonly [Behaviour, RegExp])[] = BEHAVIOURS.map((behaviour) => [
  behaviour,
  new RegExp(CUES[behaviour].map(({ pattern }) => `(?:${pattern})`).join("|"), "gim"),
]);

/** Where a sentence ends: at a line end, or behind its punctuation. Dots of numbers and names such as 4.2 and J.K. end none. */
const SENTENCE_END = /\n|[。！？]|[.?!](?=["'”’)\]]{0,3}(?:\s|$))/g;

/** Where the sentences of a text end, growing. */
function sentenceEnds(text: string): number[] {
  const ends: number[] = [];
  for (const { index } of text.matchAll(SENTENCE_END)) ends.push(index + 1);
  return ends;
}

/** First character of a cue: patterns may begin with the punctuation before it. */
const LEADING = /^[\s.?!,;…]+/;

/**
 * The first cue of each sentence and behaviour, in the order of the text, in characters (UTF-16 code units) of it. Cues of different
 * behaviours may overlap.
 */
export function behaviourSpans(text: string): BehaviourSpan[] {
  const spans: BehaviourSpan[] = [];
  const ends = sentenceEnds(text);
  for (const [behaviour, pattern] of PATTERNS) {
    let sentence = 0;
    let last = -1;
    for (const match of text.matchAll(pattern)) {
      const start = match.index + (LEADING.exec(match[0])?.[0].length ?? 0);
      while (start >= (ends[sentence] ?? Number.POSITIVE_INFINITY)) sentence++;
      if (sentence === last) continue;
      last = sentence;
      spans.push({ behaviour, start, end: match.index + match[0].length });
    }
  }
  return spans.sort((a, b) => a.start - b.start || BEHAVIOURS.indexOf(a.behaviour) - BEHAVIOURS.indexOf(b.behaviour));
}

/** How many spans of each behaviour there are. */
export function countBehaviours(spans: readonly Pick<BehaviourSpan, "behaviour">[]): BehaviourCounts {
  const counts = Object.fromEntries(BEHAVIOURS.map((behaviour) => [behaviour, 0])) as Record<Behaviour, number>;
  for (const { behaviour } of spans) counts[behaviour]++;
  return counts;
}

/** Characters that a token may stand away from where the one before it ends: what a partial character of several tokens takes. */
const MOST_SKIPPED = 4;

/**
 * The token at which each of `pieces` begins, characters of `text`. The pieces are its tokens as they are shown: one that is part of
 * a character, or has a space that the text lacks, does not occur in it as it is.
 */
function tokenStarts(text: string, pieces: readonly string[]): number[] {
  let position = 0;
  return pieces.map((piece) => {
    for (const shown of piece.startsWith(" ") ? [piece, piece.slice(1)] : [piece]) {
      if (shown === "") continue;
      for (let skipped = 0; skipped <= MOST_SKIPPED; skipped++) {
        if (!text.startsWith(shown, position + skipped)) continue;
        const start = position + skipped;
        position = start + shown.length;
        return start;
      }
    }
    return position;
  });
}

/** Spans of characters of `text` as spans of its tokens: those that hold a character of it. [T] pieces. */
export function spansOfTokens(
  spans: readonly BehaviourSpan[],
  text: string,
  pieces: readonly string[],
): BehaviourSpan[] {
  if (spans.length === 0) return [];
  const starts = tokenStarts(text, pieces);
  return spans.flatMap(({ behaviour, start, end }) => {
    // The last token that begins at or before the span, and the first that begins behind it.
    const first = Math.max(0, lowerBound(starts, start + 1) - 1);
    const last = lowerBound(starts, end);
    return last > first ? [{ behaviour, start: first, end: last }] : [];
  });
}

/** The first place of a growing list that is at least `wanted`. */
function lowerBound(growing: readonly number[], wanted: number): number {
  let [low, high] = [0, growing.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((growing[middle] as number) < wanted) low = middle + 1;
    else high = middle;
  }
  return low;
}
