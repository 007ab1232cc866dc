/**
 * Cuts a Jinja template into text and tokens, as Jinja2 3.1 does with trim_blocks, lstrip_blocks, newline_sequence "\n"
 * and keep_trailing_newline off. Owns every white-space rule of templates.
 */
import { TemplateFault } from "./fault.js";

export type TokenKind =
  | "data"
  | "blockBegin"
  | "blockEnd"
  | "variableBegin"
  | "variableEnd"
  | "name"
  | "string"
  | "integer"
  | "float"
  | "operator"
  | "end";

export interface Token {
  readonly kind: TokenKind;
  /** Text of data, decoded text of a string, digits of a number, else the characters themselves. */
  readonly value: string;
  readonly line: number;
}

/** Characters for which Python's str.isspace is true, as the inside of a regular expression's class. */
export const SPACE_CLASS = "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";

const LEADING_SPACE = new RegExp(`[${SPACE_CLASS}]*`, "y");
const TRAILING_SPACE = new RegExp(`[${SPACE_CLASS}]+$`);
const ONLY_SPACE = new RegExp(`^[${SPACE_CLASS}]+$`);
const RAW_BEGIN = new RegExp(`\\{%([-+]?)[${SPACE_CLASS}]*raw[${SPACE_CLASS}]*(?:-%\\}[${SPACE_CLASS}]*|%\\})`, "y");
const RAW_END = new RegExp(
  `\\{%([-+]?)[${SPACE_CLASS}]*endraw[${SPACE_CLASS}]*(?:\\+%\\}|-%\\}[${SPACE_CLASS}]*|%\\}\\n?)`,
  "g",
);
const NAME = /[\p{L}\p{Nl}_][\p{L}\p{Nl}\p{Mn}\p{Mc}\p{Nd}\p{Pc}]*/uy;
const STRING = /'([^'\\]*(?:\\[\s\S][^'\\]*)*)'|"([^"\\]*(?:\\[\s\S][^"\\]*)*)"/y;
const FLOAT = /(?:\d+_)*\d+(?:(?:\.(?:\d+_)*\d+)?e[+-]?(?:\d+_)*\d+|\.(?:\d+_)*\d+)/iy;
const INTEGER = /0b(?:_?[01])+|0o(?:_?[0-7])+|0x(?:_?[\da-f])+|[1-9](?:_?\d)*|0(?:_?0)*/iy;
const OPERATORS = [..."// ** == != >= <=".split(" "), ..."+ - / * % ~ [ ] ( ) { } > < = . : | , ;".split(" ")] as const;
const CLOSING: Readonly<Record<string, string>> = { "(": ")", "[": "]", "{": "}" };

const SIMPLE_ESCAPES: Readonly<Record<string, string>> = {
  n: "\n",
  r: "\r",
  t: "\t",
  a: "\x07",
  b: "\b",
  f: "\f",
  v: "\v",
  "\\": "\\",
  "'": "'",
  '"': '"',
  "\n": "",
};

/** Python's escapes in a string literal; an unknown escape keeps its backslash. */
function decodeEscapes(text: string, line: number): string {
  return text.replace(
    /\\(?:x([\da-fA-F]{2})|u([\da-fA-F]{4})|U([\da-fA-F]{8})|([0-7]{1,3})|([xuUN])|([\s\S]))/g,
    (whole, hex2, hex4, hex8, octal, broken, other: string) => {
      if (broken !== undefined) throw new TemplateFault("syntax", `the escape ${whole} in a string is broken`, line);
      const digits: string | undefined = hex2 ?? hex4 ?? hex8;
      const code = digits !== undefined ? Number.parseInt(digits, 16) : Number.parseInt(octal ?? "", 8);
      if (!Number.isNaN(code)) {
        if (code > 0x10ffff) throw new TemplateFault("syntax", `the escape ${whole} is no character`, line);
        return String.fromCodePoint(code);
      }
      return SIMPLE_ESCAPES[other] ?? whole;
    },
  );
}

class Lexer {
  readonly tokens: Token[] = [];
  #position = 0;
  #line = 1;
  #counted = 0;

  constructor(private readonly source: string) {}

  #lineAt(position: number): number {
    if (position < this.#counted) {
      this.#counted = 0;
      this.#line = 1;
    }
    for (; this.#counted < position; this.#counted += 1) if (this.source[this.#counted] === "\n") this.#line += 1;
    return this.#line;
  }

  #add(kind: TokenKind, value: string, at: number): void {
    this.tokens.push({ kind, value, line: this.#lineAt(at) });
  }

  #match(pattern: RegExp): RegExpExecArray | null {
    pattern.lastIndex = this.#position;
    return pattern.exec(this.source);
  }

  /** Text before a tag: `-` takes all space at its end, a block or comment takes the indentation of its own line. */
  #before(text: string, sign: string, strips: boolean): string {
    if (sign === "-") return text.replace(TRAILING_SPACE, "");
    if (sign === "+" || !strips) return text;
    const lineStart = text.lastIndexOf("\n") + 1;
    // A piece of text that starts within a line is no indentation.
    const startsLine = lineStart > 0 || this.#position === 0 || this.source[this.#position - 1] === "\n";
    return startsLine && ONLY_SPACE.test(text.slice(lineStart)) ? text.slice(0, lineStart) : text;
  }

  run(): Token[] {
    const { source } = this;
    while (this.#position < source.length) {
      const tag = this.#nextTag();
      if (tag === -1) {
        this.#add("data", source.slice(this.#position), this.#position);
        break;
      }
      const opening = source.slice(tag, tag + 2);
      const sign = /[-+]/.exec(source[tag + 2] ?? "")?.[0] ?? "";
      const text = this.#before(source.slice(this.#position, tag), sign, opening !== "{{");
      if (text !== "") this.#add("data", text, this.#position);
      this.#position = tag;
      if (opening === "{#") this.#comment(tag, sign);
      else if (opening === "{{") this.#expression("variable", tag, sign);
      else if (!this.#raw(tag)) this.#expression("block", tag, sign);
    }
    this.#add("end", "", source.length);
    return this.tokens;
  }

  #nextTag(): number {
    const found = /\{[{%#]/g;
    found.lastIndex = this.#position;
    return found.exec(this.source)?.index ?? -1;
  }

  #comment(tag: number, sign: string): void {
    const end = this.source.indexOf("#}", tag + 2 + sign.length);
    if (end === -1) throw new TemplateFault("syntax", "a comment {# is never closed", this.#lineAt(tag));
    this.#position = end + 2;
    this.#after(end > tag + 2 + sign.length ? (this.source[end - 1] ?? "") : "", true);
  }

  /** White space behind a closing tag. `sign` is the character before it. */
  #after(sign: string, trimsNewline: boolean): void {
    if (sign === "-") this.#position += this.#match(LEADING_SPACE)?.[0].length ?? 0;
    else if (sign !== "+" && trimsNewline && this.source[this.#position] === "\n") this.#position += 1;
  }

  #raw(tag: number): boolean {
    const begin = this.#match(RAW_BEGIN);
    if (begin === null) return false;
    const start = tag + begin[0].length;
    RAW_END.lastIndex = start;
    const end = RAW_END.exec(this.source);
    if (end === null) throw new TemplateFault("syntax", "{% raw %} has no {% endraw %}", this.#lineAt(tag));
    this.#position = start;
    const text = this.#before(this.source.slice(start, end.index), end[1] ?? "", true);
    if (text !== "") this.#add("data", text, start);
    this.#position = end.index + end[0].length;
    return true;
  }

  #expression(kind: "block" | "variable", tag: number, sign: string): void {
    this.#add(kind === "block" ? "blockBegin" : "variableBegin", "", tag);
    this.#position = tag + 2 + sign.length;
    const close = kind === "block" ? "%}" : "}}";
    const open: string[] = [];
    for (;;) {
      this.#position += this.#match(LEADING_SPACE)?.[0].length ?? 0;
      const at = this.#position;
      if (at >= this.source.length)
        throw new TemplateFault("syntax", `${kind === "block" ? "{%" : "{{"} is never closed`, this.#lineAt(tag));
      if (open.length === 0) {
        const mark = /^(?:-|\+)?/.exec(this.source.slice(at, at + 1))?.[0] ?? "";
        // `+}}` is no closing mark of an expression in Jinja2.
        const marked = mark !== "" && !(kind === "variable" && mark === "+") && this.source.startsWith(close, at + 1);
        if (marked || this.source.startsWith(close, at)) {
          this.#add(kind === "block" ? "blockEnd" : "variableEnd", "", at);
          this.#position = at + (marked ? 3 : 2);
          this.#after(marked ? mark : "", kind === "block");
          return;
        }
      }
      this.#token(at, open);
    }
  }

  #token(at: number, open: string[]): void {
    const previous = this.source[at - 1] ?? "";
    const found: [TokenKind, RegExpExecArray | null][] = [
      ["float", previous === "." ? null : this.#match(FLOAT)],
      ["integer", this.#match(INTEGER)],
      ["name", this.#match(NAME)],
      ["string", this.#match(STRING)],
    ];
    for (const [kind, match] of found) {
      if (match === null) continue;
      const line = this.#lineAt(at);
      const value = kind === "string" ? decodeEscapes(match[1] ?? match[2] ?? "", line) : match[0];
      this.tokens.push({ kind, value, line });
      this.#position = at + match[0].length;
      return;
    }
    const operator = OPERATORS.find((candidate) => this.source.startsWith(candidate, at));
    if (operator === undefined)
      throw new TemplateFault("syntax", `unexpected character ${JSON.stringify(this.source[at])}`, this.#lineAt(at));
    if (operator in CLOSING) open.push(CLOSING[operator]!);
    else if (")]}".includes(operator) && open.pop() !== operator)
      throw new TemplateFault("syntax", `unexpected "${operator}"`, this.#lineAt(at));
    this.#add("operator", operator, at);
    this.#position = at + operator.length;
  }
}

/** Tokens of a template. Line ends become "\n", and one at the end of the text is dropped. Throws TemplateFault. */
export function tokenize(source: string): Token[] {
  return new Lexer(source.replace(/\r\n?/g, "\n").replace(/\n$/, "")).run();
}
