/**
 * What may reach a terminal. Model output, task ids, file names, judge replies and run folders are foreign text: a
 * control character in them could move the cursor, rename the window or hide what was written.
 * Invariant: the result holds no character of FOREIGN, and JSON text keeps its value, since the escape is JSON's own.
 */

/**
 * C0 controls but line feed and tab, DEL and C1 controls; line and paragraph separators; marks, embeddings, overrides and
 * isolates of bidirectional text; the zero-width space, word joiner, invisible operators, byte-order mark and tag
 * characters. Zero-width joiner and non-joiner stay: Persian, Hindi and emoji are written with them.
 */
const FOREIGN =
  /(?![\n\t])[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}\u180e\u200b\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu;

/** One `\uXXXX` for each UTF-16 unit, as JSON writes it. */
function escaped(text: string): string {
  let result = "";
  for (let i = 0; i < text.length; i++) result += `\\u${text.charCodeAt(i).toString(16).padStart(4, "0")}`;
  return result;
}

/** The text with every control character in visible form; CR LF becomes LF. Line feeds and tabs stay. */
export function printable(text: string): string {
  return text.replaceAll("\r\n", "\n").replaceAll(FOREIGN, escaped);
}

/** The same on one line, for table cells and progress: each run of line feeds and tabs becomes a blank. */
export function printableLine(text: string): string {
  return printable(text).replaceAll(/[\n\t]+/g, " ");
}
