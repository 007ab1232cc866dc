/** The `normalizer` of tokenizer.json: text → text, character for character as the Rust library does. Pure. */
import { isRecord, type JsonRecord } from "../json.js";
import { BYTE_ALPHABET } from "../token-decoder.js";
import { unsupportedSetting } from "./fault.js";
import { readPattern, replaceMatches } from "./split.js";
import { type CodePoints, classSource, NO_MARKS, NOT_COMPATIBLE, NOT_DECOMPOSED } from "./unicode-versions.js";

export type Normalizer = (text: string) => string;

const SUPPORTED = "Sequence, NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, Strip, Prepend, Replace, Nmt, ByteLevel";

/** What `Nmt` drops and what it turns into spaces, as in the Rust library's do_nmt. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is dropped
const NMT_DROPPED = /[\u0001-\u0008\u000b\u000e-\u001f\u007f\u008f\u009f]/g;
const NMT_SPACES = /[\t\n\f\r\u1680\u200b-\u200f\u2028\u2029\u2581\ufeff\ufffd]/g;

/** Character by character: Rust's `char::to_lowercase` knows no final sigma. */
const lowercase: Normalizer = (text) => text.replace(/[^\0-\x7f]|[A-Z]+/gu, (part) => part.toLowerCase());

function strip(config: JsonRecord): Normalizer {
  const { strip_left: left, strip_right: right } = config;
  if (typeof left !== "boolean" || typeof right !== "boolean")
    throw unsupportedSetting("normalizer", config, "Strip with strip_left and strip_right, true or false");
  return (text) => {
    const begun = left ? text.replace(/^\p{White_Space}+/u, "") : text;
    if (!right) return begun;
    let end = begun.length;
    while (end > 0 && /\p{White_Space}/u.test(begun[end - 1]!)) end -= 1;
    return begun.slice(0, end);
  };
}

/** Normalises what lies between characters that are left as they are. */
function normalForm(form: "NFD" | "NFKC" | "NFKD", kept: CodePoints): Normalizer {
  const between = new RegExp(`([${classSource(kept)}]+)`, "u");
  return (text) => {
    if (!between.test(text)) return text.normalize(form);
    return text
      .split(between)
      .map((part, i) => (i % 2 === 1 ? part : part.normalize(form)))
      .join("");
  };
}

/** Marks by Unicode 9; the two that are named have become letters since. */
const MARKS = new RegExp(`[\\u1cf2\\u1cf3]|(?![${classSource(NO_MARKS)}])\\p{M}`, "gu");

function simple(type: string): Normalizer | null {
  switch (type) {
    case "NFC":
      return (text) => text.normalize("NFC");
    case "NFD":
      return normalForm(type, NOT_DECOMPOSED);
    case "NFKC":
    case "NFKD":
      return normalForm(type, NOT_COMPATIBLE);
    case "Lowercase":
      return lowercase;
    case "StripAccents":
      return (text) => text.replace(MARKS, "");
    case "Nmt":
      return (text) => text.replace(NMT_DROPPED, "").replace(NMT_SPACES, " ");
    case "ByteLevel":
      return (text) => Array.from(Buffer.from(text, "utf8"), (byte) => BYTE_ALPHABET[byte]).join("");
    default:
      return null;
  }
}

/** Builds a normaliser; null changes nothing. Throws WEIR_E_TOKENIZER for a kind or setting that is not computed. */
export function createNormalizer(config: unknown): Normalizer {
  if (config === null || config === undefined) return (text) => text;
  if (!isRecord(config) || typeof config.type !== "string") throw unsupportedSetting("normalizer", config, SUPPORTED);
  switch (config.type) {
    case "Sequence": {
      if (!Array.isArray(config.normalizers)) throw unsupportedSetting("normalizer", config, SUPPORTED);
      const steps = config.normalizers.map(createNormalizer);
      return (text) => steps.reduce((current, step) => step(current), text);
    }
    case "Strip":
      return strip(config);
    case "Prepend": {
      const { prepend } = config;
      if (typeof prepend !== "string") throw unsupportedSetting("normalizer", config, "Prepend with a text");
      return (text) => (text === "" ? "" : prepend + text);
    }
    case "Replace": {
      const { content } = config;
      if (typeof content !== "string") throw unsupportedSetting("normalizer", config, "Replace with a text as content");
      const finder = readPattern("normalizer Replace", config.pattern);
      // The Rust library loses its place in the text, or panics, where nothing is replaced by something.
      if ([...finder("")].length > 0)
        throw unsupportedSetting(
          "normalizer Replace.pattern",
          config.pattern,
          "patterns that do not match an empty text",
        );
      return (text) => replaceMatches(text, finder, content);
    }
    default: {
      const normalizer = simple(config.type);
      if (normalizer === null) throw unsupportedSetting("normalizer", config.type, SUPPORTED);
      return normalizer;
    }
  }
}

/** Whether the first character of a normalised text always comes from the first character of the text. */
export function keepsStart(config: unknown): boolean {
  if (!isRecord(config)) return true;
  if (config.type === "Sequence") return Array.isArray(config.normalizers) && config.normalizers.every(keepsStart);
  return ["NFC", "NFD", "NFKC", "NFKD", "Lowercase", "ByteLevel"].includes(String(config.type));
}
