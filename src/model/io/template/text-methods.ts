/** The methods of Python's str that templates may call. Positions and lengths count code points. */
import { type Bound, bind, textOf } from "./arguments.js";
import { failed, lacking } from "./fault.js";
import { formatBraces } from "./format.js";
import { SPACE_CLASS } from "./lexer.js";
import { charactersBefore } from "./operators.js";
import { type CallInput, codePoints, Dict, isBasic, iterate, Tuple, typeName, type Value } from "./values.js";

type Method = (text: string, input: CallInput) => Value;

const LEFT_SPACE = new RegExp(`^[${SPACE_CLASS}]+`);
const RIGHT_SPACE = new RegExp(`[${SPACE_CLASS}]+$`);
const ONLY_SPACE = new RegExp(`^[${SPACE_CLASS}]+$`);
/** Line ends of str.splitlines that are one character. */
const LINE_END_CLASS = "\n\r\v\f\x1c-\x1e\x85\u2028\u2029";
const LINE_ENDS = new RegExp(`\r\n|[${LINE_END_CLASS}]`, "g");
/** Characters whose title case is neither their upper case nor its first letter. */
const TITLE_CASE: Readonly<Record<string, string>> = {
  Ǆ: "ǅ",
  ǆ: "ǅ",
  Ǉ: "ǈ",
  ǉ: "ǈ",
  Ǌ: "ǋ",
  ǋ: "ǋ",
  ǌ: "ǋ",
  Ǳ: "ǲ",
  ǳ: "ǲ",
};

function titleCharacter(character: string): string {
  const known = TITLE_CASE[character];
  if (known !== undefined) return known;
  const [first = "", ...rest] = character.toUpperCase();
  return first + rest.join("").toLowerCase();
}

/** The first character in title case, the rest in lower case. */
export function capitalize(text: string): string {
  const [first = ""] = text;
  return titleCharacter(first) + text.slice(first.length).toLowerCase();
}

/** str.strip with its characters, or Python's white space. */
export function strip(text: string, characters: string | null, left: boolean, right: boolean): string {
  if (characters === null) {
    const start = left ? text.replace(LEFT_SPACE, "") : text;
    return right ? start.replace(RIGHT_SPACE, "") : start;
  }
  const set = new Set(characters);
  const all = [...text];
  let start = 0;
  let end = all.length;
  while (left && start < end && set.has(all[start]!)) start += 1;
  while (right && end > start && set.has(all[end - 1]!)) end -= 1;
  return all.slice(start, end).join("");
}

/** str.splitlines. */
export function splitLines(text: string, keepEnds = false): string[] {
  const lines: string[] = [];
  let start = 0;
  for (const match of text.matchAll(LINE_ENDS)) {
    const end = match.index + match[0].length;
    lines.push(text.slice(start, keepEnds ? end : match.index));
    start = end;
  }
  if (start < text.length) lines.push(text.slice(start));
  return lines;
}

/** str.split and str.rsplit. A null separator is any white space; a negative limit is none. */
export function split(text: string, separator: string | null, limit: number, fromRight = false): string[] {
  if (separator === "") throw failed("split needs a separator that is not empty");
  const most = limit < 0 ? Number.POSITIVE_INFINITY : limit;
  if (separator !== null) {
    const parts = text.split(separator);
    if (parts.length - 1 <= most) return parts;
    return fromRight
      ? [parts.slice(0, parts.length - most).join(separator), ...parts.slice(parts.length - most)]
      : [...parts.slice(0, most), parts.slice(most).join(separator)];
  }
  const words = [...text.matchAll(new RegExp(`[^${SPACE_CLASS}]+`, "g"))];
  if (words.length <= most) return words.map(([word]) => word);
  if (fromRight) {
    const kept = words.slice(words.length - most);
    const last = words[words.length - most - 1];
    const rest = last === undefined ? "" : text.slice(0, last.index + last[0].length);
    return [...(rest === "" ? [] : [rest]), ...kept.map(([word]) => word)];
  }
  const rest = strip(text.slice(words[most]!.index), null, false, false);
  return [...words.slice(0, most).map(([word]) => word), rest];
}

