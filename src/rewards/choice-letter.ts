/**
 * The letter of a multiple-choice statement in the paper mode: A to J in either case, alone, in brackets or quotes,
 * or named ("option B"). Null where the statement names no letter, more than one, or denies it.
 */
import { retracts } from "./answer-statement.js";

const OPEN = "[\\s\"'“‘«`$]{0,12}";
const NAME = "(?:the\\s+)?(?:option|choice|letter|answer|alternative)\\s*:?\\s*";
const BRACKETED = new RegExp(`^${OPEN}(?:${NAME})?${OPEN}[(\\[{]\\s*["'“‘\`]?([A-J])["'”’\`.]?\\s*[)\\]}]`, "iu");
const BARE = new RegExp(`^${OPEN}(${NAME})?${OPEN}[(\\[{]?([A-J])`, "iu");
/** What may follow a letter on its own: the end, punctuation before a space, a closing bracket. */
const AFTER_LETTER = /^["'”’»`$]*(?:$| ?[.,:;!。、，]+(?:[\s"'”’»)\]}$]|$)|[)\]}]|\n)/u;
/** After a capital one also a dash, a bracket or a reason; the lower-case "a" is an article there. */
const AFTER_CAPITAL = /^\s+(?:[–—(-]|(?:because|since|as|which|due|based|according)\b)/u;
/** After a named capital ("option B") anything that does not make it part of a word or a sign. */
const AFTER_NAMED = /^(?![\p{L}\p{N}'’?+#/&])/u;

/** What ends the naming of letters: a sentence, a line, a reason, or what the answer is contrasted with. */
const SCOPE_END =
  /\n|[.!?](?=\s|$)|(?<![\p{L}])(?:because|since|as|which|not|rather|instead|unlike|whereas|while|over)(?![\p{L}])/iu;
/** A further letter in that scope: in brackets, or on its own after "or", "and" or a separator. */
const ANOTHER =
  /(?:^\s*|[\s,;/&+])(?:(?:or|and|nor)\s+|[,;/&+]\s*|and\/or\s+)?(?:(?:option|choice|letter)\s+)?(?:[([{]\s*([A-Ja-j])\s*[)\]}]|(?<=(?:or|and|nor|[,;/&+])\s*(?:option\s+|choice\s+|letter\s+)?)([A-J])(?=$|[.,:;!?)\]}]|\s+(?:or|and)\b))/gu;
const DENIED = /^[\s"'”’»)\]}$]*(?:\?|(?:is|was|seems|looks)\s+(?:not|wrong|incorrect|false)\b|isn['’]t\b)/iu;
/** One more item of a list of letters. */
const LISTED = /^[([{][A-J][)\]}]\s*(?:$|\n|[,.;]|(?:and|or)\b)/iu;

/** The letter as written and where the text goes on; null where the statement begins with none. */
function firstLetter(statement: string): { readonly letter: string; readonly rest: string } | null {
  const bracketed = BRACKETED.exec(statement);
  if (bracketed) return { letter: bracketed[1] as string, rest: statement.slice(bracketed[0].length) };
  const bare = BARE.exec(statement);
  if (!bare) return null;
  const [whole, name, letter = ""] = bare;
  const rest = statement.slice(whole.length);
  const isCapital = letter === letter.toUpperCase();
  const stands =
    AFTER_LETTER.test(rest) ||
    (isCapital && (AFTER_CAPITAL.test(rest) || (name !== undefined && AFTER_NAMED.test(rest))));
  return stands ? { letter, rest } : null;
}

/** The letter, upper case, that a statement names; null where it names none or more than one. */
export function choiceLetter(statement: string): string | null {
  const first = firstLetter(statement);
  if (first === null || DENIED.test(first.rest)) return null;
  const letter = first.letter.toUpperCase();
  const end = SCOPE_END.exec(first.rest);
  const scope = end ? first.rest.slice(0, end.index) : first.rest;
  for (const [, bracketed, bare] of scope.matchAll(ANOTHER)) {
    if ((bracketed ?? bare)?.toUpperCase() !== letter) return null;
  }
  const isSentence = end !== null && !/^\p{L}/u.test(end[0]);
  const after = isSentence ? first.rest.slice(end.index).replace(/^[\s.!?"'”’)\]}]+/, "") : "";
  return retracts(after) || LISTED.test(after) ? null : letter;
}
