/** The tables of `weir bench guard`: from results of runs to rows. Pure. */
import { meanInterval, wilsonInterval } from "../../../algorithms/intervals.js";
import { mean, median } from "../../../algorithms/statistics.js";
import { rounded } from "../statistics.js";
import type { Fault } from "./faults.js";
import type { InjectionResult } from "./injection.js";

/** A fault with the results of its injections, all under the guard. */
export interface FaultRuns {
  readonly fault: Pick<Fault, "name" | "inData">;
  readonly runs: readonly InjectionResult[];
}

export interface DetectionRow {
  readonly fault: string;
  readonly injections: number;
  readonly detected: number;
  /** Wilson interval of the share, 95 %, in per cent. */
  readonly share: string;
  /** Found before an update of the fault had changed the weights. */
  readonly before_commit: number;
  /** Until detection, over those that were detected: median and largest. */
  readonly steps: string;
  readonly updates: string;
  /** What found it, the most frequent first. */
  readonly by: string;
  /** What was done in all injections together. */
  readonly action: string;
  /** Injections whose first alarm with culprits names a spoilt sample first, of those that raised one; – without a cause in the data. */
  readonly culprit: string;
}

const percent = (share: number) => `${(100 * share).toFixed(0)}`;

/** Median and largest of some counts. */
function spread(values: readonly number[]): string {
  return values.length === 0 ? "–" : `${median(values)} (${Math.max(...values)})`;
}

/** Words by how often they occur, such as `mismatch × 3, kl_limit × 1`. */
export function counted(words: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
  const sorted = [...counts].sort(([a, n], [b, m]) => m - n || a.localeCompare(b));
  return sorted.length === 0 ? "–" : sorted.map(([word, n]) => `${word} × ${n}`).join(", ");
}

export function detectionRow({ fault, runs }: FaultRuns): DetectionRow {
  const found = runs.flatMap(({ detection }) => detection ?? []);
  const { low, high } = wilsonInterval(found.length, runs.length);
  const culprits = runs.flatMap(({ culprit }) => culprit ?? []);
  const named = culprits.filter(Boolean).length;
  return {
    fault: fault.name,
    injections: runs.length,
    detected: found.length,
    share: `${percent(found.length / runs.length)} [${percent(low)}, ${percent(high)}]`,
    before_commit: found.filter(({ updates }) => updates === 0).length,
    steps: spread(found.map(({ steps }) => steps)),
    updates: spread(found.map(({ updates }) => updates)),
    by: counted(found.map(({ rule }) => rule)),
    action: actionOf(runs),
    culprit: fault.inData ? `${named}/${culprits.length}` : "–",
  };
}

function actionOf(runs: readonly InjectionResult[]): string {
  const times = (word: string, count: number) => new Array<string>(count).fill(word);
  return counted(
    runs.flatMap(({ verdicts, rollbacks, alarms, status }) => [
      ...Object.entries(verdicts).flatMap(([verdict, count]) => times(verdict, count)),
      ...times("rolled back", rollbacks),
      ...times("alarm", alarms.length),
      ...(status === "completed" ? [] : [status]),
    ]),
  );
}

/** Final accuracies of one fault, by seed in the same order; null where a run gave none, which counts as 0. */
export interface AccuracyRuns {
  readonly fault: string;
  readonly guarded: readonly (number | null)[];
  readonly unguarded: readonly (number | null)[];
  /** Without the fault, in the same setting. */
  readonly undisturbed: readonly number[];
}

export interface AccuracyRow {
  readonly fault: string;
  readonly seeds: number;
  /** Means, per cent. */
  readonly with_guard: number | null;
  readonly without_guard: number | null;
  readonly without_fault: number;
  /** Against the run without the fault of the same seed: mean of the ratios [95 % interval], per cent. */
  readonly guard_ratio: string;
  readonly no_guard_ratio: string;
}

export function accuracyRow({ fault, guarded, unguarded, undisturbed }: AccuracyRuns): AccuracyRow {
  const known = (values: readonly (number | null)[]) => values.map((value) => value ?? 0);
  const shown = (values: readonly (number | null)[]) =>
    values.length === 0 ? null : rounded(100 * mean(known(values)));
  return {
    fault,
    seeds: undisturbed.length,
    with_guard: shown(guarded),
    without_guard: shown(unguarded),
    without_fault: rounded(100 * mean(undisturbed)),
    guard_ratio: ratioText(known(guarded), undisturbed),
    no_guard_ratio: ratioText(known(unguarded), undisturbed),
  };
}

/** Mean of the paired ratios with Student's interval, per cent; without an interval for one pair. */
export function ratioText(values: readonly number[], against: readonly number[]): string {
  const ratios = values.map((value, pair) => (100 * value) / (against[pair] as number));
  if (ratios.length === 0) return "–";
  if (ratios.length === 1) return (ratios[0] as number).toFixed(1);
  const { mean: centre, low, high } = meanInterval(ratios);
  return `${centre.toFixed(1)} [${low.toFixed(1)}, ${high.toFixed(1)}]`;
}

export interface HealthyRow {
  readonly setting: string;
  readonly runs: number;
  /** RL steps of all of them. */
  readonly steps: number;
  /** Alarms, and verdicts other than commit. */
  readonly alarms: number;
  readonly which: string;
}

/** What detectors and guard said of runs without a fault. */
export function healthyRow(setting: string, runs: readonly InjectionResult[], steps: number): HealthyRow {
  const early = runs.flatMap((run) => run.early);
  return { setting, runs: runs.length, steps, alarms: early.length, which: counted(early) };
}
