/**
 * The release's rule for numeric answers (DocMath): parsing the number of a response, reading it as a Python literal
 * (whatever is none is 0), and the release's notion of equality.
 */
import { log10 } from "./log10.js";

/** "the answer is ", optional symbols in this order, optional minus, then digits, dots and commas. */
const ANSWER = /the answer is (=?≈?`?%?\$?°?£?€?¥?-?[0-9.,]+)/i;

/**
 * The first number after a case-insensitive "the answer is ", `*`, commas and trailing dots removed; symbols stay.
 * `evaluation` also deletes parentheses first, as the release's evaluation does. Null without a match; "" for dots alone.
 */
export function parseNumericAnswer(text: string, evaluation = false): string | null {
  let plain = text.replaceAll("*", "");
  if (evaluation) plain = plain.replace(/[()]/g, "");
  const match = ANSWER.exec(plain)?.[1];
  return match === undefined ? null : match.replaceAll(",", "").replace(/\.+$/, "");
}

const SYMBOLS = /[=≈`%$°£€¥]/g;

/** A Python int or float literal, minus allowed; an int must not begin with 0 unless it is all zeros. */
const PYTHON_LITERAL = /^-?(?:0+|[1-9]\d*|\d+\.\d*|\.\d+)$/;
/** One or two characters that are neither sign nor digit before a number are taken for a unit and dropped. */
const LEADING_UNIT = /^[^-+\d]{1,2}(\d*\.*\d+)$/;

/**
 * The release's value of a parsed answer: symbols removed, a "unit" of one or two leading characters dropped (a bare leading
 * dot counts as one, so ".125" is 125), then read as a Python literal; anything else is 0 ("007", "1.2.3", "").
 */
export function releasedValue(parsed: string): number {
  const plain = parsed.replace(SYMBOLS, "");
  const text = LEADING_UNIT.exec(plain)?.[1] ?? plain;
  return PYTHON_LITERAL.test(text) ? Number(text) : 0;
}

/** Share of the gold value that counts as equal in the release. */
const TOLERANCE = 0.0015;

function within(value: number, gold: number): boolean {
  const margin = Math.abs(gold) * TOLERANCE;
  return value >= gold - margin && value <= gold + margin;
}

function roundUp(value: number, decimals: number): number {
  const factor = 10 ** decimals;
  return Math.ceil(value * factor) / factor;
}

/**
 * The release's equality of numbers: (a) the ratio is an exact power of ten, as doubles say; (b) the smaller times 100, 1000
 * or 100000 lies within 0.15 % of the larger; (c) equal after rounding up to 3 decimals (evaluation: 2); (d) prediction within
 * 0.15 % of gold. (a) to (c) take absolute values. Training compares log10(a) − log10(b), evaluation log10(a/b).
 */
export function releasedNumbersEqual(prediction: number, gold: number, variant: "training" | "evaluation"): boolean {
  if (!Number.isFinite(prediction) || !Number.isFinite(gold)) return false;
  const large = Math.max(Math.abs(prediction), Math.abs(gold));
  const small = Math.min(Math.abs(prediction), Math.abs(gold));
  if (small !== 0) {
    const exponent = variant === "training" ? log10(large) - log10(small) : log10(large / small);
    if (Number.isInteger(exponent)) return true;
  }
  if (small <= large / 50 && within(small * 100, large)) return true;
  if (small <= large / 500 && within(small * 1000, large)) return true;
  if (small <= large / 50000 && within(small * 100000, large)) return true;
  const decimals = variant === "training" ? 3 : 2;
  return roundUp(large, decimals) === roundUp(small, decimals) || within(prediction, gold);
}
