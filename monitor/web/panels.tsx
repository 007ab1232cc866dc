import type { Evaluation } from "../protocol/index.js";
import { formatClock, formatNumber, formatPercent } from "./format.js";
import { type Store, useTopics } from "./store.js";

interface Counted {
  readonly n: number;
  readonly correct: number;
  readonly unscored?: number | undefined;
}

const scoredOf = ({ n, unscored = 0 }: Counted) => n - unscored;

/** "3 of 8 scored, 2 unscored" */
function scoredText(result: Counted): string {
  const { correct, unscored = 0 } = result;
  return `${correct} of ${scoredOf(result)}${unscored > 0 ? ` scored, ${unscored} unscored` : ""}`;
}

/** The small panels next to the charts: held-out results and the log. */

export function HeldOut({ store }: { readonly store: Store }) {
  useTopics(store, "run");
  const evaluations = store.run?.evaluations ?? [];
  const buckets = [...new Set(evaluations.flatMap((evaluation) => Object.keys(evaluation.buckets)))];
  const cell = ({ buckets }: Evaluation, label: string): Cell => {
    const result = buckets[label];
    const text = result && scoredOf(result) > 0 ? formatPercent(result.correct / scoredOf(result)) : "–";
    return { text, title: result ? scoredText(result) : "" };
  };
  return (
    <StageTable
      title="Held-out accuracy"
      unit="by length bucket"
      columns={buckets}
      evaluations={evaluations}
      cell={cell}
    />
  );
}

type BenchmarkScores = NonNullable<Evaluation["benchmarks"]>[string];

/** "0.412 over 48 of 50 responses, pass@4 0.6" */
function benchmarkText({ responses, scored, scoreOverScored, passAt }: BenchmarkScores): string {
  const score = scoreOverScored === null ? "no score" : formatNumber(scoreOverScored);
  const passes = passAt.filter(({ k }) => k > 1).map(({ k, value }) => `, pass@${k} ${formatNumber(value)}`);
  return `${score} over ${scored} of ${responses} responses${passes.join("")}`;
}

/** Scores of the benchmarks by stage: the mean over the responses that have one. */
export function Benchmarks({ store }: { readonly store: Store }) {
  useTopics(store, "run");
  const evaluations = (store.run?.evaluations ?? []).filter(({ benchmarks }) => benchmarks !== undefined);
  const names = [...new Set(evaluations.flatMap(({ benchmarks = {} }) => Object.keys(benchmarks)))];
  const cell = ({ benchmarks = {} }: Evaluation, name: string): Cell => {
    const result = benchmarks[name];
    const score = result?.scoreOverScored ?? null;
    return { text: score === null ? "–" : formatNumber(score), title: result ? benchmarkText(result) : "" };
  };
  return (
    <StageTable title="Benchmark scores" unit="mean by stage" columns={names} evaluations={evaluations} cell={cell} />
  );
}

interface Cell {
  readonly text: string;
  readonly title: string;
}

interface StageTableProps {
  readonly title: string;
  readonly unit: string;
  readonly columns: readonly string[];
  readonly evaluations: readonly Evaluation[];
  readonly cell: (evaluation: Evaluation, column: string) => Cell;
}

/** The newest evaluations, a line for each stage; nothing without columns. */
function StageTable({ title, unit, columns, evaluations, cell }: StageTableProps) {
  if (columns.length === 0) return null;
  return (
    <section class="card panel" aria-label={title}>
      <header>
        <h3>{title}</h3>
        <span class="unit">{unit}</span>
      </header>
      <div class="scroll-x">
        <table class="heldout">
          <thead>
            <tr>
              <th scope="col">stage</th>
              {columns.map((column) => (
                <th key={column} scope="col">
                  {column}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {evaluations.slice(-8).map((evaluation) => (
              <tr key={evaluation.stage}>
                <th scope="row">{evaluation.stage.replaceAll("_", " ")}</th>
                {columns.map((column) => {
                  const { text, title } = cell(evaluation, column);
                  return (
                    <td key={column} title={title}>
                      {text}
                    </td>
                  );
                })}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

export function Log({ store }: { readonly store: Store }) {
  useTopics(store, "logs");
  const lines = store.logs.slice(-80).toReversed();
  if (lines.length === 0) return null;
  return (
    <section class="card panel" aria-label="Log">
      <header>
        <h3>Log</h3>
      </header>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a scrolled region must be reachable by keyboard. */}
      <ol class="log" tabIndex={0} aria-label="Log, newest first">
        {lines.map((line, i) => (
          <li key={`${line.time}-${lines.length - i}`} class={line.level}>
            <time>{formatClock(line.time)}</time> {line.text}
          </li>
        ))}
      </ol>
    </section>
  );
}
