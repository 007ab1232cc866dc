import { type Row, toJson } from "../exact.js";
import { cellFault, type RowPlace } from "../faults.js";
import { parsedOrNull } from "../prompt-parts.js";
import { cellAt, evaluationTask, hasColumns, type TaskFormat, text, type UnnamedTask } from "./format.js";

/** LongBench, an evaluation input of QwenLong-L1. */
export const LONGBENCH: TaskFormat = {
  columns: "LongBench (context, input, answers)",
  rank: 2,
  fits: (row) => hasColumns(row, "context", "input", "answers"),
  read: readLongBench,
};

/**
 * LongBench: context, input and all accepted answers; the subset stands in `dataset`. Rows with `all_classes` are
 * classifications: without the name of a subset they are not treated as questions.
 */
function readLongBench(row: Row, place: RowPlace): UnnamedTask {
  const { answers, _id: id = null, language = null, all_classes: classes = null } = row;
  const listed = typeof answers === "string" ? parsedOrNull(answers) : answers;
  if (!Array.isArray(listed)) throw cellFault(cellAt(place, "answers"), "a list of accepted answers", answers);
  const unnamed = classes === null || (Array.isArray(classes) && classes.length === 0) ? "longbench" : "classification";
  return evaluationTask(
    {
      source: typeof row.dataset === "string" && row.dataset !== "" ? row.dataset : unnamed,
      document: text(row, "context", place),
      question: text(row, "input", place),
      answers,
      column: "answers",
      meta: { id: toJson(id), language: toJson(language) },
    },
    place,
  );
}
