/**
 * Builds a byte-level tokenizer in the `tokenizer.json` form of the Hugging Face libraries: the words of given texts are
 * whole tokens, everything else is spelt in bytes. Round-trips any text, since all bytes are tokens.
 * Invariant: the result depends on its arguments alone.
 */

/** Pre-tokens: runs of newlines, a word or one digit or one sign with its leading blank, any other white space. */
const PRE_TOKEN = "\\n+| ?\\p{L}+| ?\\p{N}| ?[^\\s\\p{L}\\p{N}]|\\s";

/** Special tokens, ids from 0 in this order. */
export const SPECIAL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"] as const;
/** Tags that are one token each but are kept when special tokens are skipped. */
export const TAG_TOKENS = ["<think>", "</think>", "<text>", "</text>"] as const;

export interface VocabularyOptions {
  /** Texts whose pre-tokens all become whole tokens. */
  readonly texts: readonly string[];
}

/** The tokenizer as the JSON object of tokenizer.json. */
export function buildTokenizer(options: VocabularyOptions): Record<string, unknown> {
  const bytes = byteAlphabet();
  const vocabulary = new Map<string, number>();
  const add = (token: string): void => {
    if (!vocabulary.has(token)) vocabulary.set(token, vocabulary.size);
  };
  for (const token of [...SPECIAL_TOKENS, ...TAG_TOKENS, ...bytes]) add(token);
  const tags = new Set<string>(TAG_TOKENS);
  const words = new Set<string>();
  for (const text of options.texts) {
    const plain = text.split(/(<\/?(?:think|text)>)/).filter((part) => !tags.has(part));
    for (const part of plain) for (const match of part.matchAll(new RegExp(PRE_TOKEN, "gu"))) words.add(match[0]);
  }
  for (const word of [...words].sort()) add(toAlphabet(word, bytes));
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: [...SPECIAL_TOKENS, ...TAG_TOKENS].map((content, id) => ({
      id,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: id < SPECIAL_TOKENS.length,
    })),
    normalizer: null,
    pre_tokenizer: {
      type: "Sequence",
      pretokenizers: [
        { type: "Split", pattern: { Regex: PRE_TOKEN }, behavior: "Isolated", invert: false },
        { type: "ByteLevel", add_prefix_space: false, trim_offsets: false, use_regex: false },
      ],
    },
    post_processor: { type: "ByteLevel", add_prefix_space: true, trim_offsets: false, use_regex: false },
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: "",
      end_of_word_suffix: "",
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: true,
      vocab: Object.fromEntries(vocabulary),
      merges: [],
    },
  };
}

/** The printable stand-in of each byte, as in GPT-2: printable Latin-1 stands for itself, others for U+0100 onwards. */
function byteAlphabet(): string[] {
  const printable = (byte: number): boolean =>
    (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || (byte >= 174 && byte <= 255);
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(printable(byte) ? byte : next++));
}

function toAlphabet(text: string, alphabet: readonly string[]): string {
  return [...new TextEncoder().encode(text)].map((byte) => alphabet[byte] as string).join("");
}
