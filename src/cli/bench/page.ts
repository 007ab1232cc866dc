/** Writes benchmark results as Markdown. Pure: from records to text. */
import { median } from "../../algorithms/statistics.js";
import { comparisons, type PeerResults, type PeerRow } from "./peer-results.js";

type Cell = string | number | boolean | null;

/** A table with a caption; rows may lack columns. */
export interface Section {
  readonly title: string;
  readonly text: string;
  readonly rows: readonly Readonly<Record<string, Cell>>[];
  /** Markdown below the table. */
  readonly figure?: string;
}

/** Four significant digits; large numbers in full, small ones with an exponent. */
export function formatCell(value: Cell | undefined): string {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value).replaceAll("|", "\\|");
  if (!Number.isFinite(value)) return String(value);
  if (Number.isInteger(value) || Math.abs(value) >= 10_000) return String(Math.round(value));
  const text = Number(value.toPrecision(4));
  return Math.abs(value) < 1e-3 ? text.toExponential() : String(text);
}

/** A Markdown table; columns of numbers are aligned right. */
export function markdownTable(head: readonly string[], rows: readonly (readonly (Cell | undefined)[])[]): string {
  const numeric = head.map(
    (_, column) => rows.length > 0 && rows.every((row) => typeof (row[column] ?? 0) === "number"),
  );
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  return [
    line(head),
    `|${numeric.map((right) => (right ? "---:" : "---")).join("|")}|`,
    ...rows.map((row) => line(head.map((_, column) => formatCell(row[column])))),
  ].join("\n");
}

/** The columns are all keys that occur, in order of first appearance. */
export function sectionMarkdown(section: Section): string {
  const columns = [...new Set(section.rows.flatMap((row) => Object.keys(row)))];
  const rows = section.rows.map((row) => columns.map((column) => row[column] ?? null));
  const parts = [`## ${section.title}`, section.text, markdownTable(columns, rows), section.figure ?? ""];
  return parts.filter((part) => part !== "").join("\n\n");
}

const fixed = (value: number) => value.toFixed(2);

/** Ratios of every figure of every row, with their spread over pairs. */
export function ratioTable(rows: readonly PeerRow[]): string {
  return markdownTable(
    ["work", "figure", "weir", "peer", "ratio", "min", "max", "pairs"],
    rows.flatMap((row) =>
      comparisons(row).map(({ label, weir, peer, ratio }) => [
        row.title,
        label,
        weir,
        peer,
        fixed(ratio.median),
        fixed(ratio.min),
        fixed(ratio.max),
        ratio.values.length,
      ]),
    ),
  );
}

/** Speed of weir's steps relative to the backend's matrix products; empty where no row has it. */
function peakTable(rows: readonly PeerRow[]): string {
  const measured = rows.flatMap(({ title, executor, pairs }) => {
    const of = (key: string) => pairs.flatMap(({ weir }) => weir[key] ?? []);
    const [peaks, shares] = [of("gemm_gflops"), of("peak_share")];
    if (peaks.length === 0 || shares.length === 0) return [];
    return [[title, executor, median(peaks), fixed(100 * median(shares))]];
  });
  return measured.length === 0 ? "" : markdownTable(["work", "executor", "GEMM peak, GFLOP/s", "share, %"], measured);
}

function commandList(rows: readonly PeerRow[]): string {
  const block = rows.flatMap((row) => [`# ${row.title}`, row.weir_command, row.peer_command]);
  return ["```sh", ...block, "```"].join("\n");
}

/** Tables and commands of a run against peers. */
export function peersMarkdown({ machine, versions, rows }: PeerResults): string {
  const peaks = peakTable(rows);
  const flags = machine.flags.length > 0 ? `; ${machine.flags.join(" ")}` : "";
  const days = [...new Set(rows.map((row) => row.started.slice(0, 10)))].sort();
  return [
    `${machine.cpu}, ${machine.cores} cores, ${formatCell(machine.memory_gb)} GB, ${machine.platform}${flags}.`,
    `${Object.entries(versions)
      .map(([name, version]) => `${name} ${version}`)
      .join(", ")}. Measured ${days.join(", ")}.`,
    "Both sides compute on the CPU. weir and the peer ran alternately, each time in a new process; warm-up steps, in which graphs are compiled, count for neither. A figure is the median over processes of the median over steps. A ratio belongs to one pair of neighbouring processes and is above 1 where weir is faster or smaller; its median, least and greatest value over the pairs are shown. Peak memory is that of weir's engine process, and of the peer's Python process.",
    `The load was measured before each process: other programs used at most ${fixed(100 * Math.max(0, ...rows.map((row) => row.busy_share)))} % of the processors.`,
    ratioTable(rows),
    ...(peaks === ""
      ? []
      : [
          "The peak is the speed of large matrix products on the backend alone, measured before and after the steps. The share counts the operations that the model needs (6 per weight and token, plus causal attention), without recomputation; above 100 % weir's own products are faster than the backend's.",
          peaks,
        ]),
    "Commands of the rows:",
    commandList(rows),
  ].join("\n\n");
}

/** The whole page. */
export function benchmarkPage(results: PeerResults, sections: readonly Section[]): string {
  return `${[
    "# Benchmarks",
    "`weir bench peers`, then `npm run bench:report`, wrote this page.",
    "## Against peers",
    peersMarkdown(results),
    ...sections.map(sectionMarkdown),
  ].join("\n\n")}\n`;
}
