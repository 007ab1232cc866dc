/**
 * Keeps an API key out of everything that a server sends back: an echo of it, plain or encoded, is redacted
 * before it reaches a reason, a journal, a log or a page.
 */

const REDACTED = "[redacted]";
/** Shortest piece of an encoded key that is looked for; a shorter one would redact ordinary text. */
const PIECE_LIMIT = 6;
/** Shortest key whose abbreviation by a server ("sk-abcdef****") is recognised, and how many characters of each end identify it. */
const ABBREVIATED_FROM = 12;
const END_LENGTH = 6;
/** A header or field that carries a credential, and its value. Bounded repetition keeps the match linear. */
const FIELD =
  /\b((?:authorization|api[-_ ]?key(?:\s{1,5}provided)?)["'\\]{0,5}\s{0,5}[:=]\s{0,5}["'\\]{0,5}(?:(?:bearer|basic)\s{1,5})?)[^\s"'\\,;<>{}]{4,}/gi;
const SCHEME = /\b((?:bearer|basic)\s{1,5})(?=\S*\d)[^\s"'\\,;<>{}]{8,}/gi;

/** A function that redacts `key` in all its forms, abbreviated ones too, and every value that a text names as a credential. */
export function redactor(key: string | null): (text: string) => string {
  const forms = key === null || key === "" ? null : formsOf(key);
  const ends = key === null || key.length < ABBREVIATED_FROM ? [] : [key.slice(0, END_LENGTH), key.slice(-END_LENGTH)];
  return (text) => {
    let clean = forms === null ? text : text.replace(forms, REDACTED);
    for (const end of ends) clean = clean.replace(/\S+/g, (word) => (word.includes(end) ? REDACTED : word));
    return clean.replace(FIELD, `$1${REDACTED}`).replace(SCHEME, `$1${REDACTED}`);
  };
}

/** The key as such and as JSON, URLs, HTML, base64 (at any offset), base64url and hexadecimal write it, in any case. */
function formsOf(key: string): RegExp {
  const json = JSON.stringify(key).slice(1, -1);
  const escaped = [...key].map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`).join("");
  const html = key.replace(/[&<>"']/g, (sign) => `&${HTML[sign]};`);
  const bytes = Buffer.from(key);
  const encoded = [
    bytes.toString("hex"),
    ...base64Pieces(bytes).flatMap((piece) => [piece, piece.replaceAll("+", "-").replaceAll("/", "_")]),
  ].filter((piece) => piece.length >= PIECE_LIMIT);
  const url = encodeURIComponent(key);
  const wholeUrl = bytes.toString("hex").replace(/../g, "%$&");
  const reversed = [...key].reverse().join("");
  const plain = [
    key,
    json,
    json.replaceAll("/", "\\/"),
    JSON.stringify(json).slice(1, -1),
    escaped,
    html,
    url,
    wholeUrl,
  ];
  const forms = [...new Set([...plain, reversed, ...encoded])].sort((a, b) => b.length - a.length);
  return new RegExp(forms.map((form) => form.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&")).join("|"), "gi");
}

const HTML: Readonly<Record<string, string>> = { "&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "#39" };

/** The characters of base64 that depend on the key alone, for each place that its first byte can have in a group of three. */
function base64Pieces(bytes: Buffer): string[] {
  return [0, 1, 2].map((offset) => {
    const text = Buffer.concat([Buffer.alloc(offset), bytes])
      .toString("base64")
      .replace(/=+$/, "");
    const first = Math.ceil((offset * 8) / 6);
    const last = Math.floor(((offset + bytes.length) * 8) / 6);
    return text.slice(first, last);
  });
}
