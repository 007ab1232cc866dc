import { METRICS, type MetricDefinition, type MetricName } from "../../src/streams/telemetry/metrics.js";
import type { ChartSpec } from "./charts.js";

/** Finds metrics by name, and makes a chart of any of them. Pure. */

/** A test of names: a regular expression, ignoring case; where it is not one, a part of a name. */
export function nameTest(query: string): (name: string) => boolean {
  const text = query.trim();
  try {
    const expression = new RegExp(text, "i");
    return (name) => expression.test(name);
  } catch {
    const part = text.toLowerCase();
    return (name) => name.toLowerCase().includes(part);
  }
}

const EXACT = new Map<string, MetricDefinition>(METRICS.map((metric) => [metric.name, metric]));

/** What the registry says of a metric; null of one that a part published. */
export function definitionOf(name: string): MetricDefinition | null {
  return EXACT.get(name) ?? EXACT.get(name.replace(/_\d+$/, "_<k>")) ?? null;
}

/** The unit as charts write it: empty for shares and bare numbers. */
export function unitOf(name: string): string {
  const unit = definitionOf(name)?.unit ?? "1";
  return unit === "1" ? "" : unit;
}

/** A chart of one metric. */
export function singleSpec(name: MetricName): ChartSpec {
  return {
    id: `metric-${name}`,
    title: name,
    unit: unitOf(name),
    track: name === "loss/sft" ? "warmup" : "training",
    series: [{ metric: name, label: "value", colour: 0 }],
    single: name,
  };
}

/** Charts shown of one search: more are slow and nobody reads them. */
const MOST = 60;

/** The charts that fit a search: those of the board first, then one for each further metric; `total` counts them all. */
export function searchedSpecs(
  query: string,
  board: readonly ChartSpec[],
  names: readonly MetricName[],
): { readonly specs: readonly ChartSpec[]; readonly total: number } {
  const fits = nameTest(query);
  const kept = board.filter((spec) => fits(spec.title) || spec.series.some((series) => fits(series.metric)));
  const drawn = new Set<string>(kept.flatMap((spec) => spec.series.map((series) => series.metric)));
  const others = names.filter((name) => fits(name) && !drawn.has(name)).sort();
  const total = kept.length + others.length;
  return { specs: [...kept, ...others.slice(0, Math.max(0, MOST - kept.length)).map(singleSpec)], total };
}
