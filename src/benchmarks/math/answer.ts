/**
 * A mathematical answer as what it says: words, a number or expression, a set, a tuple, an interval, or "x = …".
 * Invariant: a text that is none of these is `unread`, and two of those are compared by their signs only.
 */

import { type Expression, parseExpression } from "./expression.js";
import { braced, plainLatex, wordsOf } from "./latex.js";

export type MathAnswer =
  | { readonly kind: "words"; readonly text: string }
  | { readonly kind: "expression"; readonly expression: Expression }
  /** Several in any order (`set`) or in theirs (`tuple`, which an open interval is written as too); `ends` are the brackets of an interval. */
  | {
      readonly kind: "list";
      readonly form: "set" | "tuple" | "interval";
      readonly ends: string;
      readonly items: readonly MathAnswer[];
    }
  /** `name` = `right`. */
  | { readonly kind: "equation"; readonly name: string; readonly right: MathAnswer }
  | { readonly kind: "unread"; readonly text: string };

/** The longest answer that is read. */
const LONGEST = 1_000;
/** Brackets within brackets that are read: each takes several calls. */
const DEEPEST = 40;
/** Of a variable, to find out whether an expression has a real value. */
const SOME_VALUE = 0.7310585786;

export function readMath(latex: string): MathAnswer {
  const text = plainLatex(latex);
  const unread: MathAnswer = { kind: "unread", text: text.replace(/\s+/g, "") };
  if (text.length > LONGEST || nesting(text) > DEEPEST) return unread;
  const words = wordsOf(text);
  if (words !== null) return { kind: "words", text: words };
  return listOf(text) ?? equationOf(text) ?? expressionOf(text) ?? unread;
}

/** Most brackets that are open at a time. */
function nesting(text: string): number {
  let [depth, most] = [0, 0];
  for (const sign of text) {
    if ("([{".includes(sign)) most = Math.max(most, ++depth);
    if (")]}".includes(sign)) depth--;
  }
  return most;
}

function expressionOf(text: string): MathAnswer | null {
  const expression = parseExpression(text);
  // Without a real value there is nothing to compare.
  if (expression === null || Number.isNaN(expression.value(() => SOME_VALUE))) return null;
  return { kind: "expression", expression };
}

/** "x = 3", "f(x) = 2x": an equation whose left side is a name. */
function equationOf(text: string): MathAnswer | null {
  const [, name, right] = /^\s*(\\?[a-zA-Z]+(?:_\{?\w+\}?|\([a-z]\))?)\s*=([^=<>]+)$/.exec(text) ?? [];
  if (name === undefined || right === undefined) return null;
  const value = readMath(right);
  return value.kind === "unread" ? null : { kind: "equation", name, right: value };
}

function listOf(text: string): MathAnswer | null {
  const bare = text.replaceAll("\\{", "⦃").replaceAll("\\}", "⦄");
  const [, opening = "", inside = bare, closing = ""] = /^\s*([(⦃[])([\s\S]*)([)\]⦄])\s*$/.exec(bare) ?? [];
  const whole = opening !== "" && isOnePair(bare.trim());
  const parts = topLevel(whole ? inside : bare, ",");
  if (parts === null || (parts.length < 2 && opening !== "⦃")) return null;
  const items = parts.map((part) => readMath(part.replaceAll("⦃", "\\{").replaceAll("⦄", "\\}")));
  if (items.some(({ kind }) => kind === "unread")) return null;
  if (!whole || opening === "⦃") return { kind: "list", form: "set", ends: "", items };
  const interval = items.length === 2 && (opening === "[" || closing === "]");
  return { kind: "list", form: interval ? "interval" : "tuple", ends: opening + closing, items };
}

/** True where the first bracket is closed by the last sign. */
function isOnePair(text: string): boolean {
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    if ("([⦃{".includes(text[at] as string)) depth++;
    if (")]⦄}".includes(text[at] as string)) depth--;
    if (depth === 0) return at === text.length - 1;
  }
  return false;
}

/** The parts between separators that stand outside all brackets; null where brackets do not match. */
function topLevel(text: string, separator: string): string[] | null {
  const parts: string[] = [""];
  let depth = 0;
  for (const sign of text) {
    if ("([⦃{".includes(sign)) depth++;
    if (")]⦄}".includes(sign)) depth--;
    if (depth < 0) return null;
    if (sign === separator && depth === 0) parts.push("");
    else parts[parts.length - 1] += sign;
  }
  return depth === 0 ? parts : null;
}

/** Length of the end of a response in which an answer is looked for, as in GoLongRL. */
const TAIL = 500;
const NUMBER = "-?\\d{1,3}(?:,\\d{3})+(?:\\.\\d+)?|-?\\d*\\.?\\d+(?:/\\d+)?";
const LAST_MATH = /\$\$([^$]+)\$\$|\$([^$\n]+)\$|\\\[([\s\S]+?)\\\]|\\\(([\s\S]+?)\\\)/g;
const LAST_NUMBER = new RegExp(`(?:${NUMBER})(?:\\s*(?:%|percent))?`, "gi");

/**
 * The answer that a response gives: the last `\boxed{…}` of its last 500 characters; else what follows the last "answer", as mathematics or as a
 * number; else the last mathematics or number. Null where there is none.
 */
export function statedMath(response: string): string | null {
  const tail = response.slice(-TAIL);
  for (let at = tail.lastIndexOf("\\boxed{"); at >= 0; at = at === 0 ? -1 : tail.lastIndexOf("\\boxed{", at - 1)) {
    const inside = braced(tail, at + "\\boxed".length);
    if (inside !== null && inside.trim() !== "") return inside;
  }
  const phrase = /[\s\S]*answer([\s\S]*)$/i.exec(tail)?.[1];
  return (phrase === undefined ? null : firstMath(phrase)) ?? lastMath(tail);
}

function firstMath(text: string): string | null {
  const [math] = text.matchAll(LAST_MATH);
  const [number] = text.matchAll(LAST_NUMBER);
  if (math && (!number || math.index <= number.index)) return inner(math);
  return number?.[0] ?? null;
}

function lastMath(text: string): string | null {
  const [math, number] = [[...text.matchAll(LAST_MATH)].at(-1), [...text.matchAll(LAST_NUMBER)].at(-1)];
  if (math && (!number || math.index + math[0].length >= number.index)) return inner(math);
  return number?.[0] ?? null;
}

const inner = (match: RegExpMatchArray): string => match.slice(1).find((group) => group !== undefined) as string;
