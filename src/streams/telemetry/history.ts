/**
 * What the steps before say of a metric: its level and its spread. Pure; the state is plain data.
 * Invariants: a step is judged against those before it, never against itself; values that are not finite never enter; a phase
 * border moves the level and keeps the spread, so that no step after it goes unjudged.
 */
import { MAD_TO_STANDARD_DEVIATION, median, medianAbsoluteDeviation } from "../../algorithms/statistics.js";
import { finite } from "./finding.js";
import type { MetricName, MetricValues } from "./metrics.js";

/** How a metric's deviations are measured. */
export interface Scale {
  /** `log` for positive metrics whose steps differ by factors, such as norms and KL. */
  readonly kind: "linear" | "log";
  /** Smallest standard deviation that is believed, in the unit of the scale: without it noise after steady steps would look like a spike. */
  readonly least: number;
}

/** Metrics that have a history, by name. */
export type Scales = { readonly [N in MetricName]?: Scale };

export interface MetricHistory {
  /** On the metric's scale, oldest first; of phases before where `present` is not empty or a border has just passed. */
  readonly settled: readonly number[];
  /** Since the last border, until there are enough of them to move the level; null where no border is near. */
  readonly present: readonly number[] | null;
}

export interface Histories {
  readonly phase: number;
  readonly metrics: Readonly<Record<string, MetricHistory>>;
}

/** How far a value is from the steps before. */
export interface Deviation {
  /** Robust z-score on the metric's scale. */
  readonly z: number;
  /** Median of the steps before, in the metric's own unit. */
  readonly level: number;
  /** A phase border is near: the level may have moved for a good reason. */
  readonly border: boolean;
}

export const NO_HISTORIES: Histories = { phase: 0, metrics: {} };

/** Fewest steps of a z-score: the spread of fewer is too uncertain. */
export const MIN_HISTORY = 8;
/** Steps after a border from which its level is known well enough. */
const BORDER_STEPS = 4;
/** Values below it count as this on a log scale: a KL of 0 is as small as one can be measured. */
const SMALLEST = 1e-9;

const toScale = ({ kind }: Scale, value: number) => (kind === "log" ? Math.log(Math.max(value, SMALLEST)) : value);
const fromScale = ({ kind }: Scale, value: number) => (kind === "log" ? Math.exp(value) : value);

/** Takes a step in. Metrics without a scale have no history. */
export function observed(
  before: Histories,
  step: { readonly phase: number; readonly values: MetricValues },
  scales: Scales,
  window: number,
): Histories {
  const crossed = before.phase !== step.phase && before.phase !== 0;
  const metrics: Record<string, MetricHistory> = {};
  for (const [name, scale] of Object.entries(scales) as [MetricName, Scale][]) {
    const past = before.metrics[name] ?? { settled: [], present: null };
    const history = crossed ? bordered(past) : past;
    const value = finite(step.values[name]);
    if (value !== null) metrics[name] = extended(history, toScale(scale, value), window);
    else if (history.settled.length > 0 || history.present !== null) metrics[name] = history;
  }
  return { phase: step.phase, metrics };
}

function bordered({ settled, present }: MetricHistory): MetricHistory {
  const all = present === null ? settled : rebased(settled, present);
  return { settled: all, present: all.length === 0 ? null : [] };
}

function extended({ settled, present }: MetricHistory, value: number, window: number): MetricHistory {
  if (present === null) return { settled: [...settled, value].slice(-window), present: null };
  const since = [...present, value];
  if (since.length < BORDER_STEPS) return { settled, present: since };
  return { settled: rebased(settled, since).slice(-window), present: null };
}

/** The steps before a border moved to the level of those after it. */
function rebased(settled: readonly number[], present: readonly number[]): number[] {
  if (present.length === 0 || settled.length === 0) return [...settled, ...present];
  const shift = median(present) - median(settled);
  return [...settled.map((value) => value + shift), ...present];
}

/** Null where fewer than `MIN_HISTORY` steps (or the window, where it is shorter) are known, or the metric has no scale. */
export function deviationOf(
  { phase, metrics }: Histories,
  step: { readonly phase: number; readonly metric: MetricName; readonly value: number },
  scales: Scales,
  window: number,
): Deviation | null {
  const scale = scales[step.metric];
  const past = metrics[step.metric];
  if (scale === undefined || past === undefined) return null;
  const history = phase !== step.phase && phase !== 0 ? bordered(past) : past;
  const { settled, present } = history;
  if (settled.length < Math.min(window, MIN_HISTORY)) return null;
  const spread = Math.max(MAD_TO_STANDARD_DEVIATION * medianAbsoluteDeviation(settled), scale.least);
  const levels = [median(settled), ...(present === null || present.length === 0 ? [] : [median(present)])];
  const value = toScale(scale, step.value);
  // Near a border the value may be at either level.
  const level = levels.reduce((best, one) => (Math.abs(value - one) < Math.abs(value - best) ? one : best));
  return { z: (value - level) / spread, level: fromScale(scale, level), border: present !== null };
}

/** The last values of a metric, oldest first, in its own unit; null across a border and where there are fewer than `count`. */
export function lastOf(histories: Histories, metric: MetricName, scales: Scales, count: number): number[] | null {
  const scale = scales[metric];
  const history = histories.metrics[metric];
  if (scale === undefined || history === undefined || history.present !== null || history.settled.length < count)
    return null;
  return history.settled.slice(-count).map((value) => fromScale(scale, value));
}

/** A history from lists of values, oldest first. */
export function historiesOf(
  phase: number,
  values: readonly (readonly [MetricName, readonly number[]])[],
  scales: Scales,
): Histories {
  const metrics = values.flatMap(([metric, list]): [string, MetricHistory][] => {
    const scale = scales[metric];
    return scale === undefined
      ? []
      : [[metric, { settled: list.map((value) => toScale(scale, value)), present: null }]];
  });
  return { phase, metrics: Object.fromEntries(metrics) };
}
