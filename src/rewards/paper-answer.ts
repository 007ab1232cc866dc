/** Reads an answer in the paper mode: one statement for all families, then the form that each family compares. */

import type { RewardFamily } from "../contracts/reward.js";
import { lastStatement, readingsOf } from "./answer-statement.js";
import { choiceLetter } from "./choice-letter.js";
import { parseNumber } from "./number-expression.js";
import { closedAnswer, qaKey } from "./qa-key.js";
import { rationalText } from "./rational.js";
import { strip, stripCharacters } from "./text.js";

export interface Answer {
  /** What was read: the canonical number, the letter, the text of the statement. May be empty. */
  readonly text: string;
  /** The statement as it stands, for the judge. */
  readonly stated: string;
  /** What the answer is compared by; the first is that of the whole statement. Empty where nothing can be compared. */
  readonly keys: readonly string[];
}

/** The answer that a response states; null where it states none. */
export function paperAnswer(text: string, family: RewardFamily): Answer | null {
  const statement = lastStatement(text);
  if (statement === null) return null;
  if (family === "qa") return qaAnswer(statement);
  if (family === "multiple-choice") {
    const letter = choiceLetter(statement);
    return letter === null ? null : { text: letter, stated: letter, keys: [letter] };
  }
  return numericAnswer(statement);
}

function numericAnswer(statement: string): Answer {
  const readings = readingsOf(statement);
  const stated = trimmed(readings.stated);
  for (const reading of readings.all) {
    const number = parseNumber(reading);
    if (number !== null) return { text: rationalText(number), stated, keys: [rationalText(number)] };
  }
  return { text: stated, stated, keys: [] };
}

/** The answer of a gold sentence; null where no response can ever equal it. A QA gold answer is the whole statement. */
export function paperGold(sentence: string, family: RewardFamily): Answer | null {
  const whole = strip(sentence);
  const answer = paperAnswer(whole, family);
  if (answer === null || answer.keys.length === 0) return null;
  if (family !== "qa") return answer;
  const text = trimmed(lastStatement(whole) as string);
  return { text, stated: text, keys: answer.keys.slice(0, 1) };
}

function qaAnswer(statement: string): Answer {
  const { stated, all } = readingsOf(statement);
  const texts = all.map(trimmed).filter((text) => text !== "");
  const closed = closedAnswer(stated);
  const keys = texts.map(qaKey);
  if (closed !== null) keys.push(qaKey(closed));
  return { text: trimmed(stated), stated: trimmed(stated), keys: [...new Set(keys)] };
}

/** Quotation marks of any script; inside an answer they keep it from counting as quoted as a whole. */
const QUOTED = /^["'“”„‟‘’‚‛«»‹›`]+([^"“”„‟«»‹›`]*)["'“”„‟‘’‚‛«»‹›`]+$/u;

/** Without white space and dots at the ends, nor quotation marks around the whole. */
function trimmed(text: string): string {
  const bare = withoutDots(text);
  const quoted = QUOTED.exec(bare)?.[1];
  return quoted === undefined ? bare : withoutDots(quoted);
}

/** Without white space and dots at the ends; the point of ".5" stays. */
function withoutDots(text: string): string {
  const bare = stripCharacters(text, " .。\n");
  return /^\d/.test(bare) && text.includes(`.${bare}`) ? `.${bare}` : bare;
}
