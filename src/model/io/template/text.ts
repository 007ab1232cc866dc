/** How Python writes values: `str`, `repr` and the characters it thinks printable. */
import { failed, lacking } from "./fault.js";
import {
  Callable,
  Dict,
  Float,
  isList,
  Lazy,
  Namespace,
  Range,
  Safe,
  Special,
  Tuple,
  typeName,
  Undefined,
  type Value,
  View,
} from "./values.js";

/** Python's repr of a float: the shortest digits that give it back, with an exponent below 1e-4 and from 1e16 on. */
export function floatText(value: number): string {
  if (Number.isNaN(value)) return "nan";
  if (!Number.isFinite(value)) return value > 0 ? "inf" : "-inf";
  if (value === 0) return Object.is(value, -0) ? "-0.0" : "0.0";
  const [digits, power] = value.toExponential().split("e") as [string, string];
  const exponent = Number(power);
  if (exponent < -4 || exponent >= 16)
    return `${digits}e${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`;
  const plain = value.toString();
  if (!plain.includes("e")) return plain.includes(".") ? plain : `${plain}.0`;
  return value.toFixed(Math.max(1, (digits.split(".")[1]?.length ?? 0) - exponent));
}

const UNPRINTABLE = /[\p{C}\p{Z}]/u;
const ESCAPES: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\" };

/** Python's repr of a string. */
export function textRepr(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  let out = quote;
  for (const character of text) {
    const code = character.codePointAt(0)!;
    if (character === quote) out += `\\${quote}`;
    else if (character in ESCAPES) out += ESCAPES[character]!;
    else if (character === " " || !UNPRINTABLE.test(character)) out += character;
    else if (code < 0x100) out += `\\x${code.toString(16).padStart(2, "0")}`;
    else if (code < 0x10000) out += `\\u${code.toString(16).padStart(4, "0")}`;
    else out += `\\U${code.toString(16).padStart(8, "0")}`;
  }
  return out + quote;
}

/** `repr(value)`. Throws `lacking` for values whose Python text holds an address. */
export function represent(value: Value): string {
  if (value === null) return "None";
  if (typeof value === "string") return textRepr(value);
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value === "number") return String(value);
  if (value instanceof Float) return floatText(value.value);
  if (isList(value)) return `[${value.map(represent).join(", ")}]`;
  if (value instanceof Tuple) {
    const inside = value.items.map(represent);
    return inside.length === 1 ? `(${inside[0]},)` : `(${inside.join(", ")})`;
  }
  if (value instanceof Dict)
    return `{${value
      .entries()
      .map(([key, item]) => `${represent(key)}: ${represent(item)}`)
      .join(", ")}}`;
  if (value instanceof View) return `dict_${value.kind}([${value.items().map(represent).join(", ")}])`;
  if (value instanceof Range) return `range(${value.start}, ${value.stop}${value.step === 1 ? "" : `, ${value.step}`})`;
  if (value instanceof Undefined) return "Undefined";
  if (value instanceof Safe) return `Markup(${textRepr(value.text)})`;
  if (value instanceof Callable || value instanceof Special || value instanceof Lazy || value instanceof Namespace)
    throw lacking(`printing a value of the type ${typeName(value)}`);
  throw failed("this value cannot be printed");
}

/** `str(value)`, as `{{ value }}` prints it. */
export function show(value: Value): string {
  if (typeof value === "string") return value;
  if (value instanceof Safe) return value.text;
  if (value instanceof Undefined) return "";
  return represent(value);
}
