/**
 * The tokenizer of a model folder: text → ids, ids → text, chat → text and ids.
 * Encoding is done by @huggingface/tokenizers on a tokenizer.json in which the pre-tokenizers it reads differently from
 * the Rust library are replaced by equal regular expressions; decoding is our own (token-decoder.ts).
 */
import { join } from "node:path";
import { Tokenizer as JsTokenizer } from "@huggingface/tokenizers";
import { WeirError } from "../../errors.js";
import { type ChatTemplate, type ChatTemplateOptions, type ChatTurn, loadChatTemplate } from "./chat-template.js";
import { checkModelFolder } from "./folder-kind.js";
import { isRecord, type JsonRecord, readJsonIfPresent } from "./json.js";
import { alignPreTokenizer } from "./pre-tokenizer.js";
import { byteLevelBytes, createTokenDecoder, type TokenDecoder } from "./token-decoder.js";
import { assertInVocabulary, modelVocabulary } from "./vocabulary.js";

export interface RenderedChat {
  readonly text: string;
  readonly ids: readonly number[];
}

export interface Tokenizer {
  /** One more than the largest id. The model's vocabulary may be padded beyond it. */
  readonly vocabSize: number;
  /** Ids that `skipSpecialTokens` leaves out. */
  readonly specialIds: ReadonlySet<number>;
  /** The chat template's source, or null. */
  readonly chatTemplate: string | null;
  /** `addSpecialTokens` (default true) adds what the tokenizer's post-processor adds, such as a leading bos. */
  encode(text: string, options?: { readonly addSpecialTokens?: boolean }): number[];
  /** Ids outside the vocabulary stand for nothing. Broken UTF-8 comes out as U+FFFD. */
  decode(ids: readonly number[], options?: { readonly skipSpecialTokens?: boolean }): string;
  /**
   * Throws WEIR_E_CHAT_TEMPLATE when the model has no template or the template refuses the messages, WEIR_E_TOKENIZER
   * when a token lies beyond the vocabulary of the model in the same folder.
   */
  applyChatTemplate(messages: readonly ChatTurn[], options?: ChatTemplateOptions): RenderedChat;
  /** One token for display: its text, `<0xE4>`-style bytes where it is a part of a character, or `<id>` when unknown. */
  tokenText(id: number): string;
}

function fault(path: string, message: string, cause?: unknown): WeirError {
  return new WeirError("WEIR_E_TOKENIZER", `${path}: ${message}`, { path }, { cause });
}

/** Checks what the library takes for granted. */
function checkDefinition(path: string, definition: JsonRecord): void {
  const model = definition.model;
  if (!isRecord(model)) throw fault(path, "expected a model section, got none. Fetch the file again.");
  if (model.type !== "BPE")
    throw fault(
      path,
      `model type ${JSON.stringify(model.type)} is not supported; supported: BPE. Use a Qwen or Llama tokenizer.`,
    );
  if (!isRecord(model.vocab) || !Array.isArray(model.merges))
    throw fault(path, "expected model.vocab and model.merges. Fetch the file again.");
  if (typeof model.dropout === "number" && model.dropout > 0)
    throw fault(path, `model.dropout = ${model.dropout} makes encoding random, expected null.`);
  if (!Array.isArray(definition.added_tokens))
    throw fault(path, "expected added_tokens, a list. Fetch the file again.");
  for (const token of definition.added_tokens) {
    if (!isRecord(token) || typeof token.content !== "string" || typeof token.id !== "number")
      throw fault(path, `added token ${JSON.stringify(token)} lacks an id or content. Fetch the file again.`);
    if (token.single_word === true)
      throw fault(path, `added token ${JSON.stringify(token.content)} asks for single_word, which is not supported.`);
  }
}

/** A special token's text splits no BPE word, so equal texts appear once; ids index this list of token strings. */
function tokenStrings(definition: JsonRecord): { tokens: (string | undefined)[]; special: Set<number> } {
  const tokens: (string | undefined)[] = [];
  const special = new Set<number>();
  for (const [token, id] of Object.entries((definition.model as JsonRecord).vocab as JsonRecord))
    tokens[id as number] = token;
  for (const added of definition.added_tokens as readonly JsonRecord[]) {
    tokens[added.id as number] = added.content as string;
    if (added.special === true) special.add(added.id as number);
  }
  return { tokens, special };
}

