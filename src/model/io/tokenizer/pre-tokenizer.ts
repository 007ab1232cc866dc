/**
 * The `pre_tokenizer` of tokenizer.json: cuts normalised text into the words that BPE sees, as the Rust library does.
 * Pure. Invariant: no piece is empty.
 */
import { isRecord, type JsonRecord } from "../json.js";
import { BYTE_ALPHABET } from "../token-decoder.js";
import { unsupportedSetting } from "./fault.js";
import {
  expressionFinder,
  matchFinder,
  readBehaviour,
  readPattern,
  type Splitter,
  split,
  textFinder,
} from "./split.js";
import { classSource, NO_PUNCTUATION } from "./unicode-versions.js";

/** GPT-2's pattern, which `ByteLevel` uses. */
const GPT2_PATTERN = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/** Published with Qwen2; one digit at a time. */
export const QWEN2_PATTERN =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/** Rust's `char::is_ascii_punctuation`, or punctuation by Unicode 9; the two that are named have become others since. */
const PUNCTUATION = new RegExp(`[!-/:-@[-\`{-~\\u166d\\u{111c9}]|(?![${classSource(NO_PUNCTUATION)}])\\p{P}`, "gu");
/** `\w+|[^\w\s]+` of Rust's own regular expressions, which differ from Oniguruma's in `\w`. */
const WORD = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}";
const WORDS_OR_SIGNS = new RegExp(`[${WORD}]+|[^${WORD}\\p{White_Space}]+`, "gu");
const WHITE_SPACE = /\p{White_Space}/gu;
const NUMERIC = /\p{N}/gu;

const SUPPORTED =
  "Sequence, ByteLevel, Split, Digits, Punctuation, Metaspace, Whitespace, WhitespaceSplit, CharDelimiterSplit, " +
  "BertPreTokenizer, FixedLength";

/** Pieces in order. */
interface Pieces {
  readonly texts: readonly string[];
  /** Whether the first piece begins where the whole text began; `Metaspace` asks that. */
  readonly atStart: boolean;
}

type Step = (pieces: Pieces) => Pieces;

export interface PreTokenizer {
  /** `atStart`: whether `text` stands at the beginning of what was encoded, not after an added token. */
  split(text: string, atStart: boolean): readonly string[];
  /** Spells a piece in the alphabet of the vocabulary; null where pieces are spelt as they are. */
  readonly spell: ((piece: string) => string) | null;
}

function cutting(splitter: Splitter): Step {
  return ({ texts, atStart }) => {
    const cut: string[] = [];
    let starts = atStart;
    texts.forEach((text, i) => {
      const ranges = split(text, splitter);
      if (i === 0 && ranges[0]?.[0] !== 0) starts = false;
      for (const [start, end] of ranges) cut.push(text.slice(start, end));
    });
    return { texts: cut, atStart: starts };
  };
}

function changing(change: (text: string, atStart: boolean) => string): Step {
  return ({ texts, atStart }) => ({ texts: texts.map((text, i) => change(text, atStart && i === 0)), atStart });
}

function spellBytes(piece: string): string {
  let spelt = "";
  for (const byte of Buffer.from(piece, "utf8")) spelt += BYTE_ALPHABET[byte];
  return spelt;
}

function byteLevel(config: JsonRecord): Step[] {
  const steps: Step[] = [];
  if (config.add_prefix_space === true) steps.push(changing((text) => (text.startsWith(" ") ? text : ` ${text}`)));
  if (config.use_regex !== false)
    steps.push(cutting({ finder: expressionFinder("pre_tokenizer", GPT2_PATTERN), behaviour: "Isolated" }));
  return steps;
}

/** `add_prefix_space` is how older files say it; the Rust library refuses files where the two disagree. */
function prependScheme(config: JsonRecord, startKept: boolean): string {
  const scheme = config.prepend_scheme ?? "always";
  if (scheme !== "always" && scheme !== "never" && scheme !== "first")
    throw unsupportedSetting("pre_tokenizer Metaspace.prepend_scheme", scheme, "always, never, first");
  if (config.add_prefix_space === false && scheme !== "never")
    throw unsupportedSetting(
      "pre_tokenizer Metaspace",
      config,
      'add_prefix_space false only with prepend_scheme "never"',
    );
  if (scheme === "first" && !startKept)
    throw unsupportedSetting(
      "pre_tokenizer Metaspace.prepend_scheme",
      scheme,
      '"first" only where no normalizer adds or removes characters at the start',
    );
  return scheme;
}

