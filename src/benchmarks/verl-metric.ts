/** Which reward scores a row of verl's form: by `extra_info.reward_mode`, a metric or a LongBench-Pro task, else by `data_source`. */

export const VERL_METRICS = [
  "accuracy",
  "f1",
  "sub_em",
  "ndcg",
  "pairwise",
  "rouge_l",
  "em",
  "math_verify",
  "iou",
  "choice",
  "judge",
] as const;
export type VerlMetric = (typeof VERL_METRICS)[number];

/** GoLongRL's names, in lower case. */
const NAMES: Readonly<Record<string, VerlMetric>> = {
  accuracy: "accuracy",
  f1_score: "f1",
  f1: "f1",
  subem: "sub_em",
  sub_em: "sub_em",
  ndcg: "ndcg",
  pairwise_accuracy: "pairwise",
  pairwise: "pairwise",
  summary: "rouge_l",
  rouge_l: "rouge_l",
  "rouge-l": "rouge_l",
  em: "em",
  math_verify: "math_verify",
  iou: "iou",
  multitableqa_pretraining: "iou",
  selection: "choice",
  model_judge: "judge",
  model_judge_with_question: "judge",
  model_compare: "judge",
};

/** Metrics of LongBench-Pro's tasks by the number that their names begin with. */
const TASKS: Readonly<Partial<Record<VerlMetric, string>>> = {
  ndcg: "T1.1 T1.2",
  pairwise: "T2.1 T2.2 T6.3",
  accuracy: "T3.1 T3.2 T11.1 T11.2",
  rouge_l: "T4.1 T4.2",
  f1: "T5.1 T5.2 T6.2 T7.1 T7.2 T7.3 T9.1 T9.2",
  sub_em: "T6.1 T8.1 T8.2 T8.3 T10.1 T10.2",
};
const TASK_METRICS = new Map(
  Object.entries(TASKS).flatMap(([metric, numbers]) =>
    numbers.split(" ").map((number) => [number, metric as VerlMetric] as const),
  ),
);

/** Null for a name that stands for no metric. */
export function verlMetric(name: string): VerlMetric | null {
  const known = NAMES[name.toLowerCase()];
  if (known !== undefined) return known;
  if (/math_verify/i.test(name)) return "math_verify";
  return TASK_METRICS.get(/^T\d+\.\d+(?=\s|$)/.exec(name)?.[0] ?? "") ?? null;
}
