/** Reads cells of a benchmark's rows; each fault names the benchmark, the row (from 0) and the column. */
import type { BenchmarkRow } from "../contracts/benchmark.js";
import type { Json } from "../contracts/task.js";
import { cellFault } from "../data/faults.js";
import type { WeirError } from "../errors.js";

/** WEIR_E_DATA for one cell. */
export function rowFault(benchmark: string, row: number, column: string, expected: string, value: unknown): WeirError {
  return cellFault({ file: benchmark, row, column }, expected, value);
}

/** A row with the name of its benchmark and its number, for messages. */
export interface RowAt {
  readonly benchmark: string;
  readonly row: BenchmarkRow;
  readonly index: number;
}

/** The value of a path such as "extra_info.reward_mode"; undefined where a step is missing. */
function valueAt(row: BenchmarkRow, column: string): Json | undefined {
  return column
    .split(".")
    .reduce<Json | undefined>(
      (value, key) => (typeof value === "object" && value !== null ? (value as BenchmarkRow)[key] : undefined),
      row,
    );
}

/** Errors: WEIR_E_DATA where the cell is not a text with a character. */
export function textCell({ benchmark, row, index }: RowAt, column: string): string {
  const value = valueAt(row, column);
  if (typeof value === "string" && value !== "") return value;
  throw rowFault(benchmark, index, column, "text", value);
}

/** Errors: WEIR_E_DATA where the cell is not a list of texts with one at least. */
export function textsCell({ benchmark, row, index }: RowAt, column: string): readonly string[] {
  const value = valueAt(row, column);
  const texts = Array.isArray(value) && value.length > 0 && value.every((item) => typeof item === "string");
  if (texts) return value as readonly string[];
  throw rowFault(benchmark, index, column, "a list of texts with one at least", value);
}
