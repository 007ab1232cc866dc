/**
 * The tokenizer of a model folder: text → ids, ids → text, chat → text and ids.
 * Each stage of tokenizer.json is computed as the Rust tokenizers library does (folder `tokenizer/`, token-decoder.ts) or
 * refused when the folder is opened; tokens that only the files next to it name get the ids that transformers gives them.
 */
import { join } from "node:path";
import { WeirError } from "../../errors.js";
import { type ChatTemplate, type ChatTemplateOptions, type ChatTurn, loadChatTemplate } from "./chat-template.js";
import { checkModelFolder } from "./folder-kind.js";
import { isRecord, type JsonRecord, readJsonIfPresent } from "./json.js";
import { byteLevelBytes, createTokenDecoder, type TokenDecoder } from "./token-decoder.js";
import { createEncoder, type Encoder } from "./tokenizer/encoder.js";
import { type EndOfTurn, findEndOfTurn } from "./tokenizer/end-of-turn.js";
import { loadOniguruma } from "./tokenizer/oniguruma.js";

export type { EndOfTurn } from "./tokenizer/end-of-turn.js";

export interface RenderedChat {
  readonly text: string;
  readonly ids: readonly number[];
}

export interface Tokenizer {
  /** One more than the largest id. The model's vocabulary may be padded beyond it. */
  readonly vocabSize: number;
  /** Ids that `skipSpecialTokens` leaves out. */
  readonly specialIds: ReadonlySet<number>;
  /** How an assistant's turn ends by the chat template, else by `eos_token`; null where neither says. */
  readonly endOfTurn: EndOfTurn | null;
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
  #endOfTurn: EndOfTurn | null | undefined;
  readonly #tokens: readonly (string | undefined)[];
  readonly #byteLevel: boolean;

  constructor(
    readonly directory: string,
    definition: JsonRecord,
    private readonly encoder: Encoder,
    private readonly decoder: TokenDecoder,
    private readonly template: ChatTemplate | null,
  ) {
    this.#tokens = encoder.tokens;
    this.#byteLevel = usesByteLevel(definition.decoder);
    this.vocabSize = encoder.tokens.length;
    this.specialIds = encoder.specialIds;
  }

  get chatTemplate(): string | null {
    return this.template?.source ?? null;
  }

  encode(text: string, options: { readonly addSpecialTokens?: boolean } = {}): number[] {
    // Lone surrogates have no UTF-8; they become U+FFFD as in any encoder.
    const wellFormed = /\p{Surrogate}/u.test(text) ? Buffer.from(text, "utf8").toString("utf8") : text;
    return this.encoder.encode(wellFormed, options.addSpecialTokens ?? true);
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
    return { text, ids };
  }

  get endOfTurn(): EndOfTurn | null {
    if (this.#endOfTurn === undefined) {
      const { addedTokens, specialIds, namedTokens } = this.encoder;
      this.#endOfTurn = findEndOfTurn({
        addedTokens,
        specialIds,
        endToken: namedTokens.get("eos_token") ?? null,
        idOf: (token) => this.encoder.idOf(token) ?? null,
        render: (messages) => this.template?.render(messages, { addGenerationPrompt: false }) ?? null,
      });
    }
    return this.#endOfTurn;
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
  const [specialTokensMap, addedTokens] = await Promise.all(
    ["special_tokens_map.json", "added_tokens.json"].map((name) =>
      readJsonIfPresent(join(directory, name), "WEIR_E_TOKENIZER"),
    ),
  );
  await loadOniguruma();
  const template = await loadChatTemplate(directory, config);
  try {
    const decoder = createTokenDecoder(definition.decoder);
    const files = {
      definition,
      config,
      specialTokensMap: specialTokensMap ?? null,
      addedTokens: addedTokens ?? null,
    };
    return new FolderTokenizer(directory, definition, createEncoder(files), decoder, template);
  } catch (error) {
    if (!WeirError.isInstance(error)) throw error;
    const message = error.message.slice(`${error.code}: `.length);
    throw new WeirError(error.code, `${directory}: ${message}`, { ...error.details, path }, { cause: error });
  }
}
