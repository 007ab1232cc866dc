/**
 * `weir tokenize`: the ids that a text, conversations or SFT rows have in a model's tokenizer, as training sees them.
 * Needs only the tokenizer files of the folder.
 */
import { join } from "node:path";
import type { Command } from "commander";
import { readRecords } from "../../data/records.js";
import { parseSftExample, sftRow } from "../../data/sft.js";
import { WeirError } from "../../errors.js";
import type { ChatTurn } from "../../model/io/chat-template.js";
import { isRecord, readJsonIfPresent } from "../../model/io/json.js";
import { loadTokenizer, type Tokenizer } from "../../model/io/tokenizer.js";
import { readText } from "../load-json.js";
import { type ExitCode, print, printJson } from "../output.js";

export interface TokenizeCommandOptions {
  readonly model: string;
  readonly text?: string;
  readonly in?: string;
  readonly json?: boolean;
}

/** Result of `--text`. `chat` and `chatIds` are null where the folder has no chat template. */
export interface TokenizedText {
  readonly ids: readonly number[];
  readonly tokens: readonly string[];
  readonly chat: string | null;
  readonly chatIds: readonly number[] | null;
}

/** Result of `--in` for conversations. */
export interface TokenizedChats {
  readonly chats: readonly { readonly text: string; readonly ids: readonly number[] }[];
}

/** Result of `--in` for SFT rows; a mask of 1 marks the tokens that the warm-up trains on. */
export interface TokenizedRows {
  readonly rows: readonly { readonly ids: readonly number[]; readonly lossMask: readonly number[] }[];
}

/** A text with what the post-processor adds (such as bos), and as one user message before the model's answer. */
export function tokenizeText(tokenizer: Tokenizer, text: string): TokenizedText {
  const ids = tokenizer.encode(text);
  const tokens = ids.map((id) => tokenizer.tokenText(id));
  if (tokenizer.chatTemplate === null) return { ids, tokens, chat: null, chatIds: null };
  const chat = tokenizer.applyChatTemplate([{ role: "user", content: text }], { addGenerationPrompt: true });
  return { ids, tokens, chat: chat.text, chatIds: chat.ids };
}

/** Messages as in the file: all their fields reach the template. Errors: WEIR_E_DATA naming the place. */
function conversationOf(value: unknown, file: string, index: number): readonly ChatTurn[] {
  const isChat = Array.isArray(value) && value.length > 0 && value.every((turn) => isRecord(turn) && "role" in turn);
  if (!isChat)
    throw new WeirError(
      "WEIR_E_DATA",
      `"${file}", conversation ${index}: expected a list of messages with role and content, got ${JSON.stringify(value)?.slice(0, 80)}; ` +
        'write {"conversations": [[{"role": "user", "content": "…"}]]}',
      { file, index },
    );
  return value as readonly ChatTurn[];
}

/** A conversation that ends with an assistant's message is rendered as it is; any other with the generation prompt. */
export function tokenizeChats(tokenizer: Tokenizer, conversations: readonly unknown[], file: string): TokenizedChats {
  return {
    chats: conversations.map((value, index) => {
      const messages = conversationOf(value, file, index);
      const addGenerationPrompt = messages[messages.length - 1]?.role !== "assistant";
      const { text, ids } = tokenizer.applyChatTemplate(messages, { addGenerationPrompt });
      return { text, ids };
    }),
  };
}

/** `eos_token_id` of config.json and generation_config.json, as far as the folder has them. */
async function storedStopIds(directory: string): Promise<number[]> {
  const ids: number[] = [];
  for (const name of ["config.json", "generation_config.json"]) {
    const stored = await readJsonIfPresent(join(directory, name), "WEIR_E_MODEL_FILES");
    for (const id of [stored?.eos_token_id].flat()) if (typeof id === "number" && !ids.includes(id)) ids.push(id);
  }
  return ids;
}

