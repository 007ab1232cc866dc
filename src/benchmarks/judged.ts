/**
 * Scores of benchmarks whose item is right where its rule or a judge says so: max(rule, judge), as QwenLong-L1 reports them.
 * Invariant: a judge that fails leaves the response `unscored`; it never becomes a 0 (I1).
 */

import { hybridReward } from "../algorithms/hybrid.js";
import type { BenchmarkScore, ScoringOptions } from "../contracts/benchmark.js";
import type { JudgeQuery } from "../contracts/judge.js";

export interface RuleScore {
  /** Whether the rule calls it right. */
  readonly rule: 0 | 1;
  /** Further measurements; they are stored and change nothing. */
  readonly scores: Readonly<Record<string, number>>;
  readonly prediction: string | null;
  /** What a judge is asked; null where it could change nothing. */
  readonly question: JudgeQuery | null;
}

/** Asks the judge only where there is one, the rule gives 0 and there is a question. */
export async function scoreWithJudge(score: RuleScore, { judge, signal }: ScoringOptions): Promise<BenchmarkScore> {
  const { rule, scores, prediction, question } = score;
  if (judge === null || rule === 1 || question === null)
    return { kind: "scored", value: rule, scores: { ...scores, rule }, prediction };
  const verdict = await judge.ask(question, { signal });
  const use = verdict.use === undefined ? {} : { judge: verdict.use };
  if (verdict.kind === "verdict") {
    const value = hybridReward(rule, verdict.value);
    return { kind: "scored", value, scores: { ...scores, rule, judge: verdict.value }, prediction, ...use };
  }
  const code = verdict.kind === "failed" ? verdict.code : "WEIR_E_JUDGE";
  return { kind: "unscored", code, reason: verdict.reason, ...use };
}
