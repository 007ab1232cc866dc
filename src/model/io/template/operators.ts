/** Python's operators on template values: arithmetic, comparison, membership, subscripts and slices. */
import { failed, lacking } from "./fault.js";
import { formatPercent } from "./format.js";
import {
  codePoints,
  Dict,
  exact,
  Float,
  isBasic,
  isList,
  iterate,
  Lazy,
  lengthOf,
  numberOf,
  Range,
  Safe,
  Tuple,
  typeName,
  Undefined,
  undefinedFault,
  type Value,
  View,
} from "./values.js";

/** The whole number in an int or bool. Throws `failed` for anything else. */
export function wholeOf(value: Value, what: string): number {
  if (typeof value === "number") return value;
  if (typeof value === "boolean") return value ? 1 : 0;
  if (value instanceof Undefined) throw undefinedFault(value);
  throw failed(`${what} must be an int, got a ${typeName(value)}`);
}

/** Python's modulo: its sign, also that of a zero, is the divisor's. */
function floorModulo(left: number, right: number): number {
  const rest = left % right;
  if (rest === 0) return right < 0 ? -0 : 0;
  return rest < 0 !== right < 0 ? rest + right : rest;
}

function power(left: number, right: number, isFloat: boolean): Value {
  if (left === 0 && right < 0) throw failed("0 cannot be raised to a negative power");
  // C and JavaScript may differ in the last digit of a power of floats.
  if (isFloat) throw lacking("powers of floats");
  return right < 0 ? new Float(1 / exact(left ** -right)) : exact(left ** right);
}

function arithmetic(operator: string, left: number, right: number, isFloat: boolean): Value {
  const result = (value: number): Value => (isFloat ? new Float(value) : exact(value));
  switch (operator) {
    case "+":
      return result(left + right);
    case "-":
      return result(left - right);
    case "*":
      return result(left * right);
    case "**":
      return power(left, right, isFloat);
  }
  if (right === 0) throw failed("division by zero");
  if (operator === "/") return new Float(left / right);
  const rest = floorModulo(left, right);
  if (operator === "%") return result(rest);
  // As CPython divides floats: from the exact remainder, not from the rounded quotient.
  const quotient = Math.round((left - rest) / right);
  // Python gives a zero the sign of the true quotient.
  return result(isFloat && quotient === 0 ? 0 * Math.sign(left / right) : quotient);
}

function repeat(value: Value, times: number): Value | undefined {
  const count = Math.max(0, times);
  if (typeof value === "string") {
    if (value.length * count > 2 ** 28) throw failed("the repeated text is too long");
    return value.repeat(count);
  }
  const copies = (items: readonly Value[]) => Array.from({ length: count }, () => items).flat(1) as Value[];
  if (isList(value)) return Array.from({ length: count }, () => [...value]).reduce((a, b) => a.concat(b), []);
  if (value instanceof Tuple) return new Tuple(copies(value.items));
  return undefined;
}

/** `left operator right` for + - * / // % **. Throws `failed` where Python raises. */
export function binary(operator: string, left: Value, right: Value): Value {
  if (left instanceof Undefined) throw undefinedFault(left);
  if (operator === "%" && typeof left === "string") return formatPercent(left, right);
  if (right instanceof Undefined) throw undefinedFault(right);
  if (left instanceof Safe || right instanceof Safe)
    throw lacking("computing with text that was escaped or marked safe");
  const a = numberOf(left);
  const b = numberOf(right);
  if (a !== undefined && b !== undefined)
    return arithmetic(operator, a, b, left instanceof Float || right instanceof Float);
  if (operator === "+") {
    if (typeof left === "string" && typeof right === "string") return left + right;
    if (isList(left) && isList(right)) return [...left, ...right];
    if (left instanceof Tuple && right instanceof Tuple) return new Tuple([...left.items, ...right.items]);
  }
  if (operator === "*") {
    const repeated =
      b !== undefined && !(right instanceof Float)
        ? repeat(left, b)
        : a !== undefined && !(left instanceof Float)
          ? repeat(right, a)
          : undefined;
    if (repeated !== undefined) return repeated;
  }
  if (left instanceof View && right instanceof View) throw lacking(`the operator ${operator} on views of dicts`);
  throw failed(`"${operator}" does not work between ${typeName(left)} and ${typeName(right)}`);
}

/** Python's `==`. */
export function equal(left: Value, right: Value): boolean {
  if (left === right) return true;
  const a = numberOf(left);
  const b = numberOf(right);
  if (a !== undefined || b !== undefined) return a !== undefined && a === b;
  if (left instanceof Safe) return equal(left.text, right);
  if (right instanceof Safe) return equal(left, right.text);
  if (left instanceof Undefined) return right instanceof Undefined;
  const items = (one: readonly Value[], other: readonly Value[]) =>
    one.length === other.length && one.every((item, index) => equal(item, other[index]!));
  if (isList(left)) return isList(right) && items(left, right);
  if (left instanceof Tuple) return right instanceof Tuple && items(left.items, right.items);
  if (left instanceof Dict)
    return (
      right instanceof Dict &&
      left.size === right.size &&
      left.entries().every(([key, value]) => {
        const other = right.get(key);
        return other !== undefined && equal(value, other);
      })
    );
  if (left instanceof Range) return right instanceof Range && items([...left], [...right]);
  if (left instanceof View && right instanceof View) throw lacking("comparing views of dicts");
  return false;
}

/** -1, 0 or 1 by code points. */
function compareText(left: string, right: string): number {
  if (left === right) return 0;
  if (isBasic(left) && isBasic(right)) return left < right ? -1 : 1;
  const a = [...left];
  const b = [...right];
  for (let i = 0; i < Math.min(a.length, b.length); i += 1) {
    const difference = a[i]!.codePointAt(0)! - b[i]!.codePointAt(0)!;
    if (difference !== 0) return Math.sign(difference);
  }
  return Math.sign(a.length - b.length);
}

