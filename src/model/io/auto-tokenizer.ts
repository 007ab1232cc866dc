/**
 * Makes transformers' AutoTokenizer read a written folder's tokenizer.json as it stands. transformers 5 picks a tokenizer
 * class by `model_type` and `tokenizer_class`, and some classes rebuild their own splitting around the vocabulary: ids
 * would silently differ from weir's. Folders that are read as they stand are not changed.
 */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { familyNamed } from "./families/index.js";
import { isMissing, isRecord, type JsonRecord } from "./json.js";
import { QWEN2_PATTERN } from "./tokenizer/pre-tokenizer.js";

/** The class that reads tokenizer.json and nothing else; transformers 4 and 5 know it. */
const PLAIN_CLASS = "PreTrainedTokenizerFast";
const PLAIN_CLASSES: readonly unknown[] = [PLAIN_CLASS, "TokenizersBackend"];
const QWEN2_CLASS = "Qwen2Tokenizer";

/**
 * For `model_type` qwen2, transformers 5 takes Qwen2Tokenizer whatever `tokenizer_class` says, unless the folder names a
 * class of its own. With `trust_remote_code` that class is loaded; without, transformers falls back to `tokenizer_class`.
 */
const OWN_CLASS_FILE = "tokenizer_json.py";
const OWN_CLASS = "tokenizer_json.TokenizerJson";
const OWN_CLASS_SOURCE = `"""The tokenizer that tokenizer.json describes, whatever the model's type."""

from transformers import PreTrainedTokenizerFast


class TokenizerJson(PreTrainedTokenizerFast):
    """Reads tokenizer.json as it stands."""
`;

function usesByteLevel(section: unknown): boolean {
  if (!isRecord(section)) return false;
  const inner = section.pretokenizers ?? section.decoders;
  return section.type === "ByteLevel" || (Array.isArray(inner) && inner.some(usesByteLevel));
}

const isBlank = (value: unknown) => value === undefined || value === null || value === "" || value === false;

/** Whether Qwen2Tokenizer, which takes vocabulary, merges and added tokens only, gives the same ids. */
function isQwen2(definition: JsonRecord, config: JsonRecord): boolean {
  const { normalizer, pre_tokenizer: pre, model } = definition;
  const steps = isRecord(pre) && pre.type === "Sequence" && Array.isArray(pre.pretokenizers) ? pre.pretokenizers : [];
  const [split, bytes] = steps.filter(isRecord);
  const pattern = isRecord(split?.pattern) ? split.pattern.Regex : undefined;
  const plain = ["ignore_merges", "byte_fallback", "continuing_subword_prefix", "end_of_word_suffix", "unk_token"];
  const listed = config.added_tokens_decoder;
  const added = Array.isArray(definition.added_tokens) ? definition.added_tokens.filter(isRecord) : [];
  return (
    isRecord(normalizer) &&
    normalizer.type === "NFC" &&
    steps.length === 2 &&
    split?.type === "Split" &&
    pattern === QWEN2_PATTERN &&
    split.behavior === "Isolated" &&
    isBlank(split.invert) &&
    bytes?.type === "ByteLevel" &&
    isBlank(bytes.add_prefix_space) &&
    bytes.use_regex === false &&
    isRecord(model) &&
    plain.every((key) => isBlank(model[key])) &&
    // Where tokenizer_config.json lists the added tokens, the class does not look into tokenizer.json for them.
    (!isRecord(listed) || added.every(({ id, content }) => hasContent(listed[String(id)], content)))
  );
}

function hasContent(token: unknown, content: unknown): boolean {
  return isRecord(token) && token.content === content;
}

/** Whether AutoTokenizer of transformers 5 reads the folder's tokenizer.json as it stands, or gives the same ids. */
export function isReadAsItStands(modelType: unknown, config: JsonRecord, definition: JsonRecord): boolean {
  const given = config.tokenizer_class;
  const named = typeof given === "string" ? given.replace(/Fast$/, "") : null;
  if (modelType === "qwen2" || named === QWEN2_CLASS || (modelType === "qwen3" && named === null))
    return isQwen2(definition, config);
  if (named === "LlamaTokenizer") return usesByteLevel(definition.pre_tokenizer) || usesByteLevel(definition.decoder);
  if (given === undefined || given === null) return !familyNamed(String(modelType))?.tokenizerRebuilt;
  return PLAIN_CLASSES.includes(given);
}

async function readRecord(path: string): Promise<JsonRecord | null> {
  try {
    const value: unknown = JSON.parse(await readFile(path, "utf8"));
    return isRecord(value) ? value : null;
  } catch (error) {
    // A file that cannot be read is refused by name when the folder is opened.
    if (isMissing(error) || error instanceof SyntaxError) return null;
    throw error;
  }
}

/** Rewrites tokenizer_config.json where AutoTokenizer would give other ids than weir. Idempotent. */
export async function alignAutoTokenizer(directory: string): Promise<void> {
  const [model, definition, config] = await Promise.all(
    ["config.json", "tokenizer.json", "tokenizer_config.json"].map((name) => readRecord(join(directory, name))),
  );
  if (!model || !definition || isReadAsItStands(model.model_type, config ?? {}, definition)) return;
  const forced = model.model_type === "qwen2";
  const changed = {
    ...config,
    tokenizer_class: PLAIN_CLASS,
    ...(forced ? { auto_map: { AutoTokenizer: [null, OWN_CLASS] } } : {}),
  };
  await writeFile(join(directory, "tokenizer_config.json"), `${JSON.stringify(changed, null, 2)}\n`);
  if (forced) await writeFile(join(directory, OWN_CLASS_FILE), OWN_CLASS_SOURCE);
}
