/**
 * Reads chat messages of a row. Every field of a message reaches the chat template, or the row is refused: a silently
 * dropped field would train the model on a different conversation.
 */
import type { ChatMessage, Json } from "../contracts/task.js";
import { type Cell, Exact, type Row, toJson } from "./exact.js";
import { type CellPlace, cellFault } from "./faults.js";
import { isBrokenText, parsedOrNull, recordOf } from "./prompt-parts.js";

const ROLES: readonly string[] = ["system", "user", "assistant", "tool"];

/** What to write for roles of other conventions; chat templates ignore unknown roles, or raise. */
const OTHER_ROLES: Readonly<Record<string, string>> = {
  developer: "system",
  function: "tool",
  ipython: "tool",
  human: "user",
  gpt: "assistant",
  model: "assistant",
  bot: "assistant",
};

/**
 * Messages of a prompt given as a list of messages, as that list in JSON text, or (with `plainText`) as the text of one
 * user message. Errors: WEIR_E_DATA naming file, row, column and message.
 */
export function messagesOf(cell: Cell | undefined, place: CellPlace, plainText: boolean): ChatMessage[] {
  const expected = `${plainText ? "text, or " : ""}a list of messages with role and content`;
  if (typeof cell === "string") {
    const listed = cell.trimStart().startsWith("[") ? parsedOrNull(cell) : null;
    // Text that merely begins with a bracket is a plain prompt.
    if (Array.isArray(listed) && listed.some((item) => recordOf(item)?.role !== undefined))
      return messagesOf(listed, place, plainText);
    if (plainText && cell !== "") {
      if (isBrokenText(cell)) throw cellFault(place, "text that is whole Unicode", cell);
      return [{ role: "user", content: cell }];
    }
  }
  if (!Array.isArray(cell) || cell.length === 0) throw cellFault(place, expected, cell);
  return cell.map((item: Cell, index) => {
    const fault = (problem: string) => cellFault(place, `${expected}; message ${index} ${problem}`, item);
    const fields = item instanceof Exact || typeof item === "string" ? null : recordOf(item);
    if (fields === null) throw fault("is not an object");
    return message(fields, fault);
  });
}

function message(fields: Row, fault: (problem: string) => Error): ChatMessage {
  const { role, content, ...others } = fields;
  if (role === undefined && fields.from !== undefined)
    throw fault('has "from" and "value" in place of role and content; rename them');
  if (typeof role !== "string") throw fault("has no role");
  if (!ROLES.includes(role)) {
    const lower = role.toLowerCase();
    const advice = ROLES.includes(lower) ? lower : OTHER_ROLES[lower];
    throw fault(
      `has the role ${JSON.stringify(role)}, expected one of ${ROLES.join(", ")}${advice ? `; write "${advice}"` : ""}`,
    );
  }
  const extra = extraFields(others, fault);
  const result = { role: role as ChatMessage["role"], content: contentOf(content, extra, fault), ...extra };
  if (isBroken(result)) throw fault("holds a lone surrogate, which is not a character; repair the text");
  return result;
}

function isBroken(value: Json): boolean {
  if (typeof value === "string") return isBrokenText(value);
  return typeof value === "object" && value !== null && Object.values(value).some(isBroken);
}

/** Fields besides role and content; a null stands for a field that the message lacks. */
function extraFields(others: Row, fault: (problem: string) => Error): Record<string, Json> {
  const present = Object.entries(others).filter(([, value]) => value !== null);
  for (const [name, value] of present)
    if (holdsExact(value)) throw fault(`has in "${name}" a value that JSON cannot hold exactly; write it as text`);
  return Object.fromEntries(present.map(([name, value]) => [name, toJson(value)]));
}

function holdsExact(cell: Cell): boolean {
  if (cell instanceof Exact) return typeof toJson(cell) !== "number";
  return typeof cell === "object" && cell !== null && Object.values(cell as Row).some(holdsExact);
}

/** The text of a message: plain text, the only text part of a list, or null where the message calls tools. */
function contentOf(
  content: Cell | undefined,
  extra: Readonly<Record<string, Json>>,
  fault: (problem: string) => Error,
): string | null {
  if (typeof content === "string") return content;
  if (content === null || content === undefined) {
    if (extra.tool_calls !== undefined || extra.function_call !== undefined) return content === null ? null : "";
    throw fault(`has no content${content === null ? " (null); only a message with tool_calls may" : ""}`);
  }
  if (!Array.isArray(content)) throw fault("has a content that is not text");
  const [part, ...more] = content.map((item) => recordOf(item));
  const further = Object.entries(part ?? {}).some(
    ([name, value]) => name !== "type" && name !== "text" && value !== null,
  );
  if (more.length === 0 && !further && part?.type === "text" && typeof part.text === "string") return part.text;
  const kinds = [part, ...more].map((item) => JSON.stringify(item?.type ?? null)).join(", ");
  throw fault(`has a content of parts (${kinds}); weir reads text, so write its text as one string`);
}

/** Columns that change what a template or a model sees, and that weir does not support. */
const UNREAD_COLUMNS: Readonly<Record<string, string>> = {
  tools: "chat templates are rendered without tools; describe the tools in a system message",
  images: "weir trains language models on text; leave the row out",
  videos: "weir trains language models on text; leave the row out",
  audios: "weir trains language models on text; leave the row out",
};

/** Errors: WEIR_E_DATA naming the column, where a row has tools or pictures: its prompt would lack them. */
export function refuseUnreadColumns(row: Row, place: Omit<CellPlace, "column">): void {
  for (const [column, advice] of Object.entries(UNREAD_COLUMNS)) {
    const cell = row[column];
    const given = typeof cell === "string" ? (parsedOrNull(cell) ?? cell) : cell;
    const empty = given === undefined || given === null || given === "" || (Array.isArray(given) && given.length === 0);
    if (!empty) throw cellFault({ ...place, column }, `nothing: ${advice}`, cell);
  }
}
