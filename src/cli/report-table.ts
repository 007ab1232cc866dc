import { formatTable } from "./output.js";

/** The held-out table of a report: a row per length bucket, a column per stage. Null where nothing was evaluated. */
export function heldoutTable(report: unknown): string | null {
  const heldout =
    (report as { heldout?: Record<string, Record<string, { n: number; correct: number }>> } | null)?.heldout ?? {};
  const stages = Object.keys(heldout);
  if (stages.length === 0) return null;
  const labels = [...new Set(stages.flatMap((stage) => Object.keys(heldout[stage] ?? {})))];
  const cell = (stage: string, label: string) => {
    const result = heldout[stage]?.[label];
    return result ? `${((100 * result.correct) / Math.max(1, result.n)).toFixed(1)} %` : "–";
  };
  const counts = (label: string) => Math.max(...stages.map((stage) => heldout[stage]?.[label]?.n ?? 0));
  return formatTable(
    ["prompt tokens", "tasks", ...stages],
    labels.map((label) => [label, counts(label), ...stages.map((stage) => cell(stage, label))]),
  );
}
