/**
 * From responses to tables. Both means are there: over all responses, where one without a score adds nothing, and over the scored ones
 * (I1: a failure is no 0; what it costs is visible in the difference). Intervals are bootstraps over items, since the
 * responses to one question are alike.
 */
import { isCorrect } from "../../algorithms/accuracy.js";
import { bootstrapRatios, type UnitSum } from "../../algorithms/bootstrap.js";
import { type Interval, wilsonInterval } from "../../algorithms/intervals.js";
import { passAtK } from "../../algorithms/pass-at-k.js";
import { counterKey } from "../../algorithms/random.js";
import { mean, sum } from "../../algorithms/statistics.js";
import type { EvaluatedResponse } from "../../contracts/evaluated-response.js";
import { groupedBy } from "./grouped-by.js";

type Indexed = Omit<EvaluatedResponse, "response">;

export interface Estimate {
  readonly value: number;
  /** 95 % bootstrap interval; null with fewer than two items. */
  readonly low: number | null;
  readonly high: number | null;
}

export interface PassAtK extends Estimate {
  readonly k: number;
  /** Items with at least k scored responses; the others say nothing about pass@k and are left out of it. */
  readonly items: number;
}

export interface ScoreSummary {
  readonly items: number;
  readonly responses: number;
  readonly scored: number;
  /** Responses that the scorer could not score. */
  readonly unscored: number;
  /** Responses that the policy did not give. */
  readonly unanswered: number;
  /** Mean value over all responses, those without a score included in the number; null where there are none. */
  readonly scoreOverAll: Estimate | null;
  /** Mean value over the scored responses; null where none was scored. */
  readonly scoreOverScored: Estimate | null;
  /** Share of right responses (`correctAt`), over the same two numbers. */
  readonly accuracyOverAll: Estimate | null;
  readonly accuracyOverScored: Estimate | null;
  readonly passAt: readonly PassAtK[];
  /** Mean of each named score over the responses that have it. */
  readonly scores: Readonly<Record<string, number>>;
  /** Share of the given responses that ended at the limit of their length. */
  readonly cutShare: number | null;
  /** Items whose prompt was cut in the middle. */
  readonly truncatedPrompts: number;
  readonly promptTokens: number | null;
  readonly responseTokens: number | null;
}

export interface BenchmarkSummary {
  readonly all: ScoreSummary;
  readonly byBucket: Readonly<Record<string, ScoreSummary>>;
  readonly bySource: Readonly<Record<string, ScoreSummary>>;
  /** What went wrong how often, by code. */
  readonly failures: Readonly<Record<string, number>>;
}

export interface SummaryOptions {
  readonly samples: number;
  /** Value from which a response counts as right. */
  readonly correctAt: number;
  readonly bucketOf: (tokens: number | null) => string;
  /** Labels in the order of the table. */
  readonly bucketLabels: readonly string[];
  /** Seed of the bootstrap. */
  readonly seed: number;
}

/** 1, 2, 4 … below n, and n. */
export function passCounts(samples: number): number[] {
  const counts: number[] = [];
  for (let k = 1; k < samples; k *= 2) counts.push(k);
  return [...counts, samples];
}

/** Summary of the responses of one benchmark. */
export function summariseBenchmark(
  name: string,
  responses: readonly Indexed[],
  options: SummaryOptions,
): BenchmarkSummary {
  const part = (label: string, of: readonly Indexed[]) =>
    summarise(of, options, counterKey(options.seed, "bootstrap", name, label));
  const grouped = (key: (response: Indexed) => string, order: readonly string[]) => {
    const groups = groupedBy(responses, key);
    const names = [
      ...order.filter((one) => groups.has(one)),
      ...[...groups.keys()].filter((one) => !order.includes(one)).sort(),
    ];
    return Object.fromEntries(names.map((one) => [one, part(one, groups.get(one) ?? [])]));
  };
  const failures: Record<string, number> = {};
  for (const { outcome } of responses)
    if (outcome.kind !== "scored") failures[outcome.code] = (failures[outcome.code] ?? 0) + 1;
  return {
    all: part("", responses),
    byBucket: grouped(({ questionTokens }) => options.bucketOf(questionTokens), options.bucketLabels),
    bySource: grouped(({ source }) => source, []),
    failures,
  };
}

/** What an item adds to the means. */
interface ItemCounts {
  readonly responses: number;
  readonly scored: number;
  readonly correct: number;
  readonly value: number;
}

