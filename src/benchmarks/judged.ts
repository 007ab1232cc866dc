/**
 * Scores that a judge decides or raises. Invariant: a judge that fails leaves the response `unscored`; it never becomes a 0 (I1).
 */
import { hybridReward } from "../algorithms/hybrid.js";
import type { BenchmarkScore, ScoringOptions } from "../contracts/benchmark.js";
import type { Judge, JudgeQuery } from "../contracts/judge.js";

export interface RuleScore {
  readonly kind: "ruled";
  /** Whether the rule calls it right. */
  readonly rule: number;
  /** Further measurements; they are stored and change nothing. */
  readonly scores: Readonly<Record<string, number>>;
  readonly prediction: string | null;
  /** What a judge is asked; null where it could change nothing. */
  readonly question: JudgeQuery | null;
}

/** max(rule, judge), as QwenLong-L1 reports it. The judge is asked only where there is one, the rule gives 0 and there is a question. */
export async function scoreWithJudge(score: RuleScore, { judge, signal }: ScoringOptions): Promise<BenchmarkScore> {
  const { rule, prediction, question } = score;
  const scores = { ...score.scores, rule };
  if (judge === null || rule === 1 || question === null) return { kind: "scored", value: rule, scores, prediction };
  const judged = await scoreByJudge(question, judge, signal);
  if (judged.kind === "unscored") return judged;
  const value = hybridReward(rule, judged.value);
  return { ...judged, value, scores: { ...scores, ...judged.scores }, prediction };
}

/** The judge's verdict as a score. */
export async function scoreByJudge(question: JudgeQuery, judge: Judge, signal: AbortSignal): Promise<BenchmarkScore> {
  const verdict = await judge.ask(question, { signal });
  const use = verdict.use === undefined ? {} : { judge: verdict.use };
  if (verdict.kind !== "verdict") {
    const code = verdict.kind === "failed" ? verdict.code : "WEIR_E_JUDGE";
    return { kind: "unscored", code, reason: verdict.reason, ...use };
  }
  const { value } = verdict;
  return { kind: "scored", value, scores: { judge: value }, prediction: question.prediction, ...use };
}
