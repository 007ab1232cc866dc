/**
 * Rebuilds tokenizer.json and tokenizer_config.json from GGUF metadata: byte-level BPE (`gpt2`) with the pre-tokenizer
 * that `tokenizer.ggml.pre` names, and SentencePiece BPE with byte fallback (`llama`).
 */
import { WeirError } from "../../../errors.js";
import { QWEN2_PATTERN } from "../tokenizer/pre-tokenizer.js";
import { Metadata } from "./metadata.js";
import { specialIds } from "./model-config.js";
import type { GgufHead } from "./reader.js";

/** tokenizer.ggml.token_type. */
const CONTROL = 3;
const USER_DEFINED = 4;
const UNUSED = 5;

const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const TAIL = " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
/** Published with Llama 3: up to three digits. */
const LLAMA3_PATTERN = `${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|${TAIL}`;

interface PreTokenizer {
  readonly steps: readonly Record<string, unknown>[];
  readonly normaliser: Record<string, unknown> | null;
  readonly ignoreMerges: boolean;
  /** Whether a bos is added where the file does not say. */
  readonly addBos: boolean;
}

const byteLevel = (useRegex: boolean) => ({
  type: "ByteLevel",
  add_prefix_space: false,
  trim_offsets: true,
  use_regex: useRegex,
});
const split = (pattern: string) => ({
  type: "Split",
  pattern: { Regex: pattern },
  behavior: "Isolated",
  invert: false,
});

const GPT2: PreTokenizer = { steps: [byteLevel(true)], normaliser: null, ignoreMerges: false, addBos: false };
const SMOLLM: PreTokenizer = { ...GPT2, steps: [{ type: "Digits", individual_digits: true }, byteLevel(true)] };
const QWEN2: PreTokenizer = { ...GPT2, steps: [split(QWEN2_PATTERN), byteLevel(false)], normaliser: { type: "NFC" } };
const LLAMA3: PreTokenizer = {
  ...GPT2,
  steps: [split(LLAMA3_PATTERN), byteLevel(false)],
  ignoreMerges: true,
  addBos: true,
};

const PRE_TOKENIZERS: Readonly<Record<string, PreTokenizer>> = {
  default: GPT2,
  "gpt-2": GPT2,
  gpt2: GPT2,
  smollm: SMOLLM,
  qwen2: QWEN2,
  "deepseek-r1-qwen": QWEN2,
  "llama-bpe": LLAMA3,
  llama3: LLAMA3,
  "llama-v3": LLAMA3,
};

export interface TokenizerFiles {
  /** Content of tokenizer.json. */
  readonly tokenizer: Record<string, unknown>;
  /** Content of tokenizer_config.json. */
  readonly config: Record<string, unknown>;
  readonly chatTemplate: string | null;
}

interface Vocabulary {
  readonly tokens: readonly string[];
  readonly types: readonly number[];
  readonly vocab: Readonly<Record<string, number>>;
  readonly added: readonly Record<string, unknown>[];
}

/** Token texts by id. Placeholders marked unused are left out; of equal texts the first id keeps the text. */
function readVocabulary(metadata: Metadata): Vocabulary {
  const tokens = metadata.texts("tokenizer.ggml.tokens");
  const types = metadata.optionalNumbers("tokenizer.ggml.token_type", tokens.length) ?? tokens.map(() => 1);
  // No prototype: a token may be spelled like a property every object has.
  const vocab: Record<string, number> = Object.create(null);
  const added: Record<string, unknown>[] = [];
  tokens.forEach((token, id) => {
    const type = types[id];
    if (type === UNUSED || token in vocab) return;
    vocab[token] = id;
    if (type === CONTROL || type === USER_DEFINED)
      added.push({
        id,
        content: token,
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
        special: type === CONTROL,
      });
  });
  return { tokens, types, vocab, added };
}

