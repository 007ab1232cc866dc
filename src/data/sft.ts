import type { ChatMessage, Json } from "../contracts/task.js";
import type { SftRow } from "../contracts/trainer.js";
import { WeirError } from "../errors.js";
import { cellFault } from "./faults.js";
import { messagesOf } from "./prompt-parts.js";

/** SFT rows: a prompt and the response to imitate, as token ids with a loss mask over the response and its end token. */

/** One demonstration as it stands in a file: `prompt` as text or messages, `response` as text. */
export interface SftExample {
  readonly messages: readonly ChatMessage[];
  readonly response: string;
}

/** What this file needs of a tokenizer. */
export interface SftTokenizer {
  encode(text: string, options?: { readonly addSpecialTokens?: boolean }): number[];
  applyChatTemplate(
    messages: readonly ChatMessage[],
    options: { readonly addGenerationPrompt: boolean },
  ): { readonly ids: readonly number[] };
}

/**
 * Ids and mask of one example: prompt tokens weigh 0, response tokens and the end token 1 (verl's loss mask, Eq. 11).
 * The end token is added where the response does not end in a stop id.
 */
export function sftRow(example: SftExample, tokenizer: SftTokenizer, stopIds: readonly number[]): SftRow {
  const prompt = tokenizer.applyChatTemplate(example.messages, { addGenerationPrompt: true }).ids;
  const response = tokenizer.encode(example.response, { addSpecialTokens: false });
  const last = response[response.length - 1];
  const end = stopIds[0];
  if (end === undefined)
    throw new WeirError(
      "WEIR_E_MODEL_FILES",
      "the model names no end-of-sequence id; add eos_token_id to config.json or generation_config.json",
      {},
    );
  const whole = last !== undefined && stopIds.includes(last) ? response : [...response, end];
  return { tokenIds: [...prompt, ...whole], lossMask: [...prompt.map(() => 0), ...whole.map(() => 1)] };
}

/**
 * Reads a row of an SFT file: `prompt` is a string or a list of messages (or that list as a JSON string).
 * Errors: WEIR_E_DATA naming file, row and column.
 */
export function parseSftExample(row: Readonly<Record<string, unknown>>, file: string, index: number): SftExample {
  const { response } = row;
  if (typeof response !== "string" || response === "") {
    throw cellFault(file, index, "response", "text", response);
  }
  const messages = messagesOf(row.prompt as Json | undefined);
  if (messages === null) throw cellFault(file, index, "prompt", "text or a list of messages", row.prompt);
  return { messages, response };
}