/** str.replace; a negative count replaces all. */
export function replace(text: string, from: string, to: string, count: number): string {
  const most = count < 0 ? Number.POSITIVE_INFINITY : count;
  if (from === "") {
    const characters = [...text];
    let out = "";
    let done = 0;
    for (const character of characters) {
      if (done < most) out += to;
      done += 1;
      out += character;
    }
    return done < most ? out + to : out;
  }
  const parts = text.split(from);
  if (parts.length - 1 <= most) return parts.join(to);
  return parts.slice(0, most + 1).join(to) + from + parts.slice(most + 1).join(from);
}

/**
 * The part of the text between the positions `start` and `end` of a call, and the number of characters before it; null where
 * start lies behind the end of the text, which holds nothing, not even an empty text.
 */
function window(text: string, bound: Bound): { readonly part: string; readonly offset: number } | null {
  const [from, to] = [bound.wholeOrNull("start"), bound.wholeOrNull("end")];
  if (from === null && to === null) return { part: text, offset: 0 };
  const characters = [...text];
  const clamp = (index: number) =>
    index < 0 ? Math.max(0, index + characters.length) : Math.min(index, characters.length);
  const start = clamp(from ?? 0);
  const end = clamp(to ?? characters.length);
  if ((from ?? 0) > characters.length || start > end) return null;
  return { part: characters.slice(start, end).join(""), offset: start };
}

function find(last: boolean, missing: "fail" | "minus"): Method {
  return (text, input) => {
    const bound = bind("find", input, ["sub", "start", "end", "/"]);
    const found = window(text, bound);
    const sub = bound.text("sub");
    const index = found === null ? -1 : last ? found.part.lastIndexOf(sub) : found.part.indexOf(sub);
    if (found !== null && index >= 0) return found.offset + charactersBefore(found.part, index);
    if (missing === "fail") throw failed("the text that index looks for is not there");
    return -1;
  };
}

function edge(matches: (text: string, part: string) => boolean): Method {
  return (text, input) => {
    const bound = bind("startswith or endswith", input, ["prefix", "start", "end", "/"]);
    const found = window(text, bound);
    const wanted = bound.value("prefix");
    const all = wanted instanceof Tuple ? wanted.items : [wanted];
    const candidates = all.map((one) => textOf(one, "a prefix or suffix"));
    return found !== null && candidates.some((candidate) => matches(found.part, candidate));
  };
}

function stripping(left: boolean, right: boolean): Method {
  return (text, input) => {
    const characters = bind("strip", input, ["chars", "/"]).value("chars", null);
    return strip(text, characters === null ? null : textOf(characters, "the characters of strip"), left, right);
  };
}

function splitting(fromRight: boolean): Method {
  return (text, input) => {
    const bound = bind("split", input, ["sep", "maxsplit"]);
    const separator = bound.value("sep", null);
    return split(text, separator === null ? null : bound.text("sep"), bound.whole("maxsplit", -1), fromRight);
  };
}

/** Pads to a width. `before` is how many of the missing characters stand left. */
function padding(before: (missing: number, width: number) => number): Method {
  return (text, input) => {
    const bound = bind("center, ljust or rjust", input, ["width", "fillchar", "/"]);
    const fill = bound.text("fillchar", " ");
    if (codePoints(fill) !== 1) throw failed("the character to fill with must be one");
    const width = bound.whole("width");
    const missing = Math.max(0, width - codePoints(text));
    const left = before(missing, width);
    return fill.repeat(left) + text + fill.repeat(missing - left);
  };
}

/** str.center puts the odd character on the left where the width is odd. */
export const centerLeft = (missing: number, width: number): number => Math.floor(missing / 2) + (missing & width & 1);

