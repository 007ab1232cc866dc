/** Reads prompt columns, and takes the document out of a prompt that follows the paper's template. */
import type { ChatMessage, Json } from "../contracts/task.js";

const ROLES: readonly string[] = ["system", "user", "assistant", "tool"];
const DOCUMENT = /<text>\s*?\n([\s\S]*)\n\s*?<\/text>/;

function isMessage(value: Json): boolean {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  const { role, content } = value as { readonly role?: Json; readonly content?: Json };
  return typeof role === "string" && ROLES.includes(role) && typeof content === "string";
}

/** Messages of a prompt given as a list of messages, as that list in JSON text, or as plain text; null for anything else. */
export function messagesOf(prompt: Json | undefined): ChatMessage[] | null {
  if (Array.isArray(prompt)) {
    if (prompt.length === 0 || !prompt.every(isMessage)) return null;
    return (prompt as readonly Json[]).map((message) => {
      const { role, content } = message as unknown as ChatMessage;
      return { role, content };
    });
  }
  if (typeof prompt !== "string" || prompt === "") return null;
  if (prompt.trimStart().startsWith("[")) {
    try {
      const messages = messagesOf(JSON.parse(prompt) as Json);
      if (messages !== null) return messages;
    } catch {
      // Text that merely begins with a bracket is a plain prompt.
    }
  }
  return [{ role: "user", content: prompt }];
}

/** What stands between `<text>` and the last `</text>` of the first message that has them, null where none does. */
export function documentOf(messages: readonly ChatMessage[]): string | null {
  for (const { content } of messages) {
    const found = DOCUMENT.exec(content)?.[1];
    if (found !== undefined) return found;
  }
  return null;
}

/** A record given as such or as JSON text; null for anything else. */
export function recordOf(value: Json | undefined): Readonly<Record<string, Json>> | null {
  if (typeof value === "string") {
    try {
      return recordOf(JSON.parse(value) as Json);
    } catch {
      return null;
    }
  }
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Readonly<Record<string, Json>>)
    : null;
}
