/**
 * Rows as verl has them, each scored by the metric that its `extra_info.reward_mode` names, as GoLongRL does. Rows without one are scored by the
 * rule of their `data_source`, as in training.
 */
import type { Benchmark, BenchmarkItem, BenchmarkRow, BenchmarkScore, ScoringOptions } from "../contracts/benchmark.js";
import type { RewardMode } from "../contracts/reward.js";
import type { Json } from "../contracts/task.js";
import { goldSentences } from "../data/golds.js";
import { messagesOf } from "../data/messages.js";
import { parsedOrNull } from "../data/prompt-parts.js";
import { problemOf as taskProblem } from "../rewards/judge/problem.js";
import { parseChoice } from "../rewards/multiple-choice.js";
import { ruleOutcome, scoreByRule } from "../rewards/rule.js";
import { strip, withoutEndText } from "../rewards/text.js";
import { answerOf, scoredAs } from "./answers.js";
import { rowFault, textCell } from "./cells.js";
import { idOf } from "./items.js";
import { scoreByJudge, scoreWithJudge } from "./judged.js";
import * as lists from "./list-metrics.js";
import { statedMath } from "./math/answer.js";
import { sameMath } from "./math/equal.js";
import { rougeL } from "./rouge.js";
import { problemOf } from "./short-answer.js";
import { rowOverlap, tableAnswer, tableRows } from "./table-rows.js";
import { VERL_METRICS, type VerlMetric, verlMetric } from "./verl-metric.js";

const NAME = "verl";
/** ROUGE-L of equal texts is 5e-9 below 1; no other reward comes as near to 1. */
const RIGHT = 1 - 1e-8;

export function createVerl(mode: RewardMode): Benchmark {
  return {
    kind: NAME,
    specificationVersion: 1,
    correctAt: RIGHT,
    item: readRow,
    score: (item, response, options) =>
      item.meta.metric === "rule"
        ? scoreAsTrained(item, response, mode, options)
        : scoreByMetric(item, answerOf(response, options.requireThink), options),
  };
}

function readRow(row: BenchmarkRow, index: number): BenchmarkItem {
  const at = { benchmark: NAME, row, index };
  const place = { file: NAME, row: index };
  const source = textCell(at, "data_source");
  const messages = messagesOf(row.prompt, { ...place, column: "prompt" }, true);
  const extra = recordIn(row.extra_info);
  const mode = extra?.reward_mode;
  const named = typeof mode === "string" && mode !== "" ? mode : null;
  const metric = verlMetric(named ?? source);
  if (named !== null && metric === null)
    throw rowFault(
      NAME,
      index,
      "extra_info.reward_mode",
      `a metric (${VERL_METRICS.join(", ")}) or a task of LongBench-Pro`,
      mode,
    );
  const truth = recordIn(row.reward_model)?.ground_truth;
  const column = "reward_model.ground_truth";
  const golds =
    metric === null ? goldSentences(truth, { ...place, column }, "sentence") : goldsOf(truth, metric, index, column);
  const own = extra?.question;
  const question = typeof own === "string" && own !== "" ? own : taskProblem({ messages, document: null });
  return {
    // An index in extra_info begins anew with each source.
    id: idOf(extra?.id, index),
    source: named ?? source,
    messages,
    golds,
    meta: { metric: metric ?? "rule", dataSource: source, question },
  };
}

/** An object given as such or as JSON text. */
function recordIn(value: Json | undefined): BenchmarkRow | null {
  const parsed = typeof value === "string" ? (parsedOrNull(value) as Json) : value;
  return typeof parsed === "object" && parsed !== null && !Array.isArray(parsed) ? (parsed as BenchmarkRow) : null;
}

/** Texts of a ground truth: a text or number, a list of them, or { doc_ids } or { golden_label } of one; of several objects the last counts. */
function goldsOf(truth: Json | undefined, metric: VerlMetric, index: number, column: string): readonly string[] {
  const last = Array.isArray(truth) && recordIn(truth.at(-1)) !== null ? truth.at(-1) : truth;
  const record = recordIn(last);
  // A table is an object itself, given as text.
  const label = record === null || "data" in record ? last : (record.golden_label ?? record.doc_ids);
  const values = Array.isArray(label) ? label : [label];
  const texts = values.map((value) => (typeof value === "number" ? String(value) : value));
  const whole = texts.length > 0 && texts.every((text) => typeof text === "string" && text !== "");
  const fits = whole && (metric !== "iou" || tableRows(texts[0] as string) !== null);
  if (fits) return texts as readonly string[];
  const expected =
    metric === "iou"
      ? 'JSON text of { "data": [rows] }'
      : "text, a list of texts, or an object with golden_label or doc_ids";
  throw rowFault(NAME, index, column, expected, truth ?? undefined);
}