function partition(last: boolean): Method {
  return (text, input) => {
    const separator = bind("partition", input, ["sep", "/"]).text("sep");
    if (separator === "") throw failed("partition needs a separator that is not empty");
    const index = last ? text.lastIndexOf(separator) : text.indexOf(separator);
    if (index < 0) return new Tuple(last ? ["", "", text] : [text, "", ""]);
    return new Tuple([text.slice(0, index), separator, text.slice(index + separator.length)]);
  };
}

/** A method without arguments. */
const plain =
  (compute: (text: string) => Value): Method =>
  (text, input) => {
    bind("this method", input, []);
    return compute(text);
  };

/** True where the text is not empty and each character matches. */
const all = (pattern: RegExp): Method => plain((text) => pattern.test(text));

function cased(upper: boolean): Method {
  return plain((text) => {
    const wrong = upper ? /[\p{Lowercase}\p{Lt}]/u : /[\p{Uppercase}\p{Lt}]/u;
    return !wrong.test(text) && (upper ? /\p{Uppercase}/u : /\p{Lowercase}/u).test(text);
  });
}

function title(text: string): string {
  let inWord = false;
  let out = "";
  for (const character of text) {
    out += inWord ? character.toLowerCase() : titleCharacter(character);
    inWord = /[\p{Cased}]/u.test(character);
  }
  return out;
}

function isTitle(text: string): boolean {
  let previousCased = false;
  let found = false;
  for (const character of text) {
    const upper = /[\p{Uppercase}\p{Lt}]/u.test(character);
    const lower = /\p{Lowercase}/u.test(character);
    if ((upper && previousCased) || (lower && !previousCased)) return false;
    previousCased = upper || lower;
    found ||= previousCased;
  }
  return found;
}

function expandTabs(text: string, size: number): string {
  let column = 0;
  let out = "";
  for (const character of text) {
    if (character === "\t") {
      const width = size > 0 ? size - (column % size) : 0;
      out += " ".repeat(width);
      column += width;
    } else {
      out += character;
      column = character === "\n" || character === "\r" ? 0 : column + 1;
    }
  }
  return out;
}

function count(text: string, input: CallInput): Value {
  const bound = bind("count", input, ["sub", "start", "end", "/"]);
  const found = window(text, bound);
  const sub = bound.text("sub");
  if (found === null) return 0;
  return sub === "" ? codePoints(found.part) + 1 : found.part.split(sub).length - 1;
}

function join(text: string, input: CallInput): Value {
  const items = bind("join", input, ["iterable", "/"]).value("iterable");
  const parts: string[] = [];
  for (const item of iterate(items)) {
    if (typeof item !== "string") throw failed(`join needs texts, got a ${typeName(item)}`);
    parts.push(item);
  }
  return parts.join(text);
}

function zeroFill(text: string, input: CallInput): Value {
  const missing = bind("zfill", input, ["width", "/"]).whole("width") - codePoints(text);
  if (missing <= 0) return text;
  const sign = /^[+-]/.exec(text)?.[0] ?? "";
  return sign + "0".repeat(missing) + text.slice(sign.length);
}