/** Merges as pairs. A merge whose parts or result are not in the vocabulary would be refused by other readers. */
function readMerges(metadata: Metadata, { vocab }: Vocabulary): [string, string][] {
  return metadata.texts("tokenizer.ggml.merges").map((merge) => {
    // The first character belongs to the left part even when it is a space.
    const gap = merge.indexOf(" ", 1);
    const pair: [string, string] = [merge.slice(0, gap), merge.slice(gap + 1)];
    if (gap < 1 || !(pair[0] in vocab) || !(pair[1] in vocab) || !(pair[0] + pair[1] in vocab))
      throw new WeirError(
        "WEIR_E_GGUF",
        `${metadata.path}: tokenizer.ggml.merges holds ${JSON.stringify(merge)}, whose parts or result are no tokens. Convert the file anew.`,
        { path: metadata.path, merge },
      );
    return pair;
  });
}

/**
 * SentencePiece stores scores, not merges. Every split of a token into two tokens is a merge; better scores first, then
 * the longer left part, then the longer right part (the conversion that transformers uses).
 */
export function mergesFromScores(
  vocabulary: Pick<Vocabulary, "tokens" | "types" | "vocab">,
  scores: readonly number[],
): [string, string][] {
  const { tokens, types, vocab } = vocabulary;
  const candidates: { left: string; right: string; score: number }[] = [];
  tokens.forEach((token, id) => {
    if (types[id] !== 1 || vocab[token] !== id) return;
    const local: { left: string; right: string; score: number }[] = [];
    for (let i = 1; i < token.length; i += 1) {
      const left = token.slice(0, i);
      const right = token.slice(i);
      if (left in vocab && right in vocab) local.push({ left, right, score: scores[id]! });
    }
    local.sort((a, b) => vocab[a.left]! - vocab[b.left]! || vocab[a.right]! - vocab[b.right]!);
    candidates.push(...local);
  });
  const length = (text: string) => Array.from(text).length;
  candidates.sort((a, b) => b.score - a.score || length(b.left) - length(a.left) || length(b.right) - length(a.right));
  return candidates.map(({ left, right }) => [left, right]);
}

/** Adds bos and eos around a text, as the file asks. */
function postProcessor(bos: { id: number; token: string } | null, eos: { id: number; token: string } | null) {
  const piece = (token: { token: string }, type: number) => ({ SpecialToken: { id: token.token, type_id: type } });
  const around = (sequence: string, type: number) => [
    ...(bos === null ? [] : [piece(bos, type)]),
    { Sequence: { id: sequence, type_id: type } },
    ...(eos === null ? [] : [piece(eos, type)]),
  ];
  const special: Record<string, unknown> = {};
  for (const token of [bos, eos])
    if (token !== null) special[token.token] = { id: token.token, ids: [token.id], tokens: [token.token] };
  return {
    type: "TemplateProcessing",
    single: around("A", 0),
    pair: [...around("A", 0), ...around("B", 1)],
    special_tokens: special,
  };
}

interface Kind {
  readonly fields: Record<string, unknown>;
  readonly addBos: boolean;
}

function byteLevelKind(metadata: Metadata, vocabulary: Vocabulary): Kind {
  const pre = metadata.optionalText("tokenizer.ggml.pre");
  const found = pre !== null && Object.hasOwn(PRE_TOKENIZERS, pre) ? PRE_TOKENIZERS[pre] : undefined;
  if (found === undefined)
    throw metadata.fault(
      "tokenizer.ggml.pre",
      `one of ${Object.keys(PRE_TOKENIZERS).join(", ")}`,
      "Text would be split in another way than the model was trained with; use the model's own tokenizer files.",
    );
  const [only] = found.steps;
  return {
    addBos: found.addBos,
    fields: {
      normalizer: found.normaliser,
      pre_tokenizer: found.steps.length === 1 ? only : { type: "Sequence", pretokenizers: found.steps },
      decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
      model: {
        type: "BPE",
        dropout: null,
        unk_token: null,
        continuing_subword_prefix: null,
        end_of_word_suffix: null,
        fuse_unk: false,
        byte_fallback: false,
        ignore_merges: found.ignoreMerges,
        vocab: vocabulary.vocab,
        merges: readMerges(metadata, vocabulary),
      },
    },
  };
}

