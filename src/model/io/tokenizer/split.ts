/**
 * Cuts text as the Rust library's `NormalizedString::split` does: a finder tells matches, a behaviour says where they go.
 * Pure.
 */
import { isRecord } from "../json.js";
import { unsupportedSetting } from "./fault.js";
import { Expression, type Range } from "./oniguruma.js";

/** Non-overlapping matches in a text, from left to right. */
export type Finder = (text: string) => Iterable<Range>;

/** Where the matches of a splitter go. */
const BEHAVIOURS = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"] as const;
export type Behaviour = (typeof BEHAVIOURS)[number];

interface Span {
  readonly start: number;
  end: number;
  readonly match: boolean;
}

/** Every match and every gap between matches, in order; they cover the text. */
function spansOf(text: string, finder: Finder, invert: boolean): Span[] {
  if (text === "") return [{ start: 0, end: 0, match: invert }];
  const spans: Span[] = [];
  let end = 0;
  for (const [from, to] of finder(text)) {
    if (from > end) spans.push({ start: end, end: from, match: invert });
    spans.push({ start: from, end: to, match: !invert });
    end = to;
  }
  if (end < text.length) spans.push({ start: end, end: text.length, match: invert });
  return spans;
}

/** Joins neighbours: `joins` tells whether a span extends the one before it. */
function joined(spans: readonly Span[], joins: (span: Span, previousMatch: boolean) => boolean): Range[] {
  const result: { start: number; end: number }[] = [];
  let previousMatch = false;
  for (const span of spans) {
    const last = result.at(-1);
    if (last !== undefined && joins(span, previousMatch)) last.end = span.end;
    else result.push({ start: span.start, end: span.end });
    previousMatch = span.match;
  }
  return result.map(({ start, end }) => [start, end]);
}

function joinedWithNext(spans: readonly Span[]): Range[] {
  const result: { start: number; end: number }[] = [];
  let previousMatch = false;
  for (const span of spans.toReversed()) {
    const last = result.at(-1);
    if (last !== undefined && span.match && !previousMatch) last.start = span.start;
    else result.push({ start: span.start, end: span.end });
    previousMatch = span.match;
  }
  return result.reverse().map(({ start, end }) => [start, end]);
}

export interface Splitter {
  readonly finder: Finder;
  readonly behaviour: Behaviour;
  /** True: what lies between the matches is the match. */
  readonly invert?: boolean;
}

/** Ranges of the pieces, in order; empty pieces are left out. */
export function split(text: string, { finder, behaviour, invert = false }: Splitter): Range[] {
  const spans = spansOf(text, finder, invert);
  const pieces = (): Range[] => {
    switch (behaviour) {
      case "Isolated":
        return spans.map(({ start, end }) => [start, end]);
      case "Removed":
        return spans.filter(({ match }) => !match).map(({ start, end }) => [start, end]);
      case "Contiguous":
        return joined(spans, (span, previousMatch) => span.match === previousMatch);
      case "MergedWithPrevious":
        return joined(spans, (span, previousMatch) => span.match && !previousMatch);
      case "MergedWithNext":
        return joinedWithNext(spans);
    }
  };
  return pieces().filter(([start, end]) => end > start);
}

/** Reads a behaviour. Throws WEIR_E_TOKENIZER for a name that the Rust library does not have. */
export function readBehaviour(setting: string, value: unknown): Behaviour {
  const found = BEHAVIOURS.find((name) => name === value);
  if (found === undefined) throw unsupportedSetting(`${setting}.behavior`, value, BEHAVIOURS.join(", "));
  return found;
}

/** Finds a fixed text, which must not be empty. */
export function textFinder(wanted: string): Finder {
  return (text) => {
    const found: Range[] = [];
    for (let at = text.indexOf(wanted); at >= 0; at = text.indexOf(wanted, at + wanted.length))
      found.push([at, at + wanted.length]);
    return found;
  };
}

/** Finds what an expression of JavaScript matches. It must have the flags `gu` and never match nothing. */
export function matchFinder(expression: RegExp): Finder {
  return (text) => Array.from(text.matchAll(expression), ({ 0: found, index }): Range => [index, index + found.length]);
}

export function expressionFinder(setting: string, source: string): Finder {
  let expression: Expression;
  try {
    expression = new Expression(source);
  } catch (error) {
    throw unsupportedSetting(setting, source, "expressions of Oniguruma", error);
  }
  return (text) => expression.matches(text);
}

/** Reads `{"String": …}` or `{"Regex": …}`. Throws WEIR_E_TOKENIZER for anything else. */
export function readPattern(setting: string, pattern: unknown): Finder {
  if (isRecord(pattern)) {
    // The Rust library makes an expression of the text, so an empty one matches between all characters.
    if (pattern.String === "") return expressionFinder(setting, "");
    if (typeof pattern.String === "string") return textFinder(pattern.String);
    if (typeof pattern.Regex === "string") return expressionFinder(`${setting}.pattern.Regex`, pattern.Regex);
  }
  throw unsupportedSetting(`${setting}.pattern`, pattern ?? null, '{"String": text} and {"Regex": expression}');
}

/** The text with every match replaced by `content`, taken literally. */
export function replaceMatches(text: string, finder: Finder, content: string): string {
  let result = "";
  let end = 0;
  for (const [from, to] of text === "" ? [] : finder(text)) {
    result += text.slice(end, from) + content;
    end = to;
  }
  return result + text.slice(end);
}
