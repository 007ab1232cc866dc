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
  if (buckets.length === 0) return null;
  return (
    <section class="card panel" aria-label="Held-out accuracy">
      <header>
        <h3>Held-out accuracy</h3>
        <span class="unit">by length bucket</span>
      </header>
      <div class="scroll-x">
        <table class="heldout">
          <thead>
            <tr>
              <th scope="col">stage</th>
              {buckets.map((bucket) => (
                <th key={bucket} scope="col">
                  {bucket}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {evaluations.slice(-8).map((evaluation) => (
              <tr key={evaluation.stage}>
                <th scope="row">{evaluation.stage.replaceAll("_", " ")}</th>
                {buckets.map((bucket) => {
                  const result = evaluation.buckets[bucket];
                  return (
                    <td key={bucket} title={result ? scoredText(result) : ""}>
                      {result && scoredOf(result) > 0 ? formatPercent(result.correct / scoredOf(result)) : "–"}
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
  if (names.length === 0) return null;
  return (
    <section class="card panel" aria-label="Benchmark scores">
      <header>
        <h3>Benchmark scores</h3>
        <span class="unit">mean by stage</span>
      </header>
      <div class="scroll-x">
        <table class="heldout">
          <thead>
            <tr>
              <th scope="col">stage</th>
              {names.map((name) => (
                <th key={name} scope="col">
                  {name}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {evaluations.slice(-8).map(({ stage, benchmarks = {} }) => (
              <tr key={stage}>
                <th scope="row">{stage.replaceAll("_", " ")}</th>
                {names.map((name) => {
                  const result = benchmarks[name];
                  const score = result?.scoreOverScored ?? null;
                  return (
                    <td key={name} title={result ? benchmarkText(result) : ""}>
                      {score === null ? "–" : formatNumber(score)}
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
