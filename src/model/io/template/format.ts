/** Python's two ways to format text: `"%05.1f" % value` and `"{:>8}".format(value)`. */
import { failed, lacking } from "./fault.js";
import { floatText, represent, show } from "./text.js";
import {
  type CallInput,
  codePoints,
  Dict,
  Float,
  isList,
  numberOf,
  Safe,
  Tuple,
  typeName,
  Undefined,
  undefinedFault,
  type Value,
} from "./values.js";

interface Layout {
  readonly fill: string;
  /** "=" pads between the sign and the digits. */
  readonly align: "<" | ">" | "^" | "=";
  readonly width: number;
}

function pad(text: string, { fill, align, width }: Layout): string {
  const missing = width - codePoints(text);
  if (missing <= 0) return text;
  if (align === "<") return text + fill.repeat(missing);
  if (align === "^") return fill.repeat(Math.floor(missing / 2)) + text + fill.repeat(Math.ceil(missing / 2));
  const prefix = align === "=" ? (/^[-+ ]?(?:0[xXobB])?/.exec(text)?.[0] ?? "") : "";
  return prefix + fill.repeat(missing) + text.slice(prefix.length);
}

/** Rounds a finite value to decimals, ties by its exact binary value, as C's printf does. */
export function fixed(value: number, decimals: number): string {
  if (decimals > 100) throw lacking("more than 100 decimals");
  const magnitude = Math.abs(value);
  if (magnitude >= 1e21) return BigInt(magnitude).toString() + (decimals > 0 ? `.${"0".repeat(decimals)}` : "");
  // toFixed takes the larger of two candidates at an exact tie; C takes the even one.
  const text = magnitude.toFixed(decimals);
  const exact = decimalDigits(magnitude);
  const dot = exact.indexOf(".");
  const rest = dot === -1 ? "" : exact.slice(dot + 1 + decimals);
  if (!/^50*$/.test(rest) || dot === -1) return text;
  const kept = exact.slice(0, dot + 1 + decimals).replace(/\.$/, "");
  return /[02468]$/.test(kept) ? kept : text;
}

/** All decimal digits of a double; exact because a double is a whole number over a power of two. */
function decimalDigits(value: number): string {
  let scale = 0;
  let scaled = value;
  while (!Number.isInteger(scaled) && scale < 1100) {
    scaled *= 2;
    scale += 1;
  }
  if (scale === 0) return BigInt(scaled).toString();
  const digits = (BigInt(scaled) * 5n ** BigInt(scale)).toString().padStart(scale + 1, "0");
  return `${digits.slice(0, -scale)}.${digits.slice(-scale)}`;
}

/** The first `count` significant digits of a value, rounded as C does, and the power of ten of the first one. */
function significant(value: number, count: number): { readonly digits: string; readonly exponent: number } {
  if (value === 0) return { digits: "0".repeat(count), exponent: 0 };
  const [whole = "", rest = ""] = decimalDigits(Math.abs(value)).split(".");
  const all = whole + rest;
  const first = all.search(/[1-9]/);
  const kept = all.slice(first, first + count).padEnd(count, "0");
  const dropped = all.slice(first + count);
  const up = /^(?:[6-9]|5\d*[1-9])/.test(dropped) || (/^50*$/.test(dropped) && /[13579]$/.test(kept));
  const rounded = up ? (BigInt(kept) + 1n).toString() : kept;
  const exponent = whole.length - 1 - first;
  return rounded.length > count
    ? { digits: rounded.slice(0, count), exponent: exponent + 1 }
    : { digits: rounded, exponent };
}

const power = (exponent: number): string =>
  `e${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`;

function exponential(value: number, decimals: number): string {
  const { digits, exponent } = significant(value, decimals + 1);
  return `${digits[0]}${decimals > 0 ? `.${digits.slice(1)}` : ""}${power(exponent)}`;
}

