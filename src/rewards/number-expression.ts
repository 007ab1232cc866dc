/**
 * Reads a number expression: "-$1,234.5 million", "2 1/2 %", "\frac{3}{4}", "3 × 10⁸ m/s" … (docs/answers.md lists the forms).
 * The whole text must be one number with signs, currencies and units; null for everything else, such as a list, a range,
 * a date or "12,5". Exact, and bounded: a text of any length ends in time linear in it.
 */
import { CURRENCY, isUnitText, LEADING_WORD, scaleAt } from "./number-words.js";
import { add, DIGIT_LIMIT, divide, equals, multiply, negate, power, type Rational, rational } from "./rational.js";

/** Longest text that is read; a statement of this length is not a number with a unit. */
const TEXT_LIMIT = 2000;

/** Value of decimal digits of any script: those of a script are ten neighbours, zero first. */
function asciiDigits(text: string): string {
  return text.replace(/(?![0-9])\p{Nd}/gu, (digit) => {
    const code = digit.codePointAt(0) as number;
    let first = code;
    while (code - first < 9 && /\p{Nd}/u.test(String.fromCodePoint(first - 1))) first--;
    // The mathematical digits are five runs of ten without a gap.
    return String(code >= 0x1d7ce && code <= 0x1d7ff ? (code - 0x1d7ce) % 10 : code - first);
  });
}

/** One sign for each meaning: hyphens and the minus sign, the Arabic decimal and grouping signs, percent signs. */
function plainSigns(text: string): string {
  return asciiDigits(text)
    .replace(/[‐‑−﹣⁃]/g, "-")
    .replace(/٫/g, ".")
    .replace(/٬/g, ",")
    .replace(/[٪﹪]/g, "%")
    .replace(/[⁄∕]/g, "/")
    .replace(/[’ʼ′]/g, "'")
    .replace(/[⋅∙]/g, "·");
}

interface Found {
  readonly value: Rational;
  readonly end: number;
}

