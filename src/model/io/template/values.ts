/**
 * The values that templates compute with, where JavaScript's own do not behave as Python's: floats that know that they
 * are floats, tuples, dicts with keys of any kind, ranges, views, generators, undefined names. A JavaScript number is a
 * Python int, a string a str (by code points), an array a list, null None. Lists and dicts never change: transformers'
 * sandbox forbids it.
 */
import { failed, lacking } from "./fault.js";

export type Value =
  | null
  | boolean
  | number
  | string
  | Float
  | readonly Value[]
  | Tuple
  | Dict
  | Range
  | View
  | Lazy
  | Undefined
  | Safe
  | Callable
  | Namespace
  | Special;

/** A Python float. */
export class Float {
  constructor(readonly value: number) {}
}

export class Tuple {
  constructor(
    readonly items: readonly Value[],
    /** Names of its items, where it is a named tuple (`groupby`). */
    readonly fields: readonly string[] = [],
  ) {}
}

/** A name, attribute or item that does not exist. It prints as nothing; most operations on it fail. */
export class Undefined {
  constructor(readonly description: string) {}
}

/** Text that `escape` or `safe` marked. It can be printed; computing with it would escape the other side. */
export class Safe {
  constructor(readonly text: string) {}
}

export interface CallInput {
  readonly positional: readonly Value[];
  readonly named: ReadonlyMap<string, Value>;
}

export class Callable {
  constructor(
    readonly name: string,
    readonly call: (input: CallInput) => Value,
  ) {}
}

/** The one value that `{% set ns.name = … %}` can change. */
export class Namespace {
  readonly attributes = new Map<string, Value>();
}

/** An object with attributes of its own: a loop, a cycler, a joiner, a macro. */
export abstract class Special {
  abstract readonly kind: string;
  readonly callable: boolean = false;
  /** The attribute, or undefined where there is none. */
  abstract attribute(name: string): Value | undefined;
  call(_input: CallInput): Value {
    throw failed(`${this.kind} is not callable`);
  }
}

/** Numbers from start (inclusive) to stop (exclusive). */
export class Range {
  readonly length: number;
  constructor(
    readonly start: number,
    readonly stop: number,
    readonly step: number,
  ) {
    this.length = Math.max(0, Math.ceil((stop - start) / step));
  }

  *[Symbol.iterator](): Generator<number> {
    for (let i = 0; i < this.length; i += 1) yield this.start + i * this.step;
  }
}

/** What `map`, `select`, `batch` … give: read once, without a length. */
export class Lazy {
  constructor(readonly iterator: Iterator<Value>) {}
}

const keyOf = (key: Value): string | number | boolean | null => {
  if (key === null) return null;
  if (typeof key === "string") return `s${key}`;
  if (typeof key === "number") return key;
  if (typeof key === "boolean") return key ? 1 : 0;
  if (key instanceof Float) return key.value;
  if (key instanceof Tuple) return `t${JSON.stringify(key.items.map(keyOf))}`;
  throw failed(`a ${typeName(key)} cannot be the key of a dict`);
};

/** A dict in the order of insertion. */
export class Dict {
  readonly #entries = new Map<string | number | boolean | null, readonly [Value, Value]>();

  constructor(entries: Iterable<readonly [Value, Value]> = []) {
    for (const [key, value] of entries) {
      const id = keyOf(key);
      this.#entries.set(id, [this.#entries.get(id)?.[0] ?? key, value]);
    }
  }

  get size(): number {
    return this.#entries.size;
  }

  get(key: Value): Value | undefined {
    return this.#entries.get(keyOf(key))?.[1];
  }

  has(key: Value): boolean {
    return this.#entries.has(keyOf(key));
  }