function displayBytes(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`).join("");
}

function usesByteLevel(decoder: unknown): boolean {
  if (!isRecord(decoder)) return false;
  return decoder.type === "ByteLevel" || (Array.isArray(decoder.decoders) && decoder.decoders.some(usesByteLevel));
}

class FolderTokenizer implements Tokenizer {
  readonly vocabSize: number;
  readonly specialIds: ReadonlySet<number>;
  readonly #tokens: readonly (string | undefined)[];
  readonly #byteLevel: boolean;

  constructor(
    readonly directory: string,
    definition: JsonRecord,
    private readonly encoder: JsTokenizer,
    private readonly decoder: TokenDecoder,
    private readonly template: ChatTemplate | null,
    /** Of the model in the same folder; null where there is none. */
    private readonly modelVocabulary: number | null,
  ) {
    const { tokens, special } = tokenStrings(definition);
    this.#tokens = tokens;
    this.#byteLevel = usesByteLevel(definition.decoder);
    this.vocabSize = tokens.length;
    this.specialIds = special;
  }

  get chatTemplate(): string | null {
    return this.template?.source ?? null;
  }

  encode(text: string, options: { readonly addSpecialTokens?: boolean } = {}): number[] {
    // Lone surrogates have no UTF-8; they become U+FFFD as in any encoder.
    const wellFormed = /\p{Surrogate}/u.test(text) ? Buffer.from(text, "utf8").toString("utf8") : text;
    return this.encoder.encode(wellFormed, { add_special_tokens: options.addSpecialTokens ?? true }).ids;
  }

  decode(ids: readonly number[], options: { readonly skipSpecialTokens?: boolean } = {}): string {
    const tokens: string[] = [];
    for (const id of ids) {
      if (options.skipSpecialTokens === true && this.specialIds.has(id)) continue;
      const token = this.#tokens[id];
      if (token !== undefined) tokens.push(token);
    }
    return this.decoder(tokens);
  }

  applyChatTemplate(messages: readonly ChatTurn[], options: ChatTemplateOptions = {}): RenderedChat {
    if (this.template === null)
      throw new WeirError(
        "WEIR_E_CHAT_TEMPLATE",
        `${this.directory} has no chat template, which a prompt of messages needs: it is a base model, or the file is missing. ` +
          "Put a chat_template.jinja there, for example that of the model's chat version.",
        { directory: this.directory },
      );
    const text = this.template.render(messages, options);
    const ids = this.encode(text, { addSpecialTokens: false });
    if (this.modelVocabulary !== null) assertInVocabulary(ids, this.modelVocabulary, (id) => this.tokenText(id));
    return { text, ids };
  }

  tokenText(id: number): string {
    const token = this.#tokens[id];
    if (token === undefined) return `<${id}>`;
    if (this.specialIds.has(id)) return token;
    if (!this.#byteLevel) return token.replaceAll("\u2581", " ");
    const bytes = byteLevelBytes(token);
    const text = this.decoder([token]);
    return text.includes("\uFFFD") ? displayBytes(bytes) : text;
  }
}

/**
 * Loads tokenizer.json, tokenizer_config.json and the chat template of a model folder.
 * Throws WEIR_E_FILE_MISSING (no tokenizer.json), WEIR_E_TOKENIZER (damaged, or a kind that is not supported).
 */
export async function loadTokenizer(directory: string): Promise<Tokenizer> {
  await checkModelFolder(directory);
  const path = join(directory, "tokenizer.json");
  const definition = await readJsonIfPresent(path, "WEIR_E_TOKENIZER");
  if (definition === null)
    throw new WeirError(
      "WEIR_E_FILE_MISSING",
      `${path} does not exist. Fetch it with the rest of the model folder; where a model has only tokenizer.model or vocab.json, transformers makes it: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER).`,
      {
        path,
      },
    );
  const config = (await readJsonIfPresent(join(directory, "tokenizer_config.json"), "WEIR_E_TOKENIZER")) ?? {};
  checkDefinition(path, definition);
  const decoder = createTokenDecoder(definition.decoder);
  const template = await loadChatTemplate(directory, config);
  let encoder: JsTokenizer;
  try {
    encoder = new JsTokenizer(
      {
        ...definition,
        normalizer: definition.normalizer ?? null,
        post_processor: definition.post_processor ?? null,
        pre_tokenizer: alignPreTokenizer(definition.pre_tokenizer ?? null),
      } as unknown as ConstructorParameters<typeof JsTokenizer>[0],
      {},
    );
  } catch (error) {
    if (WeirError.isInstance(error)) throw error;
    throw fault(path, `cannot be used: ${error instanceof Error ? error.message : String(error)}.`, error);
  }
  return new FolderTokenizer(directory, definition, encoder, decoder, template, await modelVocabulary(directory));
}