function general(value: number, precision: number): string {
  const count = precision === 0 ? 1 : precision;
  const { exponent } = significant(value, count);
  const strip = (text: string) => (text.includes(".") ? text.replace(/\.?0+$/, "") : text);
  if (exponent >= -4 && exponent < count) return strip(fixed(value, count - 1 - exponent));
  const [head, tail] = exponential(value, count - 1).split("e") as [string, string];
  return `${strip(head)}e${tail}`;
}

/** A float under one of the letters f, e, g (and %), without its sign. */
function floatDigits(value: number, letter: string, precision: number): string {
  if (Number.isNaN(value)) return "nan";
  if (!Number.isFinite(value)) return "inf";
  const kind = letter.toLowerCase();
  if (kind === "f") return fixed(value, precision);
  if (kind === "e") return exponential(value, precision);
  return general(value, precision);
}

const negative = (value: number): boolean => value < 0 || Object.is(value, -0);
const signOf = (isNegative: boolean, sign: string): string => (isNegative ? "-" : sign === "-" ? "" : sign);

function realOf(value: Value, letter: string): number {
  const number = numberOf(value);
  if (number === undefined) throw failed(`%${letter} needs a number, got a ${typeName(value)}`);
  return number;
}

const RADIX: Readonly<Record<string, number>> = { d: 10, i: 10, u: 10, x: 16, X: 16, o: 8, b: 2 };

function percentText(value: Value, letter: string, precision: number | null): string {
  let text = letter === "s" ? show(value) : represent(value);
  if (letter === "a") text = text.replace(/[^\x20-\x7e]/gu, escapeAscii);
  return precision === null ? text : [...text].slice(0, precision).join("");
}

function escapeAscii(character: string): string {
  const code = character.codePointAt(0)!;
  if (code < 0x100) return `\\x${code.toString(16).padStart(2, "0")}`;
  return code < 0x10000 ? `\\u${code.toString(16).padStart(4, "0")}` : `\\U${code.toString(16).padStart(8, "0")}`;
}