  keys(): Value[] {
    return Array.from(this.#entries.values(), ([key]) => key);
  }

  entries(): (readonly [Value, Value])[] {
    return [...this.#entries.values()];
  }
}

/** `dict.keys()`, `.values()` and `.items()`. */
export class View {
  constructor(
    readonly kind: "keys" | "values" | "items",
    readonly dict: Dict,
  ) {}

  items(): Value[] {
    const entries = this.dict.entries();
    if (this.kind === "keys") return entries.map(([key]) => key);
    if (this.kind === "values") return entries.map(([, value]) => value);
    return entries.map((entry) => new Tuple(entry));
  }
}

/** `value`, or `fallback` where there is none; None is a value. */
export const orElse = <T>(value: Value | undefined, fallback: T): Value | T => (value === undefined ? fallback : value);

/** The name of a value's type in Python. */
export function typeName(value: Value): string {
  if (value === null) return "NoneType";
  if (typeof value === "boolean") return "bool";
  if (typeof value === "number") return "int";
  if (typeof value === "string") return "str";
  if (value instanceof Float) return "float";
  if (isList(value)) return "list";
  if (value instanceof Tuple) return "tuple";
  if (value instanceof Dict) return "dict";
  if (value instanceof Range) return "range";
  if (value instanceof View) return `dict_${value.kind}`;
  if (value instanceof Lazy) return "generator";
  if (value instanceof Undefined) return "Undefined";
  if (value instanceof Safe) return "Markup";
  if (value instanceof Callable) return "function";
  if (value instanceof Namespace) return "Namespace";
  return value.kind;
}

export const isList = (value: Value): value is readonly Value[] => Array.isArray(value);

/** Fails as Jinja2's Undefined does. */
export function undefinedFault(value: Undefined): Error {
  return failed(value.description);
}

/** A whole number that JavaScript holds exactly. */
export function exact(value: number): number {
  if (!Number.isSafeInteger(value)) throw lacking("whole numbers beyond 2^53");
  return value === 0 ? 0 : value;
}

/** Python's truth of a value. */
export function isTrue(value: Value): boolean {
  if (value === null || value instanceof Undefined) return false;
  if (typeof value === "boolean") return value;
  if (typeof value === "number") return value !== 0;
  if (typeof value === "string") return value !== "";
  if (value instanceof Float) return value.value !== 0;
  if (value instanceof Safe) return value.text !== "";
  if (isList(value)) return value.length > 0;
  if (value instanceof Tuple) return value.items.length > 0;
  if (value instanceof Dict) return value.size > 0;
  if (value instanceof View) return value.dict.size > 0;
  if (value instanceof Range) return value.length > 0;
  return true;
}

/** The elements of a value that can be iterated. Throws `failed` for any other. */
export function iterate(value: Value): Iterable<Value> {
  if (typeof value === "string") return value;
  if (value instanceof Safe) return value.text;
  if (isList(value)) return value;
  if (value instanceof Tuple) return value.items;
  if (value instanceof Dict) return value.keys();
  if (value instanceof View) return value.items();
  if (value instanceof Range) return value;
  if (value instanceof Undefined) return [];
  if (value instanceof Lazy) return { [Symbol.iterator]: () => value.iterator };
  throw failed(`a value of the type ${typeName(value)} cannot be iterated`);
}

export const isIterable = (value: Value): boolean =>
  typeof value === "string" ||
  value instanceof Safe ||
  isList(value) ||
  [Tuple, Dict, View, Range, Undefined, Lazy].some((kind) => (value as object) instanceof kind);

/** `len(value)`. */
export function lengthOf(value: Value): number {
  if (typeof value === "string") return codePoints(value);
  if (value instanceof Safe) return codePoints(value.text);
  if (isList(value)) return value.length;
  if (value instanceof Tuple) return value.items.length;
  if (value instanceof Dict) return value.size;
  if (value instanceof View) return value.dict.size;
  if (value instanceof Range) return value.length;
  if (value instanceof Undefined) return 0;
  throw failed(`a value of the type ${typeName(value)} has no length`);
}

/** True where UTF-16 units and code points are the same. */
export const isBasic = (text: string): boolean => !/[\ud800-\udfff]/.test(text);

export function codePoints(text: string): number {
  if (isBasic(text)) return text.length;
  let count = 0;
  for (const _ of text) count += 1;
  return count;
}

/** A JavaScript value of a message, tool, document or option as a template sees it. Functions are refused. */
export function toValue(input: unknown, path: string): Value {
  if (input === null || typeof input === "boolean" || typeof input === "string") return input;
  if (typeof input === "number") {
    if (Number.isSafeInteger(input)) return input === 0 ? 0 : input;
    if (Number.isInteger(input)) throw lacking(`the number ${input} in ${path}: whole numbers beyond 2^53`);
    return new Float(input);
  }
  if (Array.isArray(input)) return input.map((item, index) => toValue(item, `${path}[${index}]`));
  if (typeof input === "object") {
    const entries = Object.entries(input).filter(([, value]) => value !== undefined);
    return new Dict(entries.map(([key, value]) => [key, toValue(value, `${path}.${key}`)] as const));
  }
  throw failed(`${path} is a ${typeof input}; expected text, numbers, lists and objects`);
}

/** The number in a bool, int or float; undefined for anything else. */
export function numberOf(value: Value): number | undefined {
  if (typeof value === "number") return value;
  if (typeof value === "boolean") return value ? 1 : 0;
  return value instanceof Float ? value.value : undefined;
}
