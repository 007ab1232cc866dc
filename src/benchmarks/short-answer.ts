/**
 * The scorer of benchmarks with short answers in words: QwenLong-L1's max(rule, judge), with what LongBench and the release measure besides.
 * `paper` mode compares with every accepted answer by the paper's rule; `released` is the release's evaluation: the first accepted answer
 * only, by its substring rule.
 */
import type { BenchmarkItem, BenchmarkScore, ScoringOptions } from "../contracts/benchmark.js";
import type { JudgeQuery } from "../contracts/judge.js";
import type { RewardMode } from "../contracts/reward.js";
import { answerSentence } from "../data/synthetic/template.js";
import { exactMatch, overlapF1, parseQaAnswer, substringMatch, tokenF1 } from "../rewards/qa.js";
import { ruleOutcome, scoreByRule } from "../rewards/rule.js";
import { answerPart, strip, withoutEndText } from "../rewards/text.js";
import { type RuleScore, scoreWithJudge } from "./judged.js";

/** `source` names the rule, as a task's source does. */
export async function scoreShortAnswer(
  item: BenchmarkItem,
  response: string,
  { mode, source }: { readonly mode: RewardMode; readonly source: string },
  options: ScoringOptions,
): Promise<BenchmarkScore> {
  const score =
    mode === "released"
      ? releasedScore(item, response, options.requireThink)
      : paperScore(item, response, source, options.requireThink);
  return score.kind === "unscored" ? score : scoreWithJudge(score, options);
}

type Ruled = RuleScore | Extract<BenchmarkScore, { readonly kind: "unscored" }>;

/** The paper's rule over all accepted answers. A gold answer that the rule cannot read is a fault of the data. */
export function paperScore(item: BenchmarkItem, response: string, source: string, requireThink: boolean): Ruled {
  const goldAnswers = item.golds.map((gold) => answerSentence(gold, "value"));
  const result = scoreByRule(
    { source, response: withoutEndText(response), goldAnswers },
    { mode: "paper", requireThink },
  );
  const outcome = ruleOutcome(result, "paper");
  if (outcome.kind === "failed") return { kind: "unscored", code: outcome.code, reason: outcome.reason };
  const question = result.judgeable && result.stated !== null ? { problem: problemOf(item), ...result.stated } : null;
  return ruled(result.score, item, result.prediction, question);
}

function releasedScore(item: BenchmarkItem, response: string, requireThink: boolean): RuleScore {
  const part = evaluationPart(response, requireThink);
  const prediction = part === null ? null : parseQaAnswer(part);
  const gold = item.golds[0] as string;
  const rule = prediction !== null && prediction !== "" && substringMatch(prediction, gold) ? 1 : 0;
  return ruled(rule, item, prediction, prediction ? { problem: problemOf(item), prediction, gold } : null);
}

/**
 * What the release's evaluation reads: what follows the last `</think>`; the whole response where the tag is missing or nothing follows it.
 * With `requireThink` such a response has no answer.
 */
export function evaluationPart(response: string, requireThink: boolean): string | null {
  const text = withoutEndText(response);
  return answerPart(text, requireThink) ?? (requireThink ? null : strip(text));
}

export const problemOf = ({ meta }: BenchmarkItem): string => String(meta.question);

function ruled(rule: number, item: BenchmarkItem, prediction: string | null, question: JudgeQuery | null): RuleScore {
  return { kind: "ruled", rule, scores: measured(prediction ?? "", item.golds), prediction, question };
}

/**
 * em, sub_em and f1 as the release stores them, against the first accepted answer; longbench_f1 is LongBench's own metric, the largest
 * F1 over all accepted answers. An empty prediction gives 0 in each.
 */
function measured(prediction: string, golds: readonly string[]): Record<string, number> {
  const first = golds[0] as string;
  if (prediction === "") return { em: 0, sub_em: 0, f1: 0, longbench_f1: 0 };
  return {
    em: Number(exactMatch(prediction, first)),
    sub_em: Number(substringMatch(prediction, first)),
    f1: tokenF1(prediction, first),
    longbench_f1: Math.max(...golds.map((gold) => overlapF1(prediction, gold))),
  };
}