/** `template % values`, Python's printf. Throws `failed` where Python raises. */
export function formatPercent(template: string, values: Value): string {
  const list = values instanceof Tuple ? values.items : [values];
  let used = 0;
  let mapped = false;
  const next = (): Value => {
    if (used >= list.length) throw failed("not enough arguments for the format");
    return list[used++]!;
  };
  const pattern = /%(?:\(([^)]*)\))?([-+ #0]*)(\*|\d+)?(?:\.(\*|\d*))?[hlL]?([\s\S]?)/g;
  const text = template.replace(pattern, (whole, key, flags: string, width, precision, letter: string) => {
    if (letter === "%") return "%";
    if (letter === "" || !"diouxXeEfFgGcrsa".includes(letter))
      throw failed(`the format ${JSON.stringify(whole)} is not supported by Python`);
    const size = (given: string | undefined): number | null =>
      given === undefined ? null : given === "*" ? realOf(next(), "*") : Number(given);
    const columns = size(width) ?? 0;
    const digits = size(precision);
    let value: Value;
    if (key !== undefined) {
      if (!(values instanceof Dict)) throw failed("a format with names needs a dict");
      mapped = true;
      const found = values.get(key as string);
      if (found === undefined) throw failed(`the dict has no key ${JSON.stringify(key)}`);
      value = found;
    } else value = next();
    return percentItem(value, { letter, flags, columns, digits });
  });
  // Python takes whatever has items and is no tuple or text for a mapping, which may go unused.
  const isMapping = values instanceof Dict || isList(values) || values instanceof Undefined;
  if (!mapped && !isMapping && list.length > used) throw failed("not all arguments were used by the format");
  return text;
}

function percentItem(
  value: Value,
  { letter, flags, columns, digits }: { letter: string; flags: string; columns: number; digits: number | null },
): string {
  const left = flags.includes("-") || columns < 0;
  const width = Math.abs(columns);
  const plain: Layout = { fill: " ", align: left ? "<" : ">", width };
  if ("rsa".includes(letter)) return pad(percentText(value, letter, digits), plain);
  if (letter === "c") {
    const code = value instanceof Float ? undefined : numberOf(value);
    const text = code === undefined ? show(value) : String.fromCodePoint(code);
    if (codePoints(text) !== 1) throw failed("%c needs one character");
    return pad(text, plain);
  }
  const sign = flags.includes("+") ? "+" : flags.includes(" ") ? " " : "-";
  const layout: Layout = flags.includes("0") && !left ? { fill: "0", align: "=", width } : plain;
  if ("eEfFgG".includes(letter)) {
    const number = realOf(value, letter);
    if (flags.includes("#")) throw lacking("the flag # of a float's format");
    const body = floatDigits(Math.abs(number), letter, digits ?? 6);
    const text = signOf(negative(number), sign) + body;
    return pad(letter === letter.toUpperCase() ? text.toUpperCase() : text, layout);
  }
  const number = realOf(value, letter);
  if (value instanceof Float && "xXo".includes(letter)) throw failed(`%${letter} needs an int, got a float`);
  if (!Number.isFinite(number)) throw failed(`%${letter} needs a finite number`);
  let body = BigInt(Math.abs(Math.trunc(number)))
    .toString(RADIX[letter])
    .padStart(digits ?? 0, "0");
  if (flags.includes("#")) body = `${{ x: "0x", X: "0X", o: "0o" }[letter as "x"] ?? ""}${body}`;
  if (letter === "X") body = body.toUpperCase();
  return pad(signOf(Math.trunc(number) < 0, sign) + body, layout);
}

const SPEC = /^(?:([\s\S])?([<>=^]))?([-+ ])?(z)?(#)?(0)?(\d+)?([,_])?(?:\.(\d+))?([bcdeEfFgGnosxX%])?$/u;

function grouped(digits: string, separator: string | undefined): string {
  if (separator === undefined) return digits;
  const [, whole = "", rest = ""] = /^(\d*)([\s\S]*)$/.exec(digits) ?? [];
  return whole.replace(/\B(?=(\d{3})+$)/g, separator) + rest;
}

/** `format(value, spec)`. */
export function formatSpec(value: Value, spec: string): string {
  if (value instanceof Safe) throw lacking("formatting text that was escaped or marked safe");
  if (spec === "") return show(value);
  if (value === null || isList(value) || value instanceof Dict || value instanceof Tuple || value instanceof Undefined)
    throw failed(`a ${typeName(value)} takes no format such as ${JSON.stringify(spec)}`);
  const parts = SPEC.exec(spec);
  if (parts === null) throw failed(`the format ${JSON.stringify(spec)} is not valid`);
  const [, fillGiven, alignGiven, sign = "-", z, alternate, zero, width, separator, precision, letter] = parts;
  if (z !== undefined) throw lacking("the format option z");
  const number = numberOf(value);
  const isText = typeof value === "string";
  const layout: Layout = {
    fill: fillGiven ?? (zero !== undefined ? "0" : " "),
    align: (alignGiven as Layout["align"]) ?? (zero !== undefined && !isText ? "=" : isText ? "<" : ">"),
    width: Number(width ?? 0),
  };
  if (isText) {
    const wrong = parts[3] ?? separator ?? alternate;
    if ((letter !== undefined && letter !== "s") || layout.align === "=" || wrong !== undefined)
      throw failed(`text takes no format such as ${JSON.stringify(spec)}`);
    return pad(precision === undefined ? value : [...value].slice(0, Number(precision)).join(""), layout);
  }
  if (number === undefined) throw failed(`a ${typeName(value)} takes no format such as ${JSON.stringify(spec)}`);
  if (layout.fill === "0" && layout.align === "=" && separator !== undefined)
    throw lacking("zero padding with a thousands separator");
  return pad(numberText(value, number, { sign, letter, precision, separator, alternate }), layout);
}

function numberText(
  value: Value,
  number: number,
  options: {
    readonly sign: string;
    readonly letter: string | undefined;
    readonly precision: string | undefined;
    readonly separator: string | undefined;
    readonly alternate: string | undefined;
  },
): string {
  const { sign, letter, precision, separator, alternate } = options;
  const isFloat = value instanceof Float;
  if (letter === "n" || letter === "c" || letter === "s")
    throw letter === "s" ? failed("a number takes no format s") : lacking(`the format ${letter}`);
  if (letter !== undefined && letter in RADIX) {
    if (isFloat) throw failed(`a float takes no format ${letter}`);
    if (precision !== undefined) throw failed("an int takes no precision");
    const prefix = alternate === undefined || letter === "d" ? "" : `0${letter}`;
    const body = Math.abs(number).toString(RADIX[letter]);
    if (separator !== undefined && letter !== "d") throw lacking("separators in binary, octal and hexadecimal numbers");
    const text = signOf(number < 0, sign) + prefix + grouped(body, separator);
    return letter === "X" ? text.toUpperCase() : text;
  }
  if (letter === undefined && !isFloat) {
    if (precision !== undefined) throw failed("an int takes no precision");
    return signOf(number < 0, sign) + grouped(Math.abs(number).toString(), separator);
  }
  if (alternate !== undefined) throw lacking("the flag # of a float's format");
  const magnitude = Math.abs(number);
  let body: string;
  if (letter === undefined && precision === undefined) body = floatText(magnitude);
  else if (letter === undefined) throw lacking("a precision without a letter in a float's format");
  else if (letter === "%") body = `${floatDigits(magnitude * 100, "f", Number(precision ?? 6))}%`;
  else body = floatDigits(magnitude, letter, Number(precision ?? 6));
  const text = signOf(negative(number), sign) + grouped(body, separator);
  return letter !== undefined && /[EFG]/.test(letter) ? text.toUpperCase() : text;
}

/** `template.format(…)`; `resolve` reads attributes and items as the sandbox does. */
export function formatBraces(
  template: string,
  { positional, named }: CallInput,
  resolve: (value: Value, name: string, isItem: boolean) => Value,
): string {
  let automatic = 0;
  let manual = false;
  const field = (name: string): Value => {
    const [, head = "", rest = ""] = /^([^.[]*)([\s\S]*)$/.exec(name) ?? [];
    if (head === "" && manual) throw failed("a format mixes {} and {0}");
    if (/^\d+$/.test(head)) {
      if (automatic > 0) throw failed("a format mixes {} and {0}");
      manual = true;
    }
    let value = head === "" ? positional[automatic++] : /^\d+$/.test(head) ? positional[Number(head)] : named.get(head);
    if (value === undefined) throw failed(`the format has no argument ${JSON.stringify(head)}`);
    for (const [, attribute, item] of rest.matchAll(/\.([^.[]+)|\[([^\]]+)\]/g))
      value = resolve(value, attribute ?? item!, attribute === undefined);
    return value;
  };
  return template.replace(
    /\{\{|\}\}|\{([^{}!:]*)(?:!([rsa]))?(?::((?:[^{}]|\{[^{}]*\})*))?\}|[{}]/g,
    (whole, name: string | undefined, conversion: string | undefined, spec: string | undefined) => {
      if (whole === "{{") return "{";
      if (whole === "}}") return "}";
      if (name === undefined) throw failed("a format has a single brace");
      const value = field(name);
      if (value instanceof Undefined && conversion === undefined && spec !== undefined) throw undefinedFault(value);
      const converted = conversion === undefined ? value : percentText(value, conversion, null);
      return formatSpec(
        converted,
        (spec ?? "").replace(/\{([^{}]*)\}/g, (_, inner: string) => show(field(inner))),
      );
    },
  );
}
