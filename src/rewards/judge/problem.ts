/** Owns finding the question in a prompt of the paper's template; the document is never sent to the judge. */
import type { Task } from "../../contracts/task.js";
import { strip } from "../text.js";

const DOCUMENT_END = "</text>";
const FORMAT_LINE = "Format your response as follows:";

/** The text between the first `</text>` and the first format line after it, stripped; null where a marker is missing. */
export function extractProblem(prompt: string): string | null {
  const start = prompt.indexOf(DOCUMENT_END);
  if (start < 0) return null;
  const rest = prompt.slice(start + DOCUMENT_END.length);
  const end = rest.indexOf(FORMAT_LINE);
  return end < 0 ? null : strip(rest.slice(0, end));
}

/** The problem of a task: that of its last user message. */
export function problemOf(task: Task): string | null {
  const user = task.messages.findLast((message) => message.role === "user");
  return user ? extractProblem(user.content ?? "") : null;
}