/** The list under `conversations` where the file is one JSON object that has it, else null. */
async function readConversations(file: string): Promise<readonly unknown[] | null> {
  let value: unknown;
  try {
    value = JSON.parse((await readText(file)).replace(/^\uFEFF/, ""));
  } catch (error) {
    if (WeirError.isInstance(error) && error.code !== "WEIR_E_DATA") throw error;
    return null; // Parquet or JSON lines: read as rows.
  }
  return isRecord(value) && Array.isArray(value.conversations) ? value.conversations : null;
}

async function tokenizeFile(tokenizer: Tokenizer, options: { readonly model: string; readonly file: string }) {
  const { model, file } = options;
  const conversations = await readConversations(file);
  if (conversations !== null) return tokenizeChats(tokenizer, conversations, file);
  const stopIds = await storedStopIds(model);
  const records = await readRecords(file);
  const rows = records.map((record, index) => {
    const { tokenIds, lossMask } = sftRow(parseSftExample(record, file, index), tokenizer, stopIds);
    return { ids: tokenIds, lossMask };
  });
  return { rows };
}

/** `13 " the"`: an id and its token, quoted so that white space and control characters show. */
function shownTokens(tokenizer: Tokenizer, ids: readonly number[]): string {
  return ids.map((id) => `${id} ${JSON.stringify(tokenizer.tokenText(id))}`).join("\n");
}

function printText(tokenizer: Tokenizer, { ids, chat, chatIds }: TokenizedText): void {
  print(`${ids.length} tokens`);
  if (ids.length > 0) print(shownTokens(tokenizer, ids));
  if (chat === null || chatIds === null) print("\nno chat template");
  else print(`\nas a user message: ${chatIds.length} tokens\n${JSON.stringify(chat)}\n${chatIds.join(" ")}`);
}

function printFile(tokenizer: Tokenizer, result: TokenizedChats | TokenizedRows): void {
  if ("chats" in result) {
    for (const [i, { text, ids }] of result.chats.entries())
      print(`conversation ${i}: ${ids.length} tokens\n${JSON.stringify(text)}\n${ids.join(" ")}\n`);
    return;
  }
  for (const [i, { ids, lossMask }] of result.rows.entries()) {
    const first = lossMask.indexOf(1);
    print(`row ${i}: ${first} tokens of prompt, ${ids.length - first} of response`);
    print(`${shownTokens(tokenizer, ids.slice(first))}\n`);
  }
}

export async function tokenizeCommand(options: TokenizeCommandOptions): Promise<ExitCode> {
  const { model, text, in: file } = options;
  if ((text === undefined) === (file === undefined))
    throw new WeirError("WEIR_E_USAGE", "weir tokenize takes --text TEXT or --in FILE, and not both", {});
  const tokenizer = await loadTokenizer(model);
  if (text !== undefined) {
    const result = tokenizeText(tokenizer, text);
    if (options.json) printJson(result);
    else printText(tokenizer, result);
  } else if (file !== undefined) {
    const result = await tokenizeFile(tokenizer, { model, file });
    if (options.json) printJson(result);
    else printFile(tokenizer, result);
  }
  return 0;
}

export function register(program: Command): void {
  program
    .command("tokenize")
    .description("the token ids of a text, of conversations or of SFT rows, as training sees them")
    .requiredOption("--model <dir>", "Hugging Face folder; its tokenizer files are enough")
    .option("--text <text>", "a text: its ids with what the post-processor adds, and its ids as a user message")
    .option(
      "--in <file>",
      '{"conversations": [[{role, content, …}]]}, or SFT rows with prompt or messages, and response',
    )
    .option("--json", "print ids, tokens, chat and chatIds; chats with text and ids; or rows with ids and lossMask")
    .addHelpText(
      "after",
      "\nA conversation that ends with an assistant's message is rendered as it is, any other with the generation prompt.",
    )
    .action(async (options: TokenizeCommandOptions) => {
      process.exitCode = await tokenizeCommand(options);
    });
}
