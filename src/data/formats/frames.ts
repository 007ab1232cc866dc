import type { Cell, Row } from "../exact.js";
import { cellFault, type RowPlace } from "../faults.js";
import { parsedOrNull, recordOf } from "../prompt-parts.js";
import { cellAt, evaluationTask, hasColumns, type TaskFormat, text, type UnnamedTask } from "./format.js";

/** Frames, an evaluation input of QwenLong-L1. */
export const FRAMES: TaskFormat = {
  columns: "Frames (wiki_items, Prompt, Answer)",
  rank: 4,
  fits: (row) => hasColumns(row, "wiki_items", "Prompt", "Answer"),
  read: readFrames,
};

/** Frames: title and text of each wiki item, joined by newlines, are the document. */
function readFrames(row: Row, place: RowPlace): UnnamedTask {
  const items = typeof row.wiki_items === "string" ? parsedOrNull(row.wiki_items) : row.wiki_items;
  const pages = Array.isArray(items) ? items.map((item: Cell) => recordOf(item)) : null;
  if (pages === null || !pages.every((page) => typeof page?.title === "string" && typeof page.text === "string")) {
    throw cellFault(cellAt(place, "wiki_items"), "a list of {title, text}", row.wiki_items);
  }
  return evaluationTask(
    {
      source: "frames",
      document: pages.map((page) => `${page?.title}\n${page?.text}`).join("\n"),
      question: text(row, "Prompt", place),
      answers: row.Answer,
      column: "Answer",
      meta: {},
    },
    place,
  );
}
