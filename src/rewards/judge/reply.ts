/** Reads a judge's reply. */
import type { RewardMode } from "../../contracts/reward.js";

const VERDICTS = { "[[YES]]": 1, "[[NO]]": 0 } as const;
/** What may follow the verdict on its line: white space, Markdown, the end of a sentence, a closing bracket or quotation mark. */
const AFTER = new Set([..." \t\r\n*_`~.!\"')"]);

/**
 * `released`: 1 iff the reply contains upper-case YES anywhere; null for an empty reply.
 * `paper`: the last line that is not empty decides. It has to end with [[YES]] or [[NO]], Markdown and punctuation aside, and must not
 * hold the other one; lines before it may name both. Reasoning up to the last `</think>` is not read.
 * Null where the reply decides nothing: a failure, not a 0.
 */
export function parseJudgeReply(reply: string, mode: RewardMode): 0 | 1 | null {
  if (reply.trim() === "") return null;
  if (mode === "released") return reply.includes("YES") ? 1 : 0;
  const line = lastLine(reply.split("</think>").at(-1) ?? "");
  if (line === null) return null;
  const held = (["[[YES]]", "[[NO]]"] as const).filter((verdict) => line.includes(verdict));
  const [verdict] = held;
  return held.length === 1 && verdict !== undefined && line.endsWith(verdict) ? VERDICTS[verdict] : null;
}

/** The last line that is not empty, up to its last character of weight; null where the reasoning does not end. */
function lastLine(text: string): string | null {
  if (text.includes("<think>")) return null;
  let end = text.length;
  while (end > 0 && AFTER.has(text.charAt(end - 1))) end--;
  return text.slice(text.lastIndexOf("\n", end - 1) + 1, end);
}
