import type { ChatMessage, Json } from "../contracts/task.js";
import type { SftRow } from "../contracts/trainer.js";
import { WeirError } from "../errors.js";
import { cellFault } from "./faults.js";
import { messagesOf, refuseUnreadColumns } from "./messages.js";

/** SFT rows: a prompt and the response to imitate, as token ids with a loss mask over the response and its end token. */

/** One demonstration as in a file: `prompt` as text or messages, `response` as text. */
export interface SftExample {
  readonly messages: readonly ChatMessage[];
  readonly response: string;
}

/** What this file needs of a tokenizer. */
export interface SftTokenizer {
  /** The text that ends an assistant's turn and the id of its last token; null where neither template nor tokenizer defines it. */
  readonly endOfTurn: { readonly text: string; readonly id: number } | null;
  encode(text: string, options?: { readonly addSpecialTokens?: boolean }): number[];
  applyChatTemplate(
    messages: readonly ChatMessage[],
    options: { readonly addGenerationPrompt: boolean },
  ): { readonly ids: readonly number[] };
}

/**
 * Ids and mask of one example: prompt tokens weigh 0, response tokens and the end token 1 (verl's loss mask, Eq. 11).
 * A response that does not end in a stop id or in the end of a turn gets the end that the chat template writes after an
 * assistant's content, else `eos_token`, else the first stop id. White space after an end token is left out.
 */
export function sftRow(example: SftExample, tokenizer: SftTokenizer, stopIds: readonly number[]): SftRow {
  const prompt = tokenizer.applyChatTemplate(example.messages, { addGenerationPrompt: true }).ids;
  const response = responseIds(example.response, tokenizer, stopIds);
  return { tokenIds: [...prompt, ...response], lossMask: [...prompt.map(() => 0), ...response.map(() => 1)] };
}

function responseIds(response: string, tokenizer: SftTokenizer, stopIds: readonly number[]): readonly number[] {
  const encode = (text: string) => tokenizer.encode(text, { addSpecialTokens: false });
  const end = tokenizer.endOfTurn;
  const ends = end === null ? stopIds : [...stopIds, end.id];
  const isEnded = (ids: readonly number[]) => ids.length > 0 && ends.includes(ids[ids.length - 1]!);
  const ids = encode(response);
  if (isEnded(ids)) return ids;
  const trimmed = encode(response.trimEnd());
  if (isEnded(trimmed)) return trimmed;
  if (end !== null) {
    const whole = encode(response + end.text);
    // A text whose end merges with the token would leave the turn open.
    return whole[whole.length - 1] === end.id ? whole : [...ids, end.id];
  }
  const stop = stopIds[0];
  if (stop === undefined)
    throw new WeirError(
      "WEIR_E_MODEL_FILES",
      "the end of a turn is not defined; add eos_token to tokenizer_config.json, or eos_token_id to config.json or generation_config.json",
      {},
    );
  return [...ids, stop];
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
