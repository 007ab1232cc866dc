/** LaTeX of short mathematical answers, reduced to what carries meaning: no spacing, sizing, units, currencies and thousands separators. */

/** Units and nouns that may follow a number; MATH's answers have them. */
const UNITS =
  "mm|cm|km|m|kg|mg|g|s|min|h|inches|inch|feet|foot|ft|miles|mile|meters|metres|meter|hours|hour|minutes|minute|seconds|second|days|day|weeks|weeks|years|year|degrees|degree|dollars|dollar|cents|cent|euros|euro|units|unit|points|point|mph|pounds|pound|liters|litres|percent";
const UNIT_AFTER_NUMBER = new RegExp(
  `(\\d|\\})\\s*(?:\\\\(?:text|mathrm|mbox|textrm)\\{\\s*(?:${UNITS})\\.?\\s*\\}|\\s(?:${UNITS})\\b\\.?)(?:\\^\\{?[23]\\}?)?`,
  "gi",
);
const SPACING = /\\(?:[,;:! ]|quad|qquad|displaystyle|textstyle|left|right|big|Big|bigg|Bigg)(?![a-zA-Z])/g;
const GROUPED = /(?<![\d.,])(\d{1,3}(?:,\d{3})+)(?![\d,])/g;

/** The same answer in fewer signs. */
export function plainLatex(latex: string): string {
  return latex
    .replaceAll("{,}", ",")
    .replaceAll("\\!", "")
    .replace(SPACING, (space) => (/[a-z]/i.test(space) && !/\\q/.test(space) ? "" : " "))
    .replace(/\\[dt]frac(?![a-zA-Z])/g, "\\frac")
    .replace(/\^\s*\{?\s*\\circ\s*\}?|°/g, "")
    .replace(/\\?[$€£¥]/g, "")
    .replace(/\\%|\\text\{\s*%\s*\}/g, "%")
    .replace(/\s(?:percent|pct)\b/gi, "%")
    .replace(UNIT_AFTER_NUMBER, "$1")
    .replace(/\\(?:cdot|times|ast)(?![a-zA-Z])|[×·]/g, "*")
    .replace(/\\div(?![a-zA-Z])|÷/g, "/")
    .replace(/[−–]/g, "-")
    .replace(/\\(?:text|mathrm|mbox|textrm)\{\s*(?:and|or)\s*\}|\\(?:land|lor)(?![a-zA-Z])/g, ",")
    .replace(GROUPED, (number) => number.replaceAll(",", ""))
    .trim()
    .replace(/\.+$/, "");
}

/** The inside of the brace that opens at `open`; null where it is never closed. */
export function braced(text: string, open: number): string | null {
  let depth = 0;
  for (let at = open; at < text.length; at++) {
    const sign = text[at];
    if (sign === "\\") at++;
    else if (sign === "{") depth++;
    else if (sign === "}" && --depth === 0) return text.slice(open + 1, at);
  }
  return null;
}

/** The words of an answer that is words: those in `\text{…}`, or letters and spaces with three letters in a row. Null otherwise. */
export function wordsOf(latex: string): string | null {
  const bare = latex.replace(/\\(?:text|textbf|mathrm|mbox|textrm)\{([^{}]*)\}/g, "$1").trim();
  if (!/^[\p{L}\s'-]+$/u.test(bare)) return null;
  if (bare === latex && !/\p{L}{3}/u.test(bare)) return null;
  return bare.toLowerCase().replace(/\s+/g, "");
}
