import { type Row, toJson } from "../exact.js";
import { cellFault, type RowPlace } from "../faults.js";
import { cellAt, evaluationTask, hasColumns, type TaskFormat, text, type UnnamedTask } from "./format.js";

/** DocMath, an evaluation input of QwenLong-L1. */
export const DOCMATH: TaskFormat = {
  columns: "DocMath (paragraphs, question, ground_truth)",
  rank: 3,
  fits: (row) => hasColumns(row, "paragraphs", "question", "ground_truth"),
  read: readDocMath,
};

/** DocMath: paragraphs joined by newlines are the document. */
function readDocMath(row: Row, place: RowPlace): UnnamedTask {
  const { paragraphs, domain = null, question_id: id = null } = row;
  if (!Array.isArray(paragraphs) || !paragraphs.every((paragraph) => typeof paragraph === "string")) {
    throw cellFault(cellAt(place, "paragraphs"), "a list of texts", paragraphs);
  }
  return evaluationTask(
    {
      source: "docmath",
      document: paragraphs.join("\n"),
      question: text(row, "question", place),
      answers: row.ground_truth,
      column: "ground_truth",
      meta: { domain: toJson(domain), id: toJson(id) },
    },
    place,
  );
}