const METHODS: ReadonlyMap<string, Method> = new Map<string, Method>([
  ["capitalize", plain(capitalize)],
  ["casefold", plain((text) => casefold(text))],
  ["center", padding(centerLeft)],
  ["count", count],
  ["endswith", edge((text, part) => text.endsWith(part))],
  ["expandtabs", (text, input) => expandTabs(text, bind("expandtabs", input, ["tabsize"]).whole("tabsize", 8))],
  ["find", find(false, "minus")],
  ["index", find(false, "fail")],
  ["isalnum", all(/^[\p{L}\p{N}]+$/u)],
  ["isalpha", all(/^\p{L}+$/u)],
  ["isascii", all(/^[\0-\x7f]*$/u)],
  ["isdecimal", all(/^\p{Nd}+$/u)],
  ["isdigit", all(/^[\p{Nd}\xb2\xb3\xb9\u2070\u2074-\u2079\u2080-\u2089\u2460-\u2468]+$/u)],
  ["isidentifier", all(/^[\p{L}\p{Nl}_][\p{L}\p{Nl}\p{Mn}\p{Mc}\p{Nd}\p{Pc}]*$/u)],
  ["islower", cased(false)],
  ["isnumeric", all(/^\p{N}+$/u)],
  ["isprintable", plain((text) => !/[\p{C}\p{Z}]/u.test(text.replaceAll(" ", "")))],
  ["isspace", all(ONLY_SPACE)],
  ["istitle", plain(isTitle)],
  ["isupper", cased(true)],
  ["join", join],
  ["ljust", padding(() => 0)],
  ["lower", plain((text) => text.toLowerCase())],
  ["lstrip", stripping(true, false)],
  ["partition", partition(false)],
  [
    "removeprefix",
    (text, input) => {
      const prefix = bind("removeprefix", input, ["prefix", "/"]).text("prefix");
      return text.startsWith(prefix) ? text.slice(prefix.length) : text;
    },
  ],
  [
    "removesuffix",
    (text, input) => {
      const suffix = bind("removesuffix", input, ["suffix", "/"]).text("suffix");
      return suffix !== "" && text.endsWith(suffix) ? text.slice(0, -suffix.length) : text;
    },
  ],
  [
    "replace",
    (text, input) => {
      const bound = bind("replace", input, ["old", "new", "count", "/"]);
      return replace(text, bound.text("old"), bound.text("new"), bound.whole("count", -1));
    },
  ],
  ["rfind", find(true, "minus")],
  ["rindex", find(true, "fail")],
  ["rjust", padding((missing) => missing)],
  ["rpartition", partition(true)],
  ["rsplit", splitting(true)],
  ["rstrip", stripping(false, true)],
  ["split", splitting(false)],
  ["splitlines", (text, input) => splitLines(text, bind("splitlines", input, ["keepends"]).flag("keepends", false))],
  ["startswith", edge((text, part) => text.startsWith(part))],
  ["strip", stripping(true, true)],
  ["swapcase", plain((text) => Array.from(text, swapCase).join(""))],
  ["title", plain(title)],
  ["upper", plain((text) => text.toUpperCase())],
  ["zfill", zeroFill],
]);

function swapCase(character: string): string {
  if (/\p{Uppercase}/u.test(character)) return character.toLowerCase();
  return /\p{Lowercase}/u.test(character) ? character.toUpperCase() : character;
}

function casefold(text: string): string {
  if (!isBasic(text) || /[^\0-\xff]/.test(text)) throw lacking("casefold of text outside Latin-1");
  return text.toLowerCase().replaceAll("ß", "ss").replaceAll("µ", "μ");
}

/** Methods of str that Jinja2 offers and this engine does not compute. */
const OTHERS = new Set(["encode", "maketrans", "translate"]);

/** A method of a text by name; undefined where str has none. `resolve` is for `format`. */
export function textMethod(
  name: string,
  resolve: (value: Value, name: string, isItem: boolean) => Value,
): Method | undefined {
  if (OTHERS.has(name)) throw lacking(`the method ${name} of text`);
  if (name === "format") return (text, input) => formatBraces(text, input, resolve);
  if (name === "format_map")
    return (text, input) => {
      const mapping = bind("format_map", input, ["mapping", "/"]).value("mapping");
      if (!(mapping instanceof Dict)) throw failed("format_map needs a dict");
      const named = new Map(mapping.entries().map(([key, value]) => [textOf(key, "a key"), value] as const));
      return formatBraces(text, { positional: [], named }, resolve);
    };
  return METHODS.get(name);
}
