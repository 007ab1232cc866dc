/** The filters of Jinja2 3.1, with transformers' `tojson` in place of Jinja2's. */

import { bind, textOf } from "./arguments.js";
import { pythonAttribute } from "./attributes.js";
import { failed, lacking } from "./fault.js";
import type { Filter } from "./filter.js";
import { formatPercent } from "./format.js";
import { toJson } from "./json-text.js";
import { SPACE_CLASS } from "./lexer.js";
import { round, toFloat, toInt } from "./numbers.js";
import { SEQUENCE_FILTERS } from "./sequence-filters.js";
import { show } from "./text.js";
import { capitalize, centerLeft, replace, splitLines, strip } from "./text-methods.js";
import {
  codePoints,
  Dict,
  exact,
  Float,
  isIterable,
  isList,
  isTrue,
  lengthOf,
  numberOf,
  orElse,
  Safe,
  Tuple,
  typeName,
  Undefined,
  undefinedFault,
  type Value,
} from "./values.js";

/** Filters of Jinja2 that chat templates have no use for. */
const NOT_COMPUTED = new Set(["filesizeformat", "pprint", "random", "striptags", "urlize", "wordwrap", "xmlattr"]);

const HTML: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", "'": "&#39;", '"': "&#34;" };

function escapeHtml(value: Value): Safe {
  return new Safe(show(value).replace(/[&<>'"]/g, (character) => HTML[character]!));
}

/** A filter of the value's text. */
const ofText =
  (name: string, compute: (text: string) => Value): Filter =>
  (value, input) => {
    bind(name, input, []);
    return compute(show(value));
  };

const indent: Filter = (value, input) => {
  const bound = bind("indent", input, ["width", "first", "blank"]);
  const width = bound.value("width", 4);
  const space = typeof width === "string" ? width : " ".repeat(Math.max(0, bound.whole("width", 4)));
  const lines = splitLines(`${textOf(value, "what indent is given")}\n`);
  const blank = bound.flag("blank", false);
  const body = lines.map((line, index) => (index > 0 && (blank || line !== "") ? space + line : line)).join("\n");
  return bound.flag("first", false) ? space + body : body;
};

const truncate: Filter = (value, input) => {
  const bound = bind("truncate", input, ["length", "killwords", "end", "leeway"]);
  const length = bound.whole("length", 255);
  const end = bound.text("end", "...");
  const leeway = bound.wholeOrNull("leeway") ?? 5;
  const room = length - codePoints(end);
  if (room < 0 || leeway < 0) throw failed("truncate needs room for its end, and a leeway of at least 0");
  if (lengthOf(value) <= length + leeway) return value;
  const characters = [...textOf(value, "what truncate is given")];
  const kept = characters.slice(0, room).join("");
  if (bound.flag("killwords", false)) return kept + end;
  const space = kept.lastIndexOf(" ");
  return (space < 0 ? kept : kept.slice(0, space)) + end;
};

const tojson: Filter = (value, input) => {
  const bound = bind("tojson", input, ["ensure_ascii", "indent", "separators", "sort_keys"]);
  const width = bound.value("indent", null);
  const space =
    width === null ? null : typeof width === "string" ? width : " ".repeat(Math.max(0, bound.whole("indent")));
  const separators = bound.value("separators", null);
  const pair = separators instanceof Tuple ? separators.items : isList(separators) ? separators : null;
  if (separators !== null && pair?.length !== 2) throw failed("separators of tojson must be two texts");
  return toJson(value, {
    ensureAscii: bound.flag("ensure_ascii", false),
    indent: space,
    itemSeparator: pair === null ? (space === null ? ", " : ",") : textOf(pair[0]!, "a separator"),
    keySeparator: pair === null ? ": " : textOf(pair[1]!, "a separator"),
    sortKeys: bound.flag("sort_keys", false),
  });
};

const format: Filter = (value, { positional, named }) => {
  if (positional.length > 0 && named.size > 0) throw failed("format takes positional or named arguments, not both");
  const values = named.size > 0 ? new Dict(named) : new Tuple(positional);
  return formatPercent(show(value), values);
};

const titleWord = new RegExp(`([-${SPACE_CLASS}({\\[<]+)`);

const urlencode: Filter = (value, input) => {
  bind("urlencode", input, []);
  if (isIterable(value) && typeof value !== "string" && !(value instanceof Safe))
    throw lacking("urlencode of anything but text");
  return encodeURIComponent(show(value))
    .replace(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`)
    .replaceAll("%2F", "/");
};

const absolute: Filter = (value, input) => {
  bind("abs", input, []);
  if (value instanceof Undefined) throw undefinedFault(value);
  const number = numberOf(value);
  if (number === undefined) throw failed(`a ${typeName(value)} has no absolute value`);
  return value instanceof Float ? new Float(Math.abs(number)) : exact(Math.abs(number));
};

const fallback: Filter = (value, input) => {
  const bound = bind("default", input, ["default_value", "boolean"]);
  const wanted = value instanceof Undefined || (bound.flag("boolean", false) && !isTrue(value));
  return wanted ? bound.value("default_value", "") : value;
};

const FILTERS: Readonly<Record<string, Filter>> = {
  ...SEQUENCE_FILTERS,
  abs: absolute,
  attr: (value, input) => {
    if (value instanceof Undefined) throw undefinedFault(value);
    const name = bind("attr", input, ["name"]).text("name");
    return orElse(pythonAttribute(value, name), new Undefined(`a ${typeName(value)} has no attribute ${name}`));
  },
  capitalize: ofText("capitalize", capitalize),
  center: (value, input) => {
    const width = bind("center", input, ["width"]).whole("width", 80);
    const missing = Math.max(0, width - codePoints(show(value)));
    const left = centerLeft(missing, width);
    return " ".repeat(left) + show(value) + " ".repeat(missing - left);
  },
  d: fallback,
  default: fallback,
  e: (value) => (value instanceof Safe ? value : escapeHtml(value)),
  escape: (value) => (value instanceof Safe ? value : escapeHtml(value)),
  float: (value, input) => toFloat(value, bind("float", input, ["default"]).value("default", new Float(0))),
  forceescape: escapeHtml,
  format,
  indent,
  int: (value, input) => {
    const bound = bind("int", input, ["default", "base"]);
    return toInt(value, bound.value("default", 0), bound.whole("base", 10));
  },
  lower: ofText("lower", (text) => text.toLowerCase()),
  replace: (value, input) => {
    const bound = bind("replace", input, ["old", "new", "count"]);
    return replace(show(value), show(bound.value("old")), show(bound.value("new")), bound.wholeOrNull("count") ?? -1);
  },
  round: (value, input) => {
    const bound = bind("round", input, ["precision", "method"]);
    return round(value, bound.whole("precision", 0), bound.text("method", "common"));
  },
  safe: (value) => (value instanceof Safe ? value : new Safe(show(value))),
  string: (value) => (value instanceof Safe ? value : show(value)),
  title: ofText("title", (text) =>
    text
      .split(titleWord)
      .map(([first = "", ...rest]) => first.toUpperCase() + rest.join("").toLowerCase())
      .join(""),
  ),
  tojson,
  trim: (value, input) => {
    const characters = bind("trim", input, ["chars"]).value("chars", null);
    return strip(show(value), characters === null ? null : textOf(characters, "chars of trim"), true, true);
  },
  truncate,
  upper: ofText("upper", (text) => text.toUpperCase()),
  urlencode,
  wordcount: ofText("wordcount", (text) => [...text.matchAll(/[\p{L}\p{N}_]+/gu)].length),
};

export const isFilter = (name: string): boolean => Object.hasOwn(FILTERS, name) || NOT_COMPUTED.has(name);

/** Filters under which marked text stays what it is, or that do not look at its mark. */
const TAKES_SAFE = new Set([
  ...["count", "d", "default", "e", "escape", "forceescape", "length", "safe", "string", "tojson"],
]);

/** The filter of a name, for a value. Throws `lacking` or `failed`. */
export function filterFor(name: string, value: Value): Filter {
  if (value instanceof Safe && !TAKES_SAFE.has(name))
    throw lacking(`the filter ${name} on text that was escaped or marked safe`);
  if (NOT_COMPUTED.has(name)) throw lacking(`the filter ${name}`);
  const found = Object.hasOwn(FILTERS, name) ? FILTERS[name] : undefined;
  if (found === undefined) throw failed(`Jinja2 has no filter ${name}`);
  return found;
}
