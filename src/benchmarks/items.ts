/** Turns rows of the formats that tasks are read from into items of benchmarks: the same prompt, the same messages about faults. */
import type { BenchmarkItem, BenchmarkRow } from "../contracts/benchmark.js";
import type { Json } from "../contracts/task.js";
import type { TaskFormat } from "../data/formats/index.js";

/**
 * The item of a row that the format reads; `golds` are the answers without a sentence around them, `meta.question` is the question alone.
 * `at` is what messages call the file. Errors: WEIR_E_DATA naming row and column.
 */
export function itemOf(format: TaskFormat, at: string, row: BenchmarkRow, index: number): BenchmarkItem {
  const { messages, source, meta } = format.read(row, { file: at, row: index });
  const { id, answer, answers, index: _row, ...others } = meta;
  const golds = Array.isArray(answers) ? (answers as readonly string[]) : [answer as string];
  return { id: idOf(id, index), source, messages, golds, meta: others };
}

/** The row's own id where it is text or a number, else the row's number. */
export function idOf(id: Json | undefined, index: number): string {
  const own = typeof id === "string" || typeof id === "number" ? String(id) : "";
  return own === "" ? String(index) : own;
}