function sentencePieceKind(metadata: Metadata, vocabulary: Vocabulary, unknown: number | null): Kind {
  const prefix = metadata.optionalFlag("tokenizer.ggml.add_space_prefix") ?? true;
  const scores = metadata.optionalNumbers("tokenizer.ggml.scores", vocabulary.tokens.length);
  if (scores === null) throw metadata.fault("tokenizer.ggml.scores", "a score per token", "Convert the file anew.");
  const replace = { type: "Replace", pattern: { String: " " }, content: "\u2581" };
  return {
    addBos: true,
    fields: {
      normalizer: prefix
        ? { type: "Sequence", normalizers: [{ type: "Prepend", prepend: "\u2581" }, replace] }
        : replace,
      pre_tokenizer: null,
      decoder: {
        type: "Sequence",
        decoders: [
          { type: "Replace", pattern: { String: "\u2581" }, content: " " },
          { type: "ByteFallback" },
          { type: "Fuse" },
          ...(prefix ? [{ type: "Strip", content: " ", start: 1, stop: 0 }] : []),
        ],
      },
      model: {
        type: "BPE",
        dropout: null,
        unk_token: vocabulary.tokens[unknown ?? 0] ?? null,
        continuing_subword_prefix: null,
        end_of_word_suffix: null,
        fuse_unk: true,
        byte_fallback: true,
        ignore_merges: false,
        vocab: vocabulary.vocab,
        merges: mergesFromScores(vocabulary, scores),
      },
    },
  };
}

/**
 * Builds the tokenizer files. Throws WEIR_E_GGUF for tokenizer models other than `gpt2` and `llama`, for unknown
 * pre-tokenizer names, and for tables that do not fit each other.
 */
export function tokenizerFromGguf(head: GgufHead, maxPositions: number): TokenizerFiles {
  const metadata = new Metadata(head);
  const vocabulary = readVocabulary(metadata);
  const ids = specialIds(metadata);
  const model = metadata.text("tokenizer.ggml.model");
  let kind: Kind;
  if (model === "gpt2") kind = byteLevelKind(metadata, vocabulary);
  else if (model === "llama") kind = sentencePieceKind(metadata, vocabulary, ids.unknown);
  else throw metadata.fault("tokenizer.ggml.model", "gpt2 or llama", "Other tokenizers are not supported.");

  const named = (id: number | null, key: string) => {
    if (id === null) return null;
    const token = vocabulary.tokens[id];
    if (token === undefined)
      throw metadata.fault(`tokenizer.ggml.${key}_token_id`, "the id of a token", "Convert the file anew.");
    return { id, token };
  };
  const bos = named(ids.bos, "bos");
  const eos = named(ids.eos, "eos");
  const addBos = bos !== null && (metadata.optionalFlag("tokenizer.ggml.add_bos_token") ?? kind.addBos);
  const addEos = eos !== null && (metadata.optionalFlag("tokenizer.ggml.add_eos_token") ?? false);
  return {
    tokenizer: {
      version: "1.0",
      truncation: null,
      padding: null,
      added_tokens: vocabulary.added,
      post_processor: addBos || addEos ? postProcessor(addBos ? bos : null, addEos ? eos : null) : null,
      ...kind.fields,
    },
    config: {
      bos_token: bos?.token ?? null,
      clean_up_tokenization_spaces: false,
      eos_token: eos?.token ?? null,
      model_max_length: maxPositions,
      pad_token: named(ids.pad, "padding")?.token ?? null,
      tokenizer_class: "PreTrainedTokenizerFast",
      unk_token: named(ids.unknown, "unknown")?.token ?? null,
    },
    chatTemplate: metadata.optionalText("tokenizer.chat_template"),
  };
}
