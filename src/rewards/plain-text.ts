/**
 * Removes markup: the plain text of an answer without Markdown, LaTeX, HTML and Unicode variants (paper mode only).
 * Invariants: one pass per rule, linear in the length of the text; digits, letters, signs and line ends keep their order.
 */

/** Characters that show nothing: soft hyphen, zero-width and direction marks, byte-order mark, variation selectors … */
const INVISIBLE = /\p{Default_Ignorable_Code_Point}/gu;
const LINE_END = /\r\n?|[\v\f\x85\u2028\u2029]/g;
/** White space but line ends, and control characters, some of which Python counts as white space. */
const SPACE = /[^\S\n]|(?!\n)\p{Cc}/gu;
/** Full-width forms of ASCII; each lies 0xfee0 above its plain form. */
const FULL_WIDTH = /[\uff01-\uff5e]/g;

const TAGS = "b|strong|i|em|u|code|p|span|div|answer|small|mark|font|center|li|ul|ol|h[1-6]|math|mrow|mn|mi";
const HTML: readonly (readonly [RegExp, string])[] = [
  [/<br\s?\/?>/gi, "\n"],
  [/<sup>/gi, "^{"],
  [/<\/sup>/gi, "}"],
  [new RegExp(`</?(?:${TAGS})(?:\\s[^<>]{0,200})?>`, "gi"), ""],
  [/&nbsp;/gi, " "],
  [/&minus;/gi, "-"],
  [/&(?:n|m)dash;/gi, "–"],
  [/&times;/gi, "×"],
  [/&percnt;/gi, "%"],
  [/&(?:quot|ldquo|rdquo|#34);/gi, '"'],
  [/&(?:apos|lsquo|rsquo|#39);/gi, "'"],
  [/&lt;/gi, "<"],
  [/&gt;/gi, ">"],
  [/&amp;/gi, "&"],
];

/** LaTeX commands whose argument is shown as it is. */
const WRAPPERS = new Set(
  (
    "boxed fbox framebox text textbf textit textrm texttt textsf textnormal emph underline mathrm mathbf mathit mathsf " +
    "mathtt mathnormal mbox hbox operatorname bm boldsymbol ensuremath displaystyle textstyle"
  ).split(" "),
);
/** LaTeX commands that stand for a character or for nothing. */
const COMMANDS: Readonly<Record<string, string>> = {
  left: "",
  right: "",
  big: "",
  Big: "",
  bigl: "",
  bigr: "",
  displaystyle: "",
  textstyle: "",
  quad: " ",
  qquad: " ",
  thinspace: " ",
  times: "×",
  cdot: "·",
  div: "÷",
  pm: "±",
  approx: "≈",
  simeq: "≈",
  sim: "≈",
  cong: "≈",
  le: "≤",
  leq: "≤",
  ge: "≥",
  geq: "≥",
  lt: "<",
  gt: ">",
  pi: "π",
  infty: "∞",
  circ: "°",
  degree: "°",
  dots: "…",
  ldots: "…",
  pounds: "£",
  euro: "€",
  yen: "¥",
  dollar: "$",
  textdollar: "$",
  percent: "%",
  dfrac: "\\frac",
  tfrac: "\\frac",
  cfrac: "\\frac",
  nicefrac: "\\frac",
  sfrac: "\\frac",
};
/** What a backslash before one character means; other characters stand for themselves ("\%"). */
const ESCAPES: Readonly<Record<string, string>> = {
  "(": "",
  ")": "",
  "[": "",
  "]": "",
  ",": " ",
  ";": " ",
  ":": " ",
  " ": " ",
  "!": "",
  "\\": "\n",
};
const LATEX = /\\([a-zA-Z]+)\s?|\\([^a-zA-Z])|[{}]/g;

/**
 * Wrappers without their braces, symbols by their characters, `{,}` as a comma. Other commands and braces stay. Two runs of
 * digits that only a wrapper kept apart are kept apart by a space.
 */
function withoutLatex(text: string): string {
  if (!/[\\{]/.test(text)) return text;
  const source = text
    .replace(/\{([,.])\}/g, "$1")
    .replace(/\^\s?(?:\{\s?\\circ\s?\}|\\circ)/g, "°")
    .replaceAll("$$", "");
  const out: string[] = [];
  const open: boolean[] = [];
  let at = 0;
  const add = (piece: string) => {
    if (piece === "") return;
    if (/\d$/.test(out.at(-1) ?? "") && /^\d/.test(piece)) out.push(" ");
    out.push(piece);
  };
  for (const match of source.matchAll(LATEX)) {
    if (match.index < at) continue;
    add(source.slice(at, match.index));
    at = match.index + match[0].length;
    const [whole, name, escaped] = match;
    if (name !== undefined && WRAPPERS.has(name) && source[at] === "{") {
      open.push(true);
      at++;
    } else if (name !== undefined) {
      add(Object.hasOwn(COMMANDS, name) ? (COMMANDS[name] as string) : whole);
    } else if (escaped !== undefined) {
      add(ESCAPES[escaped] ?? escaped);
    } else if (whole === "{") {
      open.push(false);
      add(whole);
    } else if (open.pop() !== true) {
      add(whole);
    }
  }
  add(source.slice(at));
  return out.join("");
}

/** Asterisks that multiply: between two digits or brackets, spaces aside. All others are emphasis. */
const PRODUCT_LEFT = /[\p{N})}\]]\s*$/u;
const PRODUCT_RIGHT = /^\s*[\p{N}({\\.]/u;

function withoutEmphasis(text: string): string {
  const stars = text.replace(/\*+/g, (run, index: number) => {
    const product =
      PRODUCT_LEFT.test(text.slice(Math.max(0, index - 4), index)) &&
      PRODUCT_RIGHT.test(text.slice(index + run.length, index + run.length + 4));
    return product && run.length <= 2 ? run : "";
  });
  return stars.replace(/(?<![\p{L}\p{N}_])_{1,3}(?=[^\s_])|(?<=[^\s_])_{1,3}(?![\p{L}\p{N}_])/gu, "");
}

/** The text as a reader sees it: NFC, plain spaces and line ends, ASCII for full-width forms, no markup. */
export function plainText(text: string): string {
  let plain = squeezed(text.normalize("NFC").replace(LINE_END, "\n").replace(INVISIBLE, "").replace(SPACE, " "));
  plain = plain.replace(FULL_WIDTH, (character) => String.fromCharCode(character.charCodeAt(0) - 0xfee0));
  for (const [pattern, by] of HTML) plain = plain.replace(pattern, by);
  return squeezed(withoutEmphasis(withoutLatex(plain)));
}

/** Runs of spaces become one, runs of empty lines one; later patterns rely on it for their running time. */
function squeezed(text: string): string {
  return text
    .replace(/[^\S\n]+/g, " ")
    .replace(/ ?\n ?/g, "\n")
    .replace(/\n{3,}/g, "\n\n");
}
