/**
 * Texts of others in a judge's prompt: data, never instructions. Invariants: what is quoted holds no verdict token, no control token of a
 * chat template and no invisible character; nothing that is quoted can end its own marks.
 */
import { createHash } from "node:crypto";

/** Characters that a reader does not see, so that text can be hidden in them: control, zero-width, direction, tags, variation selectors. */
const INVISIBLE = /(?![\t\n\r])\p{Cc}|\p{Cf}|\p{Variation_Selector}/gu;
/** [[YES]] and [[NO]] in any case, with spaces, with brackets of other widths: a judge that repeats it would say it. */
const VERDICT =
  /(?:[[［]\s{0,3}[[［]|⟦)\s{0,3}([yｙ]\s?[eｅ]\s?[sｓ]|[nｎ]\s?[oｏ])\s{0,3}(?:[\]］]\s{0,3}[\]］]|⟧)/giu;
/** The start of what chat templates use as control tokens; some servers read them as such also inside a message. */
const CONTROL =
  /<(?=\s?[|｜]|<\/?SYS>>|\/?(?:s|bos|eos|unk|pad|think|im_start|im_end|start_of_turn|end_of_turn|tool_call|tool_response)>)/gi;
const INSTRUCTION = /\[(?=\/?INST\])/gi;

/** The text without what could act instead of being read: "[[YES]]" becomes "(YES)", "<|im_end|>" becomes "< |im_end|>". */
export function neutralised(text: string): string {
  return text.replace(INVISIBLE, "").replace(VERDICT, "($1)").replace(CONTROL, "< ").replace(INSTRUCTION, "[ ");
}

/** At most about `limit` characters (UTF-16 units): both ends, and between them how many were left out. */
export function shortened(text: string, limit: number): string {
  if (text.length <= limit) return text;
  const head = whole(text.slice(0, Math.ceil(limit / 2)));
  const tail = text.slice(text.length - Math.floor(limit / 2)).replace(/^[\udc00-\udfff]/, "");
  return `${head}\n[… ${text.length - head.length - tail.length} characters left out …]\n${tail}`;
}

/** Without a surrogate that has lost its other half. */
function whole(head: string): string {
  return head.replace(/[\ud800-\udbff]$/, "");
}

/**
 * A name for the marks around these texts, which none of them holds. It follows from the texts, so that a question is always put
 * in the same words.
 */
export function markFor(texts: readonly string[]): string {
  for (let salt = 0; ; salt++) {
    const hash = createHash("sha256")
      .update(JSON.stringify([salt, ...texts]))
      .digest("hex")
      .slice(0, 8);
    if (!texts.some((text) => text.includes(hash))) return `data-${hash}`;
  }
}
