/**
 * Finds the question in a prompt of the paper's template; the document is never sent to the judge.
 * The template is: document between `<text>` and `</text>` on lines of their own, question, format line.
 */
import type { Task } from "../../contracts/task.js";
import { strip } from "../text.js";

const DOCUMENT_START = "<text>";
const DOCUMENT_END = "</text>";
const DOCUMENT_END_LINE = /\n[^\S\n]*<\/text>/g;
const FORMAT_LINE = "Format your response as follows:";

/**
 * The question of a prompt: what stands between the document and the last format line, stripped; null where there is none.
 *
 * Where the document is known it is taken out by its text, so the question may hold anything, and a format line is not
 * needed. Otherwise the document ends at the last `</text>` that begins a line before the format line, or, where none does, at
 * the last `</text>`: a document may hold the tag, a question only inside a line.
 */
export function extractProblem(prompt: string, document: string | null = null): string | null {
  const known = document === null ? null : afterDocument(prompt, document);
  if (known !== null) return nonEmpty(beforeFormat(known) ?? known);
  const body = beforeFormat(prompt);
  if (body === null) return null;
  let start = body.lastIndexOf(DOCUMENT_END);
  if (start < 0) return null;
  for (const line of body.matchAll(DOCUMENT_END_LINE)) start = line.index + line[0].length - DOCUMENT_END.length;
  return nonEmpty(body.slice(start + DOCUMENT_END.length));
}

/** What follows the document and its end tag; null where the prompt does not hold the document in its tags. */
function afterDocument(prompt: string, document: string): string | null {
  const start = prompt.indexOf(DOCUMENT_START);
  const at = start < 0 ? -1 : prompt.indexOf(document, start + DOCUMENT_START.length);
  if (at < 0) return null;
  const rest = strip(prompt.slice(at + document.length));
  return rest.startsWith(DOCUMENT_END) ? rest.slice(DOCUMENT_END.length) : null;
}

function beforeFormat(text: string): string | null {
  const end = text.lastIndexOf(FORMAT_LINE);
  return end < 0 ? null : text.slice(0, end);
}

function nonEmpty(text: string): string | null {
  return strip(text) || null;
}

/** The question that a judge is asked about: that of the task's last user message. */
export function problemOf(task: Pick<Task, "messages" | "document">): string | null {
  const user = task.messages.findLast((message) => message.role === "user");
  return user ? extractProblem(user.content ?? "", task.document) : null;
}
