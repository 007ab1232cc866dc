/**
 * Which tokens a folder's files name, in the order in which transformers adds them: tokenizer.json, then
 * tokenizer_config.json (`added_tokens_decoder`, the named tokens such as `eos_token`, `extra_special_tokens`), or in
 * folders without `added_tokens_decoder` also special_tokens_map.json and added_tokens.json.
 */
import { isRecord, type JsonRecord } from "../json.js";
import type { AddedToken, AddedVocabulary } from "./added-tokens.js";
import { unsupportedSetting } from "./fault.js";

/** The tokens that every tokenizer of transformers may name, in its order. */
const STANDARD_NAMES = [
  "bos_token",
  "eos_token",
  "unk_token",
  "sep_token",
  "pad_token",
  "cls_token",
  "mask_token",
] as const;

const inConfig = (setting: string) => `tokenizer_config.json: ${setting}`;
const EXTRA = inConfig("extra_special_tokens");

export interface TokenizerFiles {
  /** tokenizer.json. */
  readonly definition: JsonRecord;
  /** tokenizer_config.json. */
  readonly config: JsonRecord;
  /** special_tokens_map.json, or null. */
  readonly specialTokensMap: JsonRecord | null;
  /** added_tokens.json, or null: ids by token. */
  readonly addedTokens: JsonRecord | null;
}

/** Reads `{"content": …, "lstrip": …}`; absent flags have the defaults of transformers. */
function readToken(value: JsonRecord, setting: string, special?: boolean): AddedToken {
  const { content } = value;
  if (typeof content !== "string") throw unsupportedSetting(setting, value, "tokens with a content");
  const isSpecial = special ?? value.special === true;
  return {
    content,
    singleWord: value.single_word === true,
    lstrip: value.lstrip === true,
    rstrip: value.rstrip === true,
    normalized: typeof value.normalized === "boolean" ? value.normalized : !isSpecial,
    special: isSpecial,
  };
}

/** A token given as text is special and looked for in the raw text. */
function specialToken(content: string): AddedToken {
  return { content, singleWord: false, lstrip: false, rstrip: false, normalized: false, special: true };
}

function listed(value: unknown, setting: string): readonly unknown[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw unsupportedSetting(setting, value, "a list of tokens");
  return value;
}

/** `added_tokens` of tokenizer.json. */
function definedTokens(definition: JsonRecord): readonly AddedToken[] {
  return listed(definition.added_tokens, "added_tokens").map((token) => {
    if (!isRecord(token) || typeof token.id !== "number")
      throw unsupportedSetting("added_tokens", token, "tokens with an id and a content");
    return readToken(token, "added_tokens");
  });
}

/** Adds the tokens of tokenizer.json and of the files next to it. Returns the content of each named token. */
export function addNamedTokens(files: TokenizerFiles, vocabulary: AddedVocabulary): ReadonlyMap<string, string> {
  const defined = definedTokens(files.definition);
  for (const token of defined) vocabulary.add(token);
  const settings = mergeSettings(files);
  const { decoder, known } = decoderTokens(files, defined, settings);
  const pending: AddedToken[] = [...decoder];
  const isPending = (content: string) => pending.some((token) => token.content === content);
  const named = namedTokens(settings);
  for (const [name, value] of named) {
    const content = contentOf(value, inConfig(name));
    if (vocabulary.has(content) || isPending(content)) continue;
    const token =
      typeof value === "string" ? (known.get(value) ?? specialToken(value)) : readToken(value, inConfig(name));
    pending.push(token.special ? token : { ...token, special: true });
  }
  for (const value of listed(extraList(settings), EXTRA)) {
    const content = contentOf(value, EXTRA);
    if (vocabulary.has(content) || isPending(content)) continue;
    pending.push(typeof value === "string" ? specialToken(value) : readToken(value as JsonRecord, EXTRA));
  }
  const names = new Set(named.map(([name, value]) => contentOf(value, inConfig(name))));
  for (const token of pending) vocabulary.add(names.has(token.content) ? { ...token, special: true } : token);
  return new Map(named.map(([name, value]) => [name, contentOf(value, inConfig(name))]));
}

