import { formatTable } from "./output.js";

interface Counts {
  readonly n: number;
  readonly correct: number;
  readonly unscored?: number;
}

/**
 * The held-out table of a report: a row per length bucket, a column per stage with the share of correct answers among
 * the scored ones. Where some were not scored, columns give the counts of the worst stage. Null where
 * nothing was evaluated.
 */
export function heldoutTable(report: unknown): string | null {
  const heldout = (report as { heldout?: Record<string, Record<string, Counts>> } | null)?.heldout ?? {};
  const stages = Object.keys(heldout);
  if (stages.length === 0) return null;
  const labels = [...new Set(stages.flatMap((stage) => Object.keys(heldout[stage] ?? {})))];
  const results = (label: string) => stages.flatMap((stage) => heldout[stage]?.[label] ?? []);
  const most = (label: string, count: (result: Counts) => number) => Math.max(0, ...results(label).map(count));
  const unscored = (label: string) => most(label, (result) => result.unscored ?? 0);
  const accuracy = (result: Counts | undefined) => {
    const scored = result === undefined ? 0 : result.n - (result.unscored ?? 0);
    return result === undefined || scored === 0 ? "–" : `${((100 * result.correct) / scored).toFixed(1)} %`;
  };
  const someUnscored = labels.some((label) => unscored(label) > 0);
  const total = (label: string) => most(label, ({ n }) => n);
  const counts = (label: string) =>
    someUnscored ? [total(label), total(label) - unscored(label), unscored(label)] : [total(label)];
  return formatTable(
    ["prompt tokens", "tasks", ...(someUnscored ? ["scored", "unscored"] : []), ...stages],
    labels.map((label) => [label, ...counts(label), ...stages.map((stage) => accuracy(heldout[stage]?.[label]))]),
  );
}
