/** The tables of an evaluation and of a comparison, for the terminal. */
import type { Comparison } from "../../actors/evaluation/compare.js";
import type { EvaluationReport } from "../../actors/evaluation/report.js";
import type { Estimate, ScoreSummary } from "../../actors/evaluation/summary.js";
import { formatTable } from "../output.js";

const percent = (value: number | null | undefined) =>
  value === null || value === undefined ? "–" : (100 * value).toFixed(1);
const range = (estimate: Estimate | null) =>
  estimate?.low == null || estimate.high === null ? "–" : `${percent(estimate.low)} to ${percent(estimate.high)}`;

/** One table per benchmark: all of it, its length buckets, its sources; then the means of all benchmarks. Numbers in percent. */
export function reportTables({ benchmarks, mean }: EvaluationReport): string[] {
  const tables = Object.entries(benchmarks).map(([name, { all, byBucket, bySource, failures }]) => {
    const ks = all.passAt.filter(({ k }) => k > 1).map(({ k }) => k);
    const row = (label: string, summary: ScoreSummary) => [
      label,
      summary.items,
      summary.responses,
      summary.unanswered + summary.unscored,
      percent(summary.scoreOverAll?.value),
      percent(summary.scoreOverScored?.value),
      range(summary.scoreOverScored),
      ...ks.map((k) => percent(summary.passAt.find((one) => one.k === k)?.value)),
    ];
    const sources = Object.entries(bySource);
    const rows = [
      row(name, all),
      ...Object.entries(byBucket).map(([label, summary]) => row(`  ${label} tokens`, summary)),
      ...(sources.length > 1 ? sources.map(([label, summary]) => row(`  ${label}`, summary)) : []),
    ];
    const head = [
      "benchmark",
      "items",
      "responses",
      "no score",
      "over all",
      "over scored",
      "95 %",
      ...ks.map((k) => `pass@${k}`),
    ];
    const table = formatTable(head, rows);
    const causes = Object.entries(failures).map(([code, count]) => `${count} × ${code}`);
    return causes.length === 0 ? table : `${table}\nwithout a score: ${causes.join(", ")}`;
  });
  if (tables.length < 2) return tables;
  return [
    ...tables,
    `mean of ${tables.length} benchmarks: ${percent(mean.scoreOverAll)} over all, ${percent(mean.scoreOverScored)} over scored`,
  ];
}

const pValue = (p: number) => (p < 0.0001 ? "<0.0001" : p.toFixed(4));

export function comparisonTable(comparisons: Readonly<Record<string, Comparison | null>>): string {
  const rows = Object.entries(comparisons).map(([name, found]) =>
    found === null
      ? [name, 0, "–", "–", "–", "–", "–", "–", "–"]
      : [
          name,
          found.pairs,
          percent(found.a),
          percent(found.b),
          percent(found.difference),
          found.low === null ? "–" : `${percent(found.low)} to ${percent(found.high)}`,
          `${found.sign.wins}/${found.sign.losses}/${found.sign.ties}`,
          pValue(found.sign.p),
          pValue(found.permutation.p),
        ],
  );
  return formatTable(
    ["benchmark", "pairs", "A", "B", "B − A", "95 %", "better/worse/same", "p (sign)", "p (permutation)"],
    rows,
  );
}