function countsOf(responses: readonly Indexed[], correctAt: number): ItemCounts {
  const values = responses.flatMap(({ outcome }) => (outcome.kind === "scored" ? [outcome.value] : []));
  return {
    responses: responses.length,
    scored: values.length,
    correct: values.filter((value) => isCorrect(value, correctAt)).length,
    value: sum(values),
  };
}

export function summarise(
  responses: readonly Indexed[],
  { samples, correctAt }: Pick<SummaryOptions, "samples" | "correctAt">,
  key: number,
): ScoreSummary {
  const items = [...groupedBy(responses, ({ item }) => item).values()];
  const counts = items.map((of) => countsOf(of, correctAt));
  const ks = passCounts(samples);
  const passSeries = ks.map((k) =>
    counts.map(
      ({ scored, correct }): UnitSum =>
        scored >= k ? { sum: passAtK(scored, correct, k), count: 1 } : { sum: 0, count: 0 },
    ),
  );
  const ratio = (total: (of: ItemCounts) => number, count: (of: ItemCounts) => number) =>
    counts.map((of): UnitSum => ({ sum: total(of), count: count(of) }));
  const series = [
    ratio(
      (of) => of.value,
      (of) => of.responses,
    ),
    ratio(
      (of) => of.value,
      (of) => of.scored,
    ),
    ratio(
      (of) => of.correct,
      (of) => of.responses,
    ),
    ratio(
      (of) => of.correct,
      (of) => of.scored,
    ),
    ...passSeries,
  ];
  const intervals = bootstrapRatios(series, { key });
  const estimates = series.map((units, m) => estimateOf(units, intervals[m] ?? null));
  const [scoreOverAll = null, scoreOverScored = null, accuracyOverAll = null, accuracyOverScored = null] = estimates;
  const passAt = ks.flatMap((k, i): PassAtK[] => {
    const estimate = estimates[4 + i] ?? null;
    return estimate === null
      ? []
      : [{ k, ...estimate, items: passSeries[i]?.filter(({ count }) => count > 0).length ?? 0 }];
  });
  return {
    ...totals(items, responses),
    ...{ scoreOverAll, scoreOverScored, accuracyOverAll, accuracyOverScored, passAt },
    ...lengths(items, responses),
  };
}

/** Σ sum / Σ count with its interval. Where every unit is at 0, or every one at 1, resampling knows no other value: Wilson's interval. */
function estimateOf(units: readonly UnitSum[], interval: Interval | null): Estimate | null {
  const counted = units.filter(({ count }) => count > 0);
  if (counted.length === 0) return null;
  const value = sum(counted.map((unit) => unit.sum)) / sum(counted.map((unit) => unit.count));
  const end = interval !== null && (value === 0 || value === 1);
  const { low, high } = end ? wilsonInterval(value * counted.length, counted.length) : (interval ?? NO_INTERVAL);
  return { value, low, high };
}

const NO_INTERVAL = { low: null, high: null };

function totals(items: readonly (readonly Indexed[])[], responses: readonly Indexed[]) {
  const of = (kind: Indexed["outcome"]["kind"]) => responses.filter(({ outcome }) => outcome.kind === kind).length;
  const pairs = responses.flatMap(({ outcome }) => (outcome.kind === "scored" ? Object.entries(outcome.scores) : []));
  const named = groupedBy(pairs, ([name]) => name);
  return {
    items: items.length,
    responses: responses.length,
    scored: of("scored"),
    unscored: of("unscored"),
    unanswered: of("unanswered"),
    scores: Object.fromEntries(
      [...named.keys()].sort().map((name) => [name, mean((named.get(name) ?? []).map(([, value]) => value))]),
    ),
  };
}

function lengths(items: readonly (readonly Indexed[])[], responses: readonly Indexed[]) {
  const known = (of: (response: Indexed) => number | null) => responses.flatMap((response) => of(response) ?? []);
  const meanOf = (values: readonly number[]) => (values.length === 0 ? null : mean(values));
  const given = responses.flatMap(({ finish }) => finish ?? []);
  return {
    cutShare: given.length === 0 ? null : given.filter((finish) => finish === "length").length / given.length,
    truncatedPrompts: items.filter((of) =>
      of.some(({ questionTokens, promptTokens }) => promptTokens !== null && promptTokens < (questionTokens ?? 0)),
    ).length,
    promptTokens: meanOf(known(({ promptTokens }) => promptTokens)),
    responseTokens: meanOf(known(({ responseTokens }) => responseTokens)),
  };
}