/** Digits with separators in groups of three (or Indian groups), one kind of separator; a group never begins with 0. */
const DECIMAL =
  /(?:[1-9]\d{0,2}(?:,\d{3})+|[1-9]\d?(?:,\d{2})+,\d{3}|[1-9]\d{0,2}(?: \d{3})+(?!\s?\/)|[1-9]\d{0,2}(?:'\d{3})+|[1-9]\d{0,2}(?:_\d{3})+|\d+)(?:\.\d+)?|\.\d+/y;
/** What must not follow a decimal: more of a number that the grouping did not take. */
const MORE_DIGITS = /(?:[.,'_:]\d|\d)/y;

function match(pattern: RegExp, text: string, at: number): RegExpExecArray | null {
  pattern.lastIndex = at;
  return pattern.exec(text);
}

function decimalAt(text: string, at: number): (Found & { readonly isInteger: boolean }) | null {
  const found = match(DECIMAL, text, at)?.[0];
  if (found === undefined || found.length > DIGIT_LIMIT || match(MORE_DIGITS, text, at + found.length)) return null;
  const [whole = "", fraction = ""] = found.replace(/[, '_]/g, "").split(".");
  const value = rational(BigInt(whole + fraction), 10n ** BigInt(fraction.length));
  return { value, end: at + found.length, isInteger: /^\d+$/.test(found) };
}

const VULGAR: Readonly<Record<string, readonly [bigint, bigint]>> = {
  "¼": [1n, 4n],
  "½": [1n, 2n],
  "¾": [3n, 4n],
  "⅐": [1n, 7n],
  "⅑": [1n, 9n],
  "⅒": [1n, 10n],
  "⅓": [1n, 3n],
  "⅔": [2n, 3n],
  "⅕": [1n, 5n],
  "⅖": [2n, 5n],
  "⅗": [3n, 5n],
  "⅘": [4n, 5n],
  "⅙": [1n, 6n],
  "⅚": [5n, 6n],
  "⅛": [1n, 8n],
  "⅜": [3n, 8n],
  "⅝": [5n, 8n],
  "⅞": [7n, 8n],
};
const FRACTION_COMMAND = /\\frac\s*(?:\{\s*([^{}]{1,200})\}\s*\{\s*([^{}]{1,200})\}|(\d)\s*(\d)(?!\d))/y;

/** A fraction at `at` that is written as one sign or one LaTeX command. */
function fractionSignAt(text: string, at: number): Found | null {
  const parts = VULGAR[text[at] ?? ""];
  if (parts) return { value: rational(...parts), end: at + 1 };
  const command = match(FRACTION_COMMAND, text, at);
  if (!command) return null;
  const [whole, over, under, overDigit, underDigit] = command;
  const numerator = plainDecimal(over ?? (overDigit as string));
  const denominator = plainDecimal(under ?? (underDigit as string));
  const value = numerator && denominator ? divide(numerator, denominator) : null;
  return value && { value, end: at + whole.length };
}

/** A signed decimal that fills its text. */
function plainDecimal(text: string): Rational | null {
  const trimmed = text.trim();
  const isNegative = trimmed.startsWith("-");
  const found = decimalAt(trimmed, isNegative ? 1 : 0);
  if (!found || found.end !== trimmed.length) return null;
  return isNegative ? negate(found.value) : found.value;
}

const SUPERSCRIPT = "⁰¹²³⁴⁵⁶⁷⁸⁹";
const POWER = /\s?(?:\^|\*\*)\s?(?:\{\s?([-+]?\d+)\s?\}|\(\s?([-+]?\d+)\s?\)|([-+]?\d+))|(⁻?[⁰¹²³⁴⁵⁶⁷⁸⁹]+)/y;
const TIMES_TEN = /\s?[×xX·*]\s?10(?=\s?\^|\s?\*\*|[⁻⁰¹²³⁴⁵⁶⁷⁸⁹])/y;
const E_EXPONENT = /[eE]([-+]?\d+)(?![\d.])/y;

/** An exponent at `at` ("^6", "**6", "^{-6}", "⁶"); null where there is none. */
function exponentAt(text: string, at: number): { readonly exponent: number; readonly end: number } | null {
  const found = match(POWER, text, at);
  if (!found) return null;
  const raised = found[4]?.replace("⁻", "-").replace(/[⁰¹²³⁴⁵⁶⁷⁸⁹]/g, (sign) => String(SUPERSCRIPT.indexOf(sign)));
  return { exponent: Number(found[1] ?? found[2] ?? found[3] ?? raised), end: at + found[0].length };
}

/** The unsigned number at `at`: decimal, fraction, mixed number, power, or scientific notation. */
function numberAt(text: string, at: number): Found | null {
  const sign = fractionSignAt(text, at);
  if (sign) return sign;
  const decimal = decimalAt(text, at);
  if (!decimal) return null;
  const { value, end, isInteger } = decimal;
  const e = match(E_EXPONENT, text, end);
  if (e) return scaled(value, Number(e[1]), end + e[0].length);
  const times = match(TIMES_TEN, text, end);
  if (times) {
    const exponent = exponentAt(text, end + times[0].length);
    return exponent && scaled(value, exponent.exponent, exponent.end);
  }
  const raised = isInteger ? exponentAt(text, end) : null;
  if (raised) {
    const result = power(value.numerator, raised.exponent);
    return result && { value: result, end: raised.end };
  }
  return fractionAfter(text, decimal);
}

function scaled(value: Rational, exponent: number, end: number): Found | null {
  const factor = power(10n, exponent);
  return factor && { value: multiply(value, factor), end };
}

const OVER = /\s?\/\s?(?=[.\d])/y;
const MIXED = /\s*(?:(\d{1,9})\s?\/\s?(\d{1,9})(?!\d|[.,/]\d)|(?=[¼½¾⅐-⅞\\]))/uy;

/** What a fraction makes of the decimal before it: "3" and "/4", "2" and " 1/2" or "½"; the decimal alone where none follows. */
function fractionAfter(text: string, decimal: Found & { readonly isInteger: boolean }): Found | null {
  const over = match(OVER, text, decimal.end);
  if (over) {
    const under = decimalAt(text, decimal.end + over[0].length);
    const value = under && divide(decimal.value, under.value);
    return value && { value, end: under.end };
  }
  const mixed = decimal.isInteger ? match(MIXED, text, decimal.end) : null;
  if (!mixed) return decimal;
  const at = decimal.end + mixed[0].length;
  if (mixed[1] === undefined) {
    const part = fractionSignAt(text, at);
    return part ? proper(decimal.value, part.value, part.end) : decimal;
  }
  if (!/\s/.test(text[decimal.end] ?? "")) return decimal;
  const part = divide(rational(BigInt(mixed[1])), rational(BigInt(mixed[2] as string)));
  return part && proper(decimal.value, part, at);
}

/** whole + part of a mixed number, whose part lies between 0 and 1. */
function proper(whole: Rational, part: Rational, end: number): Found | null {
  const isProper = part.numerator > 0n && part.numerator < part.denominator;
  return isProper ? { value: add(whole, part), end } : null;
}

const OPENING = /[\s"'“”‘`«»„•]+|[([{$]/y;
const SIGN_WORD = /(?:minus|negative)\s+/iy;
/** A hyphen or minus sign is a sign wherever it precedes the number; an en dash only where no space follows. */
const SIGN = /-|[–‒](?!\s)|\+/y;
/** "x = ", "net income ≈ ": a name without digits. */
const NAMED = /^[^=≈\d\p{N}<>!≠+*/^]{1,60}[=≈](?![=<>])/u;

interface Opening {
  readonly at: number;
  readonly isNegative: boolean;
  readonly hasCurrency: boolean;
}

/** Everything before the digits; null where two signs stand there. */
function openingOf(text: string): Opening | null {
  const name = NAMED.exec(text)?.[0] ?? "";
  let at = name !== "" && isUnitText(name.slice(0, -1)) ? name.length : 0;
  let sign: "" | "-" | "+" = "";
  let hasCurrency = false;
  for (;;) {
    const found =
      match(CURRENCY, text, at) ??
      match(OPENING, text, at) ??
      match(LEADING_WORD, text, at) ??
      match(SIGN_WORD, text, at);
    const signed = found ? null : match(SIGN, text, at);
    if (!found && !signed) return { at, isNegative: sign === "-", hasCurrency };
    const token = (found ?? (signed as RegExpExecArray))[0];
    if (signed || /^(?:minus|negative)/i.test(token)) {
      if (sign !== "") return null;
      sign = token === "+" ? "+" : "-";
    } else if (match(CURRENCY, token, 0)) {
      hasCurrency = true;
    }
    at += token.length;
  }
}

const CLOSING = /[\s)\]}"'”’`$]+/y;
const ORDINAL = /(?:st|nd|rd|th)(?![\p{L}\p{N}])/iuy;
/** The number once more: "1.5 million ($1,500,000)", "3/4 = 0.75", "1.5 million, or 1,500,000". */
const RESTATED = [
  /^\s*[,;]?\s*\(\s*(?:or|i\.e\.,?|that is,?|=)?\s*([^()]*\p{N}[^()]*)\)([^()\p{N}]*)$/u,
  /^\s*(?:=|,\s*or|,?\s*i\.e\.,?|,?\s*that is,?)\s*([^=]*\p{N}[^=]*)()$/u,
];

/** Value of the one number that `text` states; null where it states none or more than one. */
export function parseNumber(text: string): Rational | null {
  if (text.length > TEXT_LIMIT) return null;
  return parseWhole(plainSigns(text).replace(/[\s.,;:!?。…]+$/u, ""), true);
}

function parseWhole(text: string, mayRestate: boolean): Rational | null {
  const opening = openingOf(text);
  const number = opening && numberAt(text, opening.at);
  if (!opening || !number) return null;
  let { value, end } = number;
  if (match(ORDINAL, text, end)) return null;
  let hasCurrency = opening.hasCurrency || /^\s?(?:[€£¥$]|USD|EUR|GBP)/.test(text.slice(end));
  for (let exponent = 0; ; ) {
    const scale = scaleAt(text, end, hasCurrency);
    const skipped = scale ? null : (match(CURRENCY, text, end) ?? match(CLOSING, text, end));
    if (!scale && !skipped) break;
    if (skipped) {
      hasCurrency ||= match(CURRENCY, skipped[0], 0) !== null;
      end += skipped[0].length;
      continue;
    }
    const { exponent: more, end: after } = scale as { exponent: number; end: number };
    exponent += more;
    if (exponent > 36) return null;
    value = multiply(value, power(10n, more) as Rational);
    end = after;
  }
  const signed = opening.isNegative ? negate(value) : value;
  const rest = text.slice(end);
  if (isUnitText(rest)) return signed;
  return mayRestate && restates(rest, signed) ? signed : null;
}

/** True where the text after a number states the same number again. */
function restates(rest: string, value: Rational): boolean {
  return RESTATED.some((pattern) => {
    const [, text, unit] = pattern.exec(rest) ?? [];
    const again = text === undefined || !isUnitText(unit as string) ? null : parseWhole(text.trim(), false);
    return again !== null && equals(again, value);
  });
}
