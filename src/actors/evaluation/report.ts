/** `report.json` of an evaluation: a summary of each benchmark, and their mean. */
import { mean } from "../../algorithms/statistics.js";
import type { EvaluatedResponse } from "../../contracts/evaluated-response.js";
import type { Json } from "../../contracts/task.js";
import { type BenchmarkSummary, type SummaryOptions, summariseBenchmark } from "./summary.js";

export interface EvaluationReport {
  readonly version: 1;
  readonly policy: Json;
  readonly samples: number;
  readonly benchmarks: Readonly<Record<string, BenchmarkSummary>>;
  /** Means of the benchmarks' scores, each benchmark with the same weight; null where one of them has none. */
  readonly mean: { readonly scoreOverAll: number | null; readonly scoreOverScored: number | null };
}

/** Summaries in the order given. A benchmark without a response is left out. */
export function evaluationReport(
  benchmarks: readonly { readonly name: string; readonly correctAt: number }[],
  responses: readonly Omit<EvaluatedResponse, "response">[],
  options: Omit<SummaryOptions, "correctAt">,
  policy: Json,
): EvaluationReport {
  const summaries = benchmarks.flatMap(({ name, correctAt }) => {
    const own = responses.filter(({ benchmark }) => benchmark === name);
    return own.length === 0 ? [] : [[name, summariseBenchmark(name, own, { ...options, correctAt })] as const];
  });
  const meanOf = (of: (summary: BenchmarkSummary) => number | null) => {
    const values = summaries.map(([, summary]) => of(summary));
    return values.length === 0 || values.includes(null) ? null : mean(values.filter((value) => value !== null));
  };
  return {
    version: 1,
    policy,
    samples: options.samples,
    benchmarks: Object.fromEntries(summaries),
    mean: {
      scoreOverAll: meanOf(({ all }) => all.scoreOverAll?.value ?? null),
      scoreOverScored: meanOf(({ all }) => all.scoreOverScored?.value ?? null),
    },
  };
}
