/** Absolute limits, which hold from the first step on. */
import type { DetectionOptions, StepNumbers } from "../detection-options.js";
import { type Finding, finite, show } from "../finding.js";
import { deviationOf, type Histories } from "../history.js";
import { RATIO_LIMIT } from "../limits.js";
import type { MetricName } from "../metrics.js";
import { SCALES, standsOut } from "./spikes.js";

interface Limit {
  readonly metric: MetricName;
  readonly rule: string;
  readonly level: Finding["level"];
  readonly limit: (options: DetectionOptions) => number;
  readonly text: (value: number, limit: number) => string;
}

const KL: Omit<Limit, "metric" | "text"> = { rule: "kl_limit", level: "error", limit: ({ klLimit }) => klLimit };

/** No sampler should cut a single response short; a few are worth a look before anything is held up. */
const CUT_SHORT_LIMIT = 0.05;

const LIMITS: readonly Limit[] = [
  {
    ...KL,
    metric: "kl/update",
    text: (value, limit) => `the KL of the update is ${show(value)} nats (limit ${limit})`,
  },
  {
    ...KL,
    metric: "kl/old_k3",
    text: (value, limit) => `the KL to the policy before the step is ${show(value)} nats (limit ${limit})`,
  },
  {
    metric: "mismatch_abs",
    rule: "mismatch",
    level: "error",
    limit: ({ mismatchLimit }) => mismatchLimit,
    text: (value, limit) =>
      `sampler and trainer log-probs differ by ${show(value)} nats per token (limit ${limit} for these engines)`,
  },
  {
    metric: "ratio/max",
    rule: "ratio_limit",
    level: "warn",
    limit: () => RATIO_LIMIT,
    text: (value, limit) => `the largest importance ratio is ${show(value)} (limit ${limit})`,
  },
  {
    metric: "advantage/max_abs",
    rule: "advantage_limit",
    level: "error",
    limit: ({ advantageLimit }) => advantageLimit,
    text: (value, limit) =>
      `the largest advantage is ${show(value)} (limit ${show(limit)} for groups of this size); check the advantage part and the rewards`,
  },
  {
    metric: "response/cut_short_share",
    rule: "cut_short",
    level: "error",
    limit: () => CUT_SHORT_LIMIT,
    text: (value) =>
      `${percent(value)} of the responses ended by length before rollout.maxTokens: the sampler stops earlier than it is told to; look at its own limits, such as the context length of its server`,
  },
  {
    metric: "reward/invalid",
    rule: "reward_invalid",
    level: "warn",
    limit: () => 1,
    text: (value) =>
      `${value === 1 ? "a response" : `${value} responses`} got something that is no reward (NaN, or out of range); they count in no mean; repair the reward`,
  },
  {
    metric: "judge/failure_share",
    rule: "judge_failures",
    level: "error",
    limit: ({ judgeFailureShare }) => judgeFailureShare,
    text: (value, limit) =>
      `the judge gave no verdict on ${percent(value)} of the responses that it was asked about (limit ${percent(limit)}, reward.judge.failureLimit); look at its server, or at the reasons in the rollouts`,
  },
  {
    metric: "judge/seconds_p95",
    rule: "judge_slow",
    level: "warn",
    limit: ({ judgeSeconds }) => judgeSeconds,
    text: (value, limit) =>
      `one in twenty answers of the judge took ${show(value)} s or longer (limit ${show(limit)} s, reward.judge.slowSeconds); lower reward.judge.concurrency, or give the judge more machines`,
  },
  {
    metric: "group/stale_dropped_share",
    rule: "stale_flood",
    level: "warn",
    limit: ({ staleShare }) => staleShare,
    text: (value) =>
      `${percent(value)} of the finished groups were too old to be trained on; raise async.maxLag, lower rollout.queueGroups, or give the trainer more of the machine`,
  },
];

const percent = (share: number) => `${Math.round(100 * share)} %`;

export function levelFindings(step: StepNumbers, histories: Histories, options: DetectionOptions): Finding[] {
  const found = LIMITS.flatMap(({ metric, rule, level, limit: of, text }): Finding[] => {
    const value = finite(step.values[metric]);
    const limit = of(options);
    if (value === null || value < limit) return [];
    // What is measured after the step says more than the KL within it.
    if (metric === "kl/old_k3" && finite(step.values["kl/update"]) !== null) return [];
    const changed = hasChanged({ phase: step.phase, metric, value }, limit, histories, options);
    return [{ level, rule, metric, value, threshold: limit, z: null, text: text(value, limit), changed }];
  });
  return [...found, ...truncation(step, histories, options)];
}

/** The steps before were within the limit, and this one is no part of their noise. */
function hasChanged(
  step: { readonly phase: number; readonly metric: MetricName; readonly value: number },
  limit: number,
  histories: Histories,
  options: DetectionOptions,
): boolean {
  const deviation = deviationOf(histories, step, SCALES, options.window);
  return deviation !== null && deviation.level < limit && standsOut(deviation, options.z);
}

/** Responses that end by length say nothing of their answers: the rewards of such a step teach length at most. */
function truncation({ phase, values }: StepNumbers, histories: Histories, options: DetectionOptions): Finding[] {
  const metric = "response/truncated_share";
  const value = finite(values[metric]);
  if (value === null || value < options.truncatedShare) return [];
  const text = `${percent(value)} of the responses ended by length; raise rollout.maxTokens, or look for what makes them long`;
  const changed = hasChanged({ phase, metric, value }, options.truncatedShare, histories, options);
  return [
    { level: "error", rule: "all_truncated", metric, value, threshold: options.truncatedShare, z: null, text, changed },
  ];
}
