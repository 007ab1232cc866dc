import { jsonRecord, type Row } from "../exact.js";
import { cellFault, type RowPlace } from "../faults.js";
import { goldSentences } from "../golds.js";
import { messagesOf, refuseUnreadColumns } from "../messages.js";
import { documentOf } from "../prompt-parts.js";
import { cellAt, hasColumns, optionalRecord, type TaskFormat, text, type UnnamedTask } from "./format.js";

/** weir's own tasks. */
export const TASK: TaskFormat = {
  columns: "weir tasks (messages, goldAnswer, source)",
  rank: 0,
  fits: (row) => hasColumns(row, "messages", "goldAnswer") || hasColumns(row, "messages", "goldAnswers"),
  read: readTask,
};

function readTask(row: Row, place: RowPlace): UnnamedTask {
  refuseUnreadColumns(row, place);
  const messages = messagesOf(row.messages, cellAt(place, "messages"), false);
  const id = row.id ?? null;
  if (id !== null && (typeof id !== "string" || id === "")) {
    throw cellFault(cellAt(place, "id"), "text, or nothing", id);
  }
  const meta = jsonRecord(optionalRecord(row, "meta", place, "an object"));
  const document = row.document;
  const column = row.goldAnswers === undefined || row.goldAnswers === null ? "goldAnswer" : "goldAnswers";
  return {
    id,
    index: typeof meta.index === "number" ? meta.index : 0,
    messages,
    document: typeof document === "string" ? document : documentOf(messages),
    goldAnswers: goldSentences(row[column], cellAt(place, column), "sentence"),
    source: text(row, "source", place),
    promptTokens: 0,
    meta,
  };
}
