/**
 * Turns token ids into text, byte for byte as the Rust tokenizers library does.
 * Owns ByteLevel (GPT-2 style), the SentencePiece chain (Replace, ByteFallback, Fuse, Strip), Metaspace and BPEDecoder.
 * Byte-level and byte-fallback tokens are joined as bytes, so a character split over tokens comes out whole.
 */
import { isRecord, type JsonRecord } from "./json.js";
import { unsupportedSetting } from "./tokenizer/fault.js";
import { readPattern, replaceMatches } from "./tokenizer/split.js";

/** Text of tokens in order. */
export type TokenDecoder = (tokens: readonly string[]) => string;

const lossy = new TextDecoder("utf-8", { ignoreBOM: true });
const strict = new TextDecoder("utf-8", { ignoreBOM: true, fatal: true });

/** Bytes that GPT-2's alphabet shows as themselves; the others follow from U+0100 on, in order. */
function isShownAsItself(byte: number): boolean {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

/** GPT-2's byte alphabet: character of each byte value. */
export const BYTE_ALPHABET: readonly string[] = (() => {
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) => {
    if (isShownAsItself(byte)) return String.fromCharCode(byte);
    next += 1;
    return String.fromCharCode(next - 1);
  });
})();

const BYTE_OF_CHARACTER: ReadonlyMap<string, number> = new Map(
  BYTE_ALPHABET.map((character, byte) => [character, byte]),
);

/** Bytes that a byte-level token stands for; a token with any character outside the alphabet stands for itself. */
export function byteLevelBytes(token: string): Uint8Array {
  const bytes = new Uint8Array(token.length);
  for (let i = 0; i < token.length; i += 1) {
    const byte = BYTE_OF_CHARACTER.get(token[i]!);
    if (byte === undefined) return new TextEncoder().encode(token);
    bytes[i] = byte;
  }
  return bytes;
}

function concatenate(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}

const decodeByteLevel: TokenDecoder = (tokens) => lossy.decode(concatenate(tokens.map(byteLevelBytes)));

type Step = (tokens: readonly string[]) => readonly string[];

/** Runs of `<0xNN>` become their UTF-8 text, or one U+FFFD per byte where a run is not valid UTF-8. */
const byteFallback: Step = (tokens) => {
  const result: string[] = [];
  let run: number[] = [];
  const flush = () => {
    if (run.length === 0) return;
    try {
      result.push(strict.decode(Uint8Array.from(run)));
    } catch {
      for (const _ of run) result.push("\uFFFD");
    }
    run = [];
  };
  for (const token of tokens) {
    const match = /^<0x([0-9A-Fa-f]{2})>$/.exec(token);
    if (match !== null) run.push(Number.parseInt(match[1]!, 16));
    else {
      flush();
      result.push(token);
    }
  }
  flush();
  return result;
};

/** Removes up to `start` leading and `stop` trailing copies of a character from each token. */
function strip(content: string, start: number, stop: number): Step {
  return (tokens) =>
    tokens.map((token) => {
      const characters = Array.from(token);
      let from = 0;
      while (from < start && characters[from] === content) from += 1;
      let to = characters.length;
      while (to > from && characters.length - to < stop && characters[to - 1] === content) to -= 1;
      return characters.slice(from, to).join("");
    });
}

function unsupported(what: unknown): Error {
  return unsupportedSetting(
    "decoder",
    what,
    "ByteLevel, Metaspace, BPEDecoder, Replace, ByteFallback, Fuse, Strip, and Sequences of them",
  );
}

function step(config: JsonRecord): Step {
  switch (config.type) {
    case "ByteLevel":
      return (tokens) => [decodeByteLevel(tokens)];
    case "ByteFallback":
      return byteFallback;
    case "Fuse":
      return (tokens) => [tokens.join("")];
    case "Replace": {
      const { content } = config;
      if (typeof content !== "string") throw unsupported(config);
      const finder = readPattern("decoder Replace", config.pattern);
      return (tokens) => tokens.map((token) => replaceMatches(token, finder, content));
    }
    case "BPEDecoder": {
      const suffix = typeof config.suffix === "string" ? config.suffix : "</w>";
      return (tokens) => tokens.map((token, i) => token.replaceAll(suffix, () => (i === tokens.length - 1 ? "" : " ")));
    }
    case "Strip": {
      const { content, start, stop } = config;
      if (typeof content !== "string" || typeof start !== "number" || typeof stop !== "number")
        throw unsupported(config);
      return strip(content, start, stop);
    }
    case "Metaspace": {
      const replacement = typeof config.replacement === "string" ? config.replacement : "\u2581";
      // The Rust library drops every mark of the first token, not only a leading one.
      const dropsFirst = config.prepend_scheme !== "never";
      return (tokens) => tokens.map((token, i) => token.replaceAll(replacement, i === 0 && dropsFirst ? "" : " "));
    }
    case "Sequence": {
      if (!Array.isArray(config.decoders)) throw unsupported(config);
      const steps = config.decoders.map((inner: unknown) => {
        if (!isRecord(inner)) throw unsupported(inner);
        return step(inner);
      });
      return (tokens) => steps.reduce<readonly string[]>((current, apply) => apply(current), tokens);
    }
    default:
      throw unsupported(config.type ?? config);
  }
}

/** Builds the decoder that tokenizer.json describes. Throws WEIR_E_TOKENIZER for kinds it does not know. */
export function createTokenDecoder(config: unknown): TokenDecoder {
  if (!isRecord(config)) throw unsupported(config ?? null);
  const apply = step(config);
  return (tokens) => apply(tokens).join("");
}
