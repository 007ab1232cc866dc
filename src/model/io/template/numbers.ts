/** Python's `int()`, `float()` and `round()` of text and numbers. */
import { failed, lacking } from "./fault.js";
import { fixed } from "./format.js";
import { strip } from "./text-methods.js";
import { exact, Float, numberOf, Safe, typeName, Undefined, undefinedFault, type Value } from "./values.js";

const REAL = /^[+-]?(?:(?:\d(?:_?\d)*)?\.\d(?:_?\d)*|\d(?:_?\d)*\.?)(?:e[+-]?\d(?:_?\d)*)?$/i;
const INFINITE = /^([+-]?)inf(?:inity)?$/i;

function trimmed(text: string): string {
  if (/[^\0-\x7f]/.test(text) && /\p{Nd}/u.test(text.replace(/[0-9]/g, ""))) throw lacking("digits outside ASCII");
  return strip(text, null, true, true);
}

/** The float in a text, or null. */
export function parseFloatText(text: string): number | null {
  const body = trimmed(text);
  const infinite = INFINITE.exec(body);
  if (infinite !== null) return infinite[1] === "-" ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  if (/^[+-]?nan$/i.test(body)) return Number.NaN;
  return REAL.test(body) ? Number(body.replaceAll("_", "")) : null;
}

/** The int in a text of a base, or null. */
function parseIntText(text: string, base: number): number | null {
  const match = /^([+-]?)(?:0([xob]))?_?([\da-z]+(?:_[\da-z]+)*)$/i.exec(trimmed(text));
  if (match === null) return null;
  const prefix = { x: 16, o: 8, b: 2 }[(match[2] ?? "").toLowerCase() as "x"];
  let digits = match[3]!.replaceAll("_", "").toLowerCase();
  if (prefix !== undefined && prefix !== base && base !== 0) digits = `0${match[2]!.toLowerCase()}${digits}`;
  if (base === 0 && prefix === undefined && /^0+[1-9]/.test(digits)) return null;
  const radix = base === 0 ? (prefix ?? 10) : base;
  let value = 0;
  for (const digit of digits) {
    const number = Number.parseInt(digit, 36);
    if (!(number < radix)) return null;
    value = value * radix + number;
  }
  return exact(match[1] === "-" ? -value : value);
}

const truncated = (value: number): number | null => (Number.isFinite(value) ? exact(Math.trunc(value)) : null);

/** The filter `int`. */
export function toInt(value: Value, fallback: Value, base: number): Value {
  if (value instanceof Undefined) throw undefinedFault(value);
  const text = value instanceof Safe ? value.text : value;
  if (typeof text !== "string") {
    const number = numberOf(text);
    if (number === undefined) return fallback;
    if (text instanceof Float && Number.isNaN(number)) return fallback;
    const whole = truncated(number);
    if (whole === null) throw failed("infinity is no int");
    return whole;
  }
  const whole = parseIntText(text, base);
  if (whole !== null) return whole;
  const real = parseFloatText(text);
  return real === null ? fallback : (truncated(real) ?? fallback);
}

/** The filter `float`. */
export function toFloat(value: Value, fallback: Value): Value {
  if (value instanceof Undefined) throw undefinedFault(value);
  const number = numberOf(value);
  if (number !== undefined) return new Float(number);
  const text = value instanceof Safe ? value.text : value;
  const parsed = typeof text === "string" ? parseFloatText(text) : null;
  return parsed === null ? fallback : new Float(parsed);
}

/** The filter `round`: `common` is Python's round (ties to even, by the exact binary value). */
export function round(value: Value, digits: number, method: string): Value {
  if (value instanceof Undefined) throw undefinedFault(value);
  const number = numberOf(value);
  if (number === undefined) throw failed(`a ${typeName(value)} cannot be rounded`);
  if (method === "ceil" || method === "floor") {
    const scale = 10 ** digits;
    // math.ceil and math.floor give ints, which have no negative zero.
    return new Float((Math[method](number * scale) || 0) / scale);
  }
  if (method !== "common") throw failed("the method of round must be common, ceil or floor");
  if (digits < 0) throw lacking("rounding to tens");
  if (!(value instanceof Float)) return exact(number);
  if (!Number.isFinite(number)) return value;
  const rounded = Number(fixed(number, digits));
  return new Float(number < 0 || Object.is(number, -0) ? -rounded : rounded);
}
