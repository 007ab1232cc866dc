import type { MetricName } from "../../src/contracts/metrics.js";
import type { MetricTable } from "./metric-table.js";

/** Metrics as CSV (RFC 4180): a row per run and step, empty where a metric is absent. Pure. */

export interface CsvRun {
  readonly id: string;
  readonly table: MetricTable;
}

/** `range` keeps rows whose step lies in it. */
export function metricsCsv(
  runs: readonly CsvRun[],
  names: readonly MetricName[],
  range: readonly [number, number] | null,
): string {
  const lines = [["run", "step", "phase", "time_ms", ...names].map(cell).join(",")];
  for (const { id, table } of runs) {
    const columns = names.map((name) => table.column(name));
    for (const [row, step] of table.steps.entries()) {
      if (range && (step < range[0] || step > range[1])) continue;
      const values = columns.map((column) => column[row] ?? null);
      const head = [id, step, table.phases[row] ?? 0, table.times[row] ?? 0];
      lines.push([...head, ...values].map(cell).join(","));
    }
  }
  return `${lines.join("\r\n")}\r\n`;
}

function cell(value: string | number | null): string {
  if (value === null) return "";
  const text = String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