/** The rule of the data source, raised by the judge where there is one. */
async function scoreAsTrained(
  item: BenchmarkItem,
  response: string,
  mode: RewardMode,
  options: ScoringOptions,
): Promise<BenchmarkScore> {
  const input = { source: String(item.meta.dataSource), response: withoutEndText(response), goldAnswers: item.golds };
  const result = scoreByRule(input, { mode, requireThink: options.requireThink });
  const outcome = ruleOutcome(result, mode);
  if (outcome.kind === "failed") return { kind: "unscored", code: outcome.code, reason: outcome.reason };
  const asks = result.judgeable && result.stated !== null && item.meta.question !== null;
  const question = asks && result.stated ? { problem: problemOf(item), ...result.stated } : null;
  return scoreWithJudge(
    { kind: "ruled", rule: result.score, scores: {}, prediction: result.prediction, question },
    options,
  );
}

type Scorer = (answer: string, golds: readonly string[]) => number | null;

const ofLines =
  (metric: (found: readonly string[], golds: readonly string[]) => number): Scorer =>
  (answer, golds) =>
    metric(lists.linesOf(answer), golds.map(lists.normalLine));

/** Null where nothing can be said about the answer. */
const SCORERS: Readonly<Record<Exclude<VerlMetric, "judge">, Scorer>> = {
  accuracy: ofLines(lists.firstLineAccuracy),
  f1: ofLines(lists.setF1),
  sub_em: ofLines(lists.subExactMatch),
  ndcg: ofLines(lists.ndcg),
  pairwise: ofLines(lists.pairwiseAccuracy),
  rouge_l: rougeScore,
  em: (answer, golds) => Number(strip(golds.at(-1) as string) === answer),
  math_verify: mathScore,
  iou: (answer, golds) => rowOverlap(tableRows(tableAnswer(answer)) ?? [], tableRows(golds[0] as string) ?? []),
  choice: (answer, golds) => choiceScore(parseChoice(answer), golds.at(-1) as string),
};

function rougeScore(answer: string, golds: readonly string[]): number | null {
  const scores = golds.map((gold) => rougeL(lists.normalLine(answer), lists.normalLine(gold)));
  return scores.includes(null) ? null : Math.max(...(scores as number[]));
}

function choiceScore(letter: string | null, gold: string): number {
  return letter !== null && (letter === gold || letter === parseChoice(gold)) ? 1 : 0;
}

function mathScore(answer: string, golds: readonly string[]): number | null {
  const stated = statedMath(answer);
  if (stated === null) return 0;
  const verdicts = golds.map((gold) => sameMath(stated, gold));
  return verdicts.includes(true) ? 1 : verdicts.includes(null) ? null : 0;
}

/** A judge decides where the metric is one, or where it can say nothing. */
async function scoreByMetric(
  item: BenchmarkItem,
  answer: string | null,
  { judge, signal }: ScoringOptions,
): Promise<BenchmarkScore> {
  const metric = item.meta.metric as VerlMetric;
  if (answer === null) return scoredAs(metric, 0, null);
  const equal = metric === "judge" && item.golds.some((gold) => strip(gold) === answer);
  const value = metric === "judge" ? (equal ? 1 : null) : SCORERS[metric](answer, item.golds);
  const prediction = predictionOf(metric, answer);
  if (value !== null) return scoredAs(metric, value, prediction);
  if (judge !== null && item.meta.question !== null)
    return scoreByJudge(
      { problem: problemOf(item), prediction: prediction ?? answer, gold: item.golds[0] as string },
      judge,
      signal,
    );
  return { kind: "unscored", ...UNSCORED[metric === "judge" || metric === "rouge_l" ? metric : "math_verify"] };
}

/** Why a response has no score, where no judge decides. */
const UNSCORED = {
  judge: {
    code: "WEIR_E_ACTOR_MISSING",
    reason: "only a judge can score it, and none is configured or the row has no question",
  },
  rouge_l: { code: "WEIR_E_REWARD", reason: "a sentence is too long for ROUGE-L" },
  math_verify: {
    code: "WEIR_E_REWARD",
    reason: "the gold answer is no mathematics that can be compared; configure a judge, which is asked then",
  },
} as const;

function predictionOf(metric: VerlMetric, answer: string): string | null {
  if (metric === "math_verify") return statedMath(answer);
  if (metric === "choice") return parseChoice(answer);
  if (metric === "iou") return tableAnswer(answer);
  const whole = metric === "rouge_l" || metric === "em" || metric === "judge";
  return whole ? answer : lists.answerArea(answer);
}
