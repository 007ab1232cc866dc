/** `json.dumps` of Python, with ensure_ascii off or on, as transformers' `tojson` filter calls it. */
import { failed } from "./fault.js";
import { order } from "./operators.js";
import { floatText } from "./text.js";
import { Dict, Float, isList, Safe, Tuple, typeName, type Value } from "./values.js";

export interface JsonLayout {
  readonly ensureAscii: boolean;
  /** Text that each level is indented by, or null for one line. */
  readonly indent: string | null;
  readonly itemSeparator: string;
  readonly keySeparator: string;
  readonly sortKeys: boolean;
}

const SHORT: Readonly<Record<string, string>> = {
  '"': '\\"',
  "\\": "\\\\",
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
  "\f": "\\f",
  "\b": "\\b",
};

/** Quotes, backslashes and control characters. */
const CONTROL_CLASS = "\\0-\\x1f";
const ESCAPED = new RegExp(`["\\\\${CONTROL_CLASS}]`, "g");

const hex = (unit: string): string => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;

function quoted(text: string, ensureAscii: boolean): string {
  const body = text.replace(ESCAPED, (unit) => SHORT[unit] ?? hex(unit));
  return `"${ensureAscii ? body.replace(/[\x7f-\uffff]/g, (unit) => (unit === "\x7f" ? unit : hex(unit))) : body}"`;
}

function floatJson(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "Infinity" : "-Infinity";
  return floatText(value);
}

function scalar(value: Value, ensureAscii: boolean): string | undefined {
  if (value === null) return "null";
  if (typeof value === "boolean") return value ? "true" : "false";
  if (typeof value === "number") return String(value);
  if (value instanceof Float) return floatJson(value.value);
  if (typeof value === "string") return quoted(value, ensureAscii);
  return value instanceof Safe ? quoted(value.text, ensureAscii) : undefined;
}

/** Throws `failed` for what JSON cannot hold (undefined values, ranges, generators …). */
export function toJson(value: Value, layout: JsonLayout, depth = 0): string {
  const simple = scalar(value, layout.ensureAscii);
  if (simple !== undefined) return simple;
  const wrap = (open: string, close: string, parts: readonly string[]): string => {
    if (parts.length === 0) return open + close;
    if (layout.indent === null) return open + parts.join(layout.itemSeparator) + close;
    const line = `\n${layout.indent.repeat(depth + 1)}`;
    return `${open}${line}${parts.join(layout.itemSeparator + line)}\n${layout.indent.repeat(depth)}${close}`;
  };
  const items = isList(value) ? value : value instanceof Tuple ? value.items : null;
  if (items !== null)
    return wrap(
      "[",
      "]",
      items.map((item) => toJson(item, layout, depth + 1)),
    );
  if (!(value instanceof Dict)) throw failed(`a ${typeName(value)} cannot be written as JSON`);
  const entries = value.entries();
  if (layout.sortKeys) entries.sort(([a], [b]) => order(a, b));
  const parts = entries.map(([key, item]) => {
    const name = typeof key === "string" ? quoted(key, layout.ensureAscii) : scalar(key, layout.ensureAscii);
    if (name === undefined) throw failed(`a ${typeName(key)} cannot be the key of a JSON object`);
    const text = name.startsWith('"') ? name : `"${name}"`;
    return text + layout.keySeparator + toJson(item, layout, depth + 1);
  });
  return wrap("{", "}", parts);
}
