/** Takes the document out of a prompt that follows the paper's template, and reads struct columns. */
import type { ChatMessage } from "../contracts/task.js";
import { type Cell, Exact, type Row } from "./exact.js";
import { parseJson } from "./parse-json.js";

const DOCUMENT = /<text>\s*?\n([\s\S]*)\n\s*?<\/text>/;

/** The text between `<text>` and the last `</text>` of the first message that has both; null without one. */
export function documentOf(messages: readonly ChatMessage[]): string | null {
  for (const { content } of messages) {
    const found = DOCUMENT.exec(content ?? "")?.[1];
    if (found !== undefined) return found;
  }
  return null;
}

/** A record given as such or as JSON text; null for anything else. */
export function recordOf(value: Cell | undefined): Row | null {
  if (typeof value === "string") return recordOf(parsedOrNull(value));
  const record = typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Exact);
  return record ? (value as Row) : null;
}

/** The JSON value of a text; null where it is none. */
export function parsedOrNull(text: string): Cell {
  try {
    return parseJson(text);
  } catch {
    return null;
  }
}

/** True for a text with a lone surrogate, which no tokenizer can encode. */
export function isBrokenText(text: string): boolean {
  return /\p{Cs}/u.test(text);
}