/** Python's order of two values: -1, 0 or 1, NaN where neither is smaller. Throws `failed` where it has none. */
export function order(left: Value, right: Value): number {
  const a = numberOf(left);
  const b = numberOf(right);
  if (a !== undefined && b !== undefined) return a < b ? -1 : a > b ? 1 : a === b ? 0 : Number.NaN;
  if (left instanceof Safe) return order(left.text, right);
  if (right instanceof Safe) return order(left, right.text);
  if (typeof left === "string" && typeof right === "string") return compareText(left, right);
  if (left instanceof Undefined) throw undefinedFault(left);
  if (right instanceof Undefined) throw undefinedFault(right);
  const one = isList(left) ? left : left instanceof Tuple && right instanceof Tuple ? left.items : null;
  const other = isList(left) && isList(right) ? right : right instanceof Tuple ? right.items : null;
  if (one === null || other === null || isList(left) !== isList(right))
    throw failed(`${typeName(left)} and ${typeName(right)} have no order`);
  for (let i = 0; i < Math.min(one.length, other.length); i += 1)
    if (!equal(one[i]!, other[i]!)) return order(one[i]!, other[i]!);
  return Math.sign(one.length - other.length);
}

/** `value in container`. */
export function contains(container: Value, value: Value): boolean {
  if (typeof container === "string") {
    if (typeof value === "string") return container.includes(value);
    if (value instanceof Safe) return container.includes(value.text);
    if (value instanceof Undefined) throw failed("an undefined value cannot be looked for in text");
    throw failed(`a ${typeName(value)} cannot be looked for in text`);
  }
  if (container instanceof Safe) return contains(container.text, value);
  if (container instanceof Dict) return container.has(value);
  if (container instanceof View && container.kind === "keys") return container.dict.has(value);
  if (container instanceof Lazy) {
    for (;;) {
      const next = container.iterator.next();
      if (next.done === true) return false;
      if (equal(next.value, value)) return true;
    }
  }
  for (const item of iterate(container)) if (equal(item, value)) return true;
  return false;
}

/** One comparison of a chain. */
export function compare(operator: string, left: Value, right: Value): boolean {
  switch (operator) {
    case "==":
      return equal(left, right);
    case "!=":
      return !equal(left, right);
    case "in":
      return contains(right, left);
    case "not in":
      return !contains(right, left);
    case "<":
      return order(left, right) < 0;
    case "<=":
      return order(left, right) <= 0;
    case ">":
      return order(left, right) > 0;
    default:
      return order(left, right) >= 0;
  }
}

/** The element at an index, negative from the end; undefined where there is none. */
export function elementAt(sequence: Value, index: number): Value | undefined {
  const length = lengthOf(sequence);
  const at = index < 0 ? index + length : index;
  if (at < 0 || at >= length) return undefined;
  if (typeof sequence === "string") return isBasic(sequence) ? sequence[at] : [...sequence][at];
  if (isList(sequence)) return sequence[at];
  if (sequence instanceof Tuple) return sequence.items[at];
  if (sequence instanceof Range) return sequence.start + at * sequence.step;
  return undefined;
}

/** Start, stop and step of a slice inside a sequence, as Python's slice.indices gives them. */
function sliceIndices(length: number, parts: readonly (number | null)[]): [number, number, number] {
  const step = parts[2] ?? 1;
  if (step === 0) throw failed("the step of a slice is 0");
  const low = step < 0 ? -1 : 0;
  const high = step < 0 ? length - 1 : length;
  const clamp = (value: number) => (value < 0 ? Math.max(value + length, low) : Math.min(value, high));
  const start = parts[0] == null ? (step < 0 ? high : low) : clamp(parts[0]);
  const stop = parts[1] == null ? (step < 0 ? low : high) : clamp(parts[1]);
  return [start, stop, step];
}

/** `value[start:stop:step]`; null parts are left out. */
export function slice(value: Value, parts: readonly (Value | null)[]): Value {
  if (value instanceof Undefined) throw undefinedFault(value);
  if (value instanceof Safe) throw lacking("slices of text that was escaped or marked safe");
  if (value instanceof Range) throw lacking("slices of a range");
  if (typeof value !== "string" && !isList(value) && !(value instanceof Tuple))
    throw failed(`a ${typeName(value)} cannot be sliced`);
  const whole = parts.map((part) => (part === null ? null : wholeOf(part, "a part of a slice")));
  const basic = typeof value === "string" && isBasic(value);
  const items: readonly Value[] =
    typeof value === "string" ? (basic ? [] : [...value]) : isList(value) ? value : value.items;
  const length = typeof value === "string" ? (basic ? value.length : items.length) : items.length;
  const [start, stop, step] = sliceIndices(length, whole);
  if (basic && step === 1) return value.slice(start, Math.max(start, stop));
  const source: ArrayLike<Value> = basic ? value : items;
  const picked: Value[] = [];
  for (let i = start; step > 0 ? i < stop : i > stop; i += step) picked.push(source[i]!);
  if (typeof value === "string") return picked.join("");
  return isList(value) ? picked : new Tuple(picked);
}

/** `-value` and `+value`. */
export function signed(value: Value, sign: 1 | -1): Value {
  if (value instanceof Undefined) throw undefinedFault(value);
  if (value instanceof Float) return new Float(sign * value.value);
  const number = numberOf(value);
  if (number === undefined) throw failed(`a ${typeName(value)} has no sign`);
  return exact(sign * number);
}

/** Number of characters before a UTF-16 index. */
export const charactersBefore = (text: string, index: number): number => codePoints(text.slice(0, index));
