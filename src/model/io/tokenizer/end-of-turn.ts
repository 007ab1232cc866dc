/**
 * How an assistant's turn ends: read off the chat template, which is what the model meets at sampling time. For Llama 3
 * that is `<|eot_id|>`, although `<|end_of_text|>` is its first stop id.
 */
import { WeirError } from "../../../errors.js";
import type { ChatTurn } from "../chat-template.js";

export interface EndOfTurn {
  /** What the template writes after the content, up to and including the ending token. */
  readonly text: string;
  /** Id of the ending token. */
  readonly id: number;
}

/** What finding the end needs of a tokenizer. */
export interface EndOfTurnSource {
  /** Tokens that never stand for ordinary text: their texts and ids. */
  readonly addedTokens: ReadonlyMap<string, number>;
  readonly specialIds: ReadonlySet<number>;
  /** Text of `eos_token`, or null. */
  readonly endToken: string | null;
  idOf(token: string): number | null;
  /** Null where there is no template. Throws WEIR_E_CHAT_TEMPLATE when it refuses the messages. */
  render(messages: readonly ChatTurn[]): string | null;
}

/** An answer that no template changes and no tokenizer joins with what follows. */
const PROBE = "weirEndOfTurnProbe";

/** What the template writes after the assistant's content; null where it cannot be told. */
function afterContent(source: EndOfTurnSource): string | null {
  try {
    const text = source.render([
      { role: "user", content: "a" },
      { role: "assistant", content: PROBE },
    ]);
    const at = text === null ? -1 : text.lastIndexOf(PROBE);
    return text === null || at < 0 ? null : text.slice(at + PROBE.length);
  } catch (error) {
    if (WeirError.isInstance(error) && error.code === "WEIR_E_CHAT_TEMPLATE") return null;
    throw error;
  }
}

/** The first of some tokens in a text; of those that begin at one place, the longest. */
function firstToken(text: string, tokens: Iterable<readonly [string, number]>): EndOfTurn | null {
  let found: EndOfTurn | null = null;
  let start = Number.POSITIVE_INFINITY;
  for (const [token, id] of tokens) {
    const at = text.indexOf(token);
    const end = at + token.length;
    if (at < 0 || at > start || (at === start && end <= (found?.text.length ?? 0))) continue;
    found = { text: text.slice(0, end), id };
    start = at;
  }
  return found;
}

/**
 * The end of an assistant's turn: the first special token that the template writes after the content, else the first
 * other added token there, else `eos_token`. Null where none of them exists.
 */
export function findEndOfTurn(source: EndOfTurnSource): EndOfTurn | null {
  const eosId = source.endToken === null ? null : source.idOf(source.endToken);
  const eos = source.endToken === null || eosId === null ? null : { text: source.endToken, id: eosId };
  const after = afterContent(source);
  if (after === null) return eos;
  const added = [...source.addedTokens];
  const special = added.filter(([, id]) => source.specialIds.has(id) || id === eosId);
  return firstToken(after, special) ?? firstToken(after, added) ?? eos;
}

/** Stop ids of a model, and the id that ends a turn where it is not among them. */
export function withEndOfTurn(stopIds: readonly number[], endOfTurn: EndOfTurn | null): readonly number[] {
  return endOfTurn === null || stopIds.includes(endOfTurn.id) ? stopIds : [...stopIds, endOfTurn.id];
}
