/** Makes a prompt fit: the longest message is cut in the middle, so that the question and the format line at its end stay. */
import { truncateMiddle } from "../../algorithms/truncation.js";
import type { ChatMessage } from "../../contracts/task.js";

/** What cutting needs of a tokenizer. */
export interface CuttingTokenizer {
  encode(text: string, options?: { readonly addSpecialTokens?: boolean }): number[];
  decode(ids: readonly number[], options?: { readonly skipSpecialTokens?: boolean }): string;
  applyChatTemplate(
    messages: readonly ChatMessage[],
    options: { readonly addGenerationPrompt: boolean },
  ): { readonly ids: readonly number[] };
}

export interface FittedPrompt {
  /** The whole templated prompt, tokens. */
  readonly questionTokens: number;
  /** As they are asked; null where even one token of the longest message is too many. */
  readonly fitted: { readonly messages: readonly ChatMessage[]; readonly ids: readonly number[] } | null;
}

/** A text that is cut may have some tokens more once it is encoded again; each try takes these off. */
const TRIES = 8;

/**
 * The prompt within `limit` tokens. One that is longer loses tokens of its longest message: of m tokens that may stay, the first ⌊m/2⌋
 * and the last ⌈m/2⌉ do, decoded without special tokens, as in QwenLong-L1's evaluation.
 */
export function fitPrompt(messages: readonly ChatMessage[], tokenizer: CuttingTokenizer, limit: number): FittedPrompt {
  const idsOf = (of: readonly ChatMessage[]) => tokenizer.applyChatTemplate(of, { addGenerationPrompt: true }).ids;
  const whole = idsOf(messages);
  const questionTokens = whole.length;
  if (questionTokens <= limit) return { questionTokens, fitted: { messages, ids: whole } };
  const pieces = messages.map(({ content }) => tokenizer.encode(content ?? "", { addSpecialTokens: false }));
  const longest = pieces.reduce((best, piece, i) => (piece.length > (pieces[best]?.length ?? 0) ? i : best), 0);
  const piece = pieces[longest] ?? [];
  let keep = piece.length - (questionTokens - limit);
  for (let tries = 0; tries < TRIES && keep >= 1; tries++) {
    const content = tokenizer.decode(truncateMiddle(piece, keep), { skipSpecialTokens: true });
    const cut = messages.map((message, i) => (i === longest ? { ...message, content } : message));
    const ids = idsOf(cut);
    if (ids.length <= limit) return { questionTokens, fitted: { messages: cut, ids } };
    keep -= ids.length - limit;
  }
  return { questionTokens, fitted: null };
}