function metaspace(config: JsonRecord, startKept: boolean): Step[] {
  const replacement = config.replacement ?? "\u2581";
  if (typeof replacement !== "string" || Array.from(replacement).length !== 1)
    throw unsupportedSetting("pre_tokenizer Metaspace.replacement", replacement, "one character");
  const scheme = prependScheme(config, startKept);
  const mark = changing((text, atStart) => {
    const marked = text.replaceAll(" ", () => replacement);
    const prepends = scheme === "always" || (scheme === "first" && atStart);
    return prepends && !marked.startsWith(replacement) ? replacement + marked : marked;
  });
  if (config.split === false) return [mark];
  return [mark, cutting({ finder: textFinder(replacement), behaviour: "MergedWithNext" })];
}

function fixedLength(config: JsonRecord): Step {
  const length = config.length;
  if (typeof length !== "number" || !Number.isInteger(length) || length < 1)
    throw unsupportedSetting("pre_tokenizer FixedLength.length", length ?? null, "a whole number from 1 on");
  return ({ texts, atStart }) => ({
    atStart,
    texts: texts.flatMap((text) => {
      const characters = Array.from(text);
      return Array.from({ length: Math.ceil(characters.length / length) }, (_, i) =>
        characters.slice(i * length, (i + 1) * length).join(""),
      );
    }),
  });
}

/** The steps of a kind, but for the spelling in bytes that ends `ByteLevel`. */
function stepsOf(config: JsonRecord, startKept: boolean): Step[] {
  switch (config.type) {
    case "ByteLevel":
      return byteLevel(config);
    case "Split": {
      const finder = readPattern("pre_tokenizer Split", config.pattern);
      const behaviour = readBehaviour("pre_tokenizer Split", config.behavior);
      return [cutting({ finder, behaviour, invert: config.invert === true })];
    }
    case "Digits":
      return [
        cutting({
          finder: matchFinder(NUMERIC),
          behaviour: config.individual_digits === true ? "Isolated" : "Contiguous",
        }),
      ];
    case "Punctuation": {
      const behaviour = readBehaviour("pre_tokenizer Punctuation", config.behavior ?? "Isolated");
      return [cutting({ finder: matchFinder(PUNCTUATION), behaviour })];
    }
    case "Metaspace":
      return metaspace(config, startKept);
    case "WhitespaceSplit":
      return [cutting({ finder: matchFinder(WHITE_SPACE), behaviour: "Removed" })];
    case "Whitespace":
      return [cutting({ finder: matchFinder(WORDS_OR_SIGNS), behaviour: "Removed", invert: true })];
    case "CharDelimiterSplit": {
      const { delimiter } = config;
      if (typeof delimiter !== "string" || Array.from(delimiter).length !== 1)
        throw unsupportedSetting("pre_tokenizer CharDelimiterSplit.delimiter", delimiter ?? null, "one character");
      return [cutting({ finder: textFinder(delimiter), behaviour: "Removed" })];
    }
    case "BertPreTokenizer":
      return [
        cutting({ finder: matchFinder(WHITE_SPACE), behaviour: "Removed" }),
        cutting({ finder: matchFinder(PUNCTUATION), behaviour: "Isolated" }),
      ];
    case "FixedLength":
      return [fixedLength(config)];
    default:
      throw unsupportedSetting("pre_tokenizer", config.type ?? config, SUPPORTED);
  }
}

/** The kinds in order, with sequences opened up. */
function flatten(config: unknown): JsonRecord[] {
  if (config === null || config === undefined) return [];
  if (!isRecord(config)) throw unsupportedSetting("pre_tokenizer", config, SUPPORTED);
  if (config.type !== "Sequence") return [config];
  if (!Array.isArray(config.pretokenizers)) throw unsupportedSetting("pre_tokenizer", config, SUPPORTED);
  return config.pretokenizers.flatMap(flatten);
}

/**
 * Builds a pre-tokenizer; null cuts nothing. `startKept`: whether the normaliser leaves the start of a text in its place.
 * Throws WEIR_E_TOKENIZER for a kind or setting that is not computed.
 */
export function createPreTokenizer(config: unknown, startKept: boolean): PreTokenizer {
  const kinds = flatten(config);
  const steps = kinds.flatMap((kind, i) => {
    const own = stepsOf(kind, startKept);
    // The last spelling is left to the caller, who keeps the ids of pieces that it has seen.
    return kind.type === "ByteLevel" && i < kinds.length - 1 ? [...own, changing(spellBytes)] : own;
  });
  return {
    split: (text, atStart) =>
      steps.reduce<Pieces>((pieces, step) => step(pieces), { texts: text === "" ? [] : [text], atStart }).texts,
    spell: kinds.at(-1)?.type === "ByteLevel" ? spellBytes : null,
  };
}
