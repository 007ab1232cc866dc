/** GoLongRL's reward of tables: the intersection over union of the rows under "data" in a JSON answer, each row as often as it occurs. */
import { type Cell, Exact } from "../data/exact.js";
import { parsedOrNull, recordOf } from "../data/prompt-parts.js";
import { strip } from "../rewards/text.js";

/** Keys of the rows of a JSON text { "data": [...] }; null where it is none. */
export function tableRows(json: string): readonly string[] | null {
  const parsed = parsedOrNull(json);
  const data = typeof parsed === "string" ? undefined : recordOf(parsed)?.data;
  return Array.isArray(data) ? data.map((row: Cell) => keyOf(row)) : null;
}

/** The JSON of a response: what stands between `<answer>` and `</answer>`, else all of it. */
export function tableAnswer(text: string): string {
  const start = text.indexOf("<answer>");
  if (start < 0) return strip(text);
  return strip(text.slice(start + "<answer>".length).split("</answer>")[0] as string);
}

/** In [0, 1]; 0 where both are empty. */
export function rowOverlap(found: readonly string[], golds: readonly string[]): number {
  const left = new Map<string, number>();
  for (const gold of golds) left.set(gold, (left.get(gold) ?? 0) + 1);
  let matches = 0;
  for (const row of found) {
    const count = left.get(row) ?? 0;
    if (count === 0) continue;
    matches++;
    left.set(row, count - 1);
  }
  const total = found.length + golds.length - matches;
  return total === 0 ? 0 : matches / total;
}

/** Cells of a row are compared as text, so that 5 is "5"; a row that is a list differs from one that is a text. */
function keyOf(row: Cell): string {
  return Array.isArray(row) ? JSON.stringify(row.map(textOf)) : textOf(row);
}

function textOf(cell: Cell): string {
  if (typeof cell === "string") return cell;
  if (cell instanceof Exact) return cell.text;
  return JSON.stringify(cell);
}
