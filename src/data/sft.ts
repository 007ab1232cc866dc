import type { ChatMessage, Json } from "../contracts/task.js";
import type { SftRow } from "../contracts/trainer.js";
import { WeirError } from "../errors.js";
import { cellFault } from "./faults.js";
import { messagesOf, refuseUnreadColumns } from "./messages.js";

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
 * Reads a row of an SFT file: `prompt`, or else `messages`, is a list of messages, that list as JSON text, or plain text;
 * `response` is what the assistant says to it. Errors: WEIR_E_DATA naming file, row and column.
 */
export function parseSftExample(row: Readonly<Record<string, Json>>, file: string, index: number): SftExample {
  const place = { file, row: index };
  const { response } = row;
  if (typeof response !== "string" || response === "") {
    const whole = row.response === undefined && row.messages !== undefined;
    const advice = whole ? " (the assistant's last message, taken out of messages)" : "";
    throw cellFault({ ...place, column: "response" }, `text${advice}`, response);
  }
  const column = (row.prompt ?? null) === null && (row.messages ?? null) !== null ? "messages" : "prompt";
  refuseUnreadColumns(row, place);
  return { messages: messagesOf(row[column], { ...place, column }, true), response };
}
