/**
 * The text helpers that rules share: Python-like white space (the released rules are Python, and their edge cases are
 * part of the specification), the part of a response that counts, and special-token tails.
 */

/** The characters that Python's str.strip() and str.split() take for white space. */
const PYTHON_SPACE = "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const LEADING_SPACE = new RegExp(`^[${PYTHON_SPACE}]+`);
const TRAILING_SPACE = new RegExp(`[${PYTHON_SPACE}]+$`);
const SPACE_RUN = new RegExp(`[${PYTHON_SPACE}]+`);

/** str.strip(). */
export function strip(text: string): string {
  return text.replace(LEADING_SPACE, "").replace(TRAILING_SPACE, "");
}

/** " ".join(text.split()). */
export function squeezeSpaces(text: string): string {
  return text.split(SPACE_RUN).filter(Boolean).join(" ");
}

/** Removes any of `characters` from both ends. */
export function stripCharacters(text: string, characters: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && characters.includes(text[start] as string)) start++;
  while (end > start && characters.includes(text[end - 1] as string)) end--;
  return text.slice(start, end);
}

const THINK_END = "</think>";

/**
 * What follows the last `</think>`, stripped; null where there is no such tag and `requireThink` holds, or nothing follows.
 * Without `requireThink` a response that lacks the tag counts whole, as in the release's evaluation.
 */
export function answerPart(response: string, requireThink: boolean): string | null {
  const tag = response.lastIndexOf(THINK_END);
  if (tag < 0 && requireThink) return null;
  const rest = strip(tag < 0 ? response : response.slice(tag + THINK_END.length));
  return rest === "" ? null : rest;
}

/** End-of-sequence texts of the model families that weir loads, and of the release's base models. */
export const END_TEXTS: readonly string[] = [
  "<|im_end|>",
  "<|endoftext|>",
  "<|eot_id|>",
  "<|end_of_text|>",
  "<｜end▁of▁sentence｜>",
  "</s>",
];

/** Removes one trailing end-of-sequence text. */
export function withoutEndText(response: string, endTexts: readonly string[] = END_TEXTS): string {
  for (const end of endTexts) if (response.endsWith(end)) return response.slice(0, -end.length);
  return response;
}
