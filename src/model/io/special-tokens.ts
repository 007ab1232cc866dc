/** Special tokens under the names that chat templates use (`bos_token`, `eos_token` …), as transformers gives them. */
import { join } from "node:path";
import { isRecord, type JsonRecord, readJsonIfPresent, readTextIfPresent } from "./json.js";

/** Defaults of the tokenizer classes of transformers 5. */
const CLASS_DEFAULTS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  GPT2Tokenizer: { bos_token: "<|endoftext|>", eos_token: "<|endoftext|>", unk_token: "<|endoftext|>" },
  LlamaTokenizer: { bos_token: "<s>", eos_token: "</s>", unk_token: "<unk>" },
  Qwen2Tokenizer: { eos_token: "<|endoftext|>", unk_token: "<|endoftext|>", pad_token: "<|endoftext|>" },
};

/** A token is text, or an object with `content`. */
function contentOf(value: unknown): string | undefined {
  const content = isRecord(value) ? value.content : value;
  return typeof content === "string" ? content : undefined;
}

async function classDefaults(directory: string, config: JsonRecord): Promise<Readonly<Record<string, string>>> {
  const name = typeof config.tokenizer_class === "string" ? config.tokenizer_class.replace(/Fast$/, "") : "";
  if (!Object.hasOwn(CLASS_DEFAULTS, name)) return {};
  // transformers takes a byte-level tokenizer under this name for a generic one, which has no defaults.
  const isLlama = name === "LlamaTokenizer";
  if (isLlama && ((await readTextIfPresent(join(directory, "tokenizer.json"))) ?? "").includes('"ByteLevel"'))
    return {};
  return CLASS_DEFAULTS[name]!;
}

/**
 * Names and texts of the special tokens of a model folder. `special_tokens_map.json` outranks tokenizer_config.json, and is
 * not read where that file has `added_tokens_decoder`.
 */
export async function specialTokens(directory: string, config: JsonRecord): Promise<Record<string, string>> {
  const path = join(directory, "special_tokens_map.json");
  const map = "added_tokens_decoder" in config ? null : await readJsonIfPresent(path, "WEIR_E_TOKENIZER");
  const tokens: Record<string, string> = { ...(await classDefaults(directory, config)) };
  const extra = isRecord(config.extra_special_tokens) ? config.extra_special_tokens : {};
  for (const source of [config, extra, map ?? {}]) {
    for (const [name, value] of Object.entries(source)) {
      if (source !== extra && !/^[a-z]+(?:_[a-z]+)*_token$/.test(name)) continue;
      const content = contentOf(value);
      if (content !== undefined) tokens[name] = content;
      else if (value === null) delete tokens[name];
    }
  }
  return tokens;
}