function contentOf(value: unknown, setting: string): string {
  const content = isRecord(value) ? value.content : value;
  if (typeof content !== "string") throw unsupportedSetting(setting, value, "a text or a token with a content");
  return content;
}

/** tokenizer_config.json; special_tokens_map.json overrides it where there is no `added_tokens_decoder`. */
function mergeSettings({ config, specialTokensMap }: TokenizerFiles): JsonRecord {
  if (isRecord(config.added_tokens_decoder) || specialTokensMap === null) return config;
  const merged: Record<string, unknown> = { ...config };
  for (const [name, value] of Object.entries(specialTokensMap)) {
    if (name === "extra_special_tokens" && Array.isArray(value))
      merged[name] = [...listed(extraList(config), name), ...value];
    else if (name === "additional_special_tokens") {
      if (extraList(config) === undefined) merged.extra_special_tokens = value;
    } else merged[name] = isRecord(value) && name !== "extra_special_tokens" ? { ...value, special: true } : value;
  }
  return merged;
}

/** `additional_special_tokens` is how files before transformers 5 spell `extra_special_tokens`. */
function extraList(settings: JsonRecord): unknown {
  const extra = settings.extra_special_tokens;
  const absent = extra === undefined || extra === null || (Array.isArray(extra) && extra.length === 0);
  return absent ? (settings.additional_special_tokens ?? undefined) : isRecord(extra) ? undefined : extra;
}

/** Named tokens in order: the standard ones, further `…_token` settings, then the names of `extra_special_tokens`. */
function namedTokens(settings: JsonRecord): [string, string | JsonRecord][] {
  const standard: readonly string[] = STANDARD_NAMES;
  const extra = isRecord(settings.extra_special_tokens) ? Object.entries(settings.extra_special_tokens) : [];
  const own = Object.entries(settings).filter(([name]) => name.endsWith("_token") && !standard.includes(name));
  const candidates = [
    ...standard.map((name): [string, unknown] => [name, settings[name]]),
    ...own.filter(([, value]) => isRecord(value) && value.__type === "AddedToken"),
    ...own.filter(([, value]) => typeof value === "string"),
    ...extra,
  ];
  return candidates.filter(
    (entry): entry is [string, string | JsonRecord] => typeof entry[1] === "string" || isRecord(entry[1]),
  );
}

/** Tokens by id, in the order of ids, and by content for named tokens that are given as text. */
function decoderTokens(
  { config, addedTokens }: TokenizerFiles,
  defined: readonly AddedToken[],
  settings: JsonRecord,
): { readonly decoder: readonly AddedToken[]; readonly known: ReadonlyMap<string, AddedToken> } {
  const byId = new Map<number, AddedToken>();
  const legacy = !isRecord(config.added_tokens_decoder);
  if (isRecord(config.added_tokens_decoder)) {
    for (const [id, value] of Object.entries(config.added_tokens_decoder)) {
      if (!isRecord(value))
        throw unsupportedSetting("tokenizer_config.json: added_tokens_decoder", { [id]: value }, "tokens by id");
      byId.set(Number(id), readToken(value, "tokenizer_config.json: added_tokens_decoder"));
    }
  } else if (addedTokens !== null) {
    const extra = listed(extraList(settings), EXTRA);
    const standard = STANDARD_NAMES.map((name) => settings[name]).filter(
      (value) => value !== undefined && value !== null,
    );
    const special = new Set([...standard, ...extra].map((value) => contentOf(value, inConfig("special tokens"))));
    for (const [content, id] of Object.entries(addedTokens)) {
      if (typeof id !== "number") throw unsupportedSetting("added_tokens.json:", { [content]: id }, "ids by token");
      byId.set(id, { ...specialToken(content), special: special.has(content), normalized: !special.has(content) });
    }
  }
  const decoder = [...byId].sort(([a], [b]) => a - b).map(([, token]) => token);
  const known = new Map([...decoder, ...(legacy ? defined : [])].map((token) => [token.content, token]));
  return { decoder, known };
}
