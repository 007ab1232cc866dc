/**
 * The scorer of benchmarks with short answers: QwenLong-L1's max(rule, judge), with what LongBench and the release measure besides.
 * `paper` mode compares with every accepted answer by the paper's rule; `released` is the release's evaluation: the first accepted answer
 * only, by its substring rule.
 */
import type { BenchmarkItem, BenchmarkScore, ScoringOptions } from "../contracts/benchmark.js";
import type { RewardMode } from "../contracts/reward.js";
import { answerSentence } from "../data/synthetic/template.js";
import { exactMatch, overlapF1, substringMatch, tokenF1 } from "../rewards/qa.js";
import { ruleOutcome, scoreByRule } from "../rewards/rule.js";
import { withoutEndText } from "../rewards/text.js";
import { scoreWithJudge } from "./judged.js";

/** `source` names the rule, as a task's source does. */
export async function scoreShortAnswer(
  item: BenchmarkItem,
  response: string,
  { mode, source }: { readonly mode: RewardMode; readonly source: string },
  options: ScoringOptions,
): Promise<BenchmarkScore> {
  const golds = mode === "released" ? item.golds.slice(0, 1) : item.golds;
  const goldAnswers = golds.map((gold) => answerSentence(gold, "value"));
  const text = withoutEndText(response);
  const rule = scoreByRule({ source, response: text, goldAnswers }, { mode, requireThink: options.requireThink });
  const outcome = ruleOutcome(rule, mode);
  if (outcome.kind === "failed") return { kind: "unscored", code: outcome.code, reason: outcome.reason };
  const problem = String(item.meta.question);
  return scoreWithJudge(
    {
      rule: rule.score,
      scores: measured(rule.prediction ?? "", item.golds),
      prediction: rule.prediction,
      question: rule.judgeable && rule.stated !== null ? { problem, ...rule.stated } : null,
    },
    options,
  );
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
