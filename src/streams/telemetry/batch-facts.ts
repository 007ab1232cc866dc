import { isCorrect } from "../../algorithms/accuracy.js";
import { type CopiedShares, copiedShares, copiedTrigrams, quotedShare } from "../../algorithms/overlap.js";
import { mean, nearestRank, standardDeviation, sum } from "../../algorithms/statistics.js";
import type { Group, SampleGroup, ScoredRollout } from "../../contracts/group.js";
import type { RewardOutcome } from "../../contracts/reward.js";
import type { Rollout } from "../../contracts/rollout.js";
import type { Json } from "../../contracts/task.js";
import { type DroppedGroup, TOO_SMALL } from "../batch-former.js";
import { bucketOf, type LengthBound } from "../buckets.js";
import { unshapedRewards } from "../groups.js";
import { behaviourMetrics } from "./behaviour-metrics.js";
import { type Contribution, contributionsOfTokens } from "./contributions.js";
import { type JudgePrice, judgeFailed, judgeMetrics, judgeUseOf } from "./judge-metrics.js";
import type { MetricDraft, MetricName, MetricValues } from "./metrics.js";

/** What is known of an RL step's batch before it is trained on: rewards, lengths, entropy, copying. Pure. */

export interface BatchInput {
  /** Every group of the present phase that finished, kept or not. */
  readonly groups: readonly Group[];
  readonly kept: readonly Pick<SampleGroup, "group">[];
  readonly dropped: readonly DroppedGroup[];
  readonly rounds: number;
  readonly phases: readonly LengthBound[];
  /** Unshaped reward from which a rollout counts as right. */
  readonly correctAt: number;
  readonly maxLag: number;
  /** Length that the sampler was to stop a response at, tokens. */
  readonly maxTokens: number;
  /** Of the judge's tokens; null where they have none. */
  readonly judgePrice: JudgePrice | null;
}

export interface BatchFacts {
  readonly values: MetricValues;
  /** Shares of rollouts in these metrics. */
  readonly contributions: readonly Contribution[];
}

/** What one rollout brings to the metrics of its batch. */
interface RolloutFacts {
  readonly group: Group;
  readonly member: ScoredRollout;
  /** 1 where a 3-gram of its tokens begins that the prompt has. */
  readonly copied: readonly number[];
  /** Share of the evidence that it quotes; null where the task names none. */
  readonly quoted: number | null;
  /** Shares of its words that come from the evidence and from elsewhere; null where the task names no evidence. */
  readonly taken: CopiedShares | null;
  /** Whether rule and judge agree; null where it does not have both. */
  readonly agrees: boolean | null;
}

const NGRAM = 3;
const QUARTERS = [
  "entropy/first_quarter",
  "entropy/second_quarter",
  "entropy/third_quarter",
  "entropy/last_quarter",
] as const;

/** Names and numbers are absent where nothing was measured, never 0. */
export function batchFacts(input: BatchInput): BatchFacts {
  const rollouts = input.groups.flatMap((group) => rolloutFacts(group, input.correctAt));
  return {
    values: {
      ...rewardMetrics(input),
      ...judgeMetrics(input.groups, input.judgePrice),
      ...rolloutMetrics(input),
      ...entropyMetrics(rollouts),
      ...copyMetrics(rollouts),
      ...behaviourMetrics(rollouts.map(({ member }) => member.rollout)),
      ...staleMetrics(input),
    },
    contributions: contributionsOf(rollouts, input),
  };
}

function rolloutFacts(group: Group, correctAt: number): RolloutFacts[] {
  const prompt = group.members[0]?.rollout.promptIds ?? [];
  const copied = copiedTrigrams(
    group.members.map(({ rollout }) => rollout.tokenIds),
    prompt,
  );
  const sentences = textsOf(group.task.meta.evidence) ?? [];
  const document = group.task.document === null ? null : [group.task.document];
  const taken =
    sentences.length === 0
      ? []
      : copiedShares(
          group.members.map(({ rollout }) => rollout.text),
          sentences,
          textsOf(group.task.meta.distractors) ?? document,
        );
  return group.members.map((member, g) => ({
    group,
    member,
    copied: copied[g] ?? [],
    quoted: quotedShare(sentences, member.rollout.text, NGRAM),
    taken: taken[g] ?? null,
    agrees: agreement(member, correctAt),
  }));
}

/** The texts of a list that a row of data holds; null where there is no list. */
function textsOf(value: Json | undefined): readonly string[] | null {
  return Array.isArray(value) ? value.filter((one) => typeof one === "string") : null;
}

function agreement({ outcome }: ScoredRollout, correctAt: number): boolean | null {
  if (outcome.kind !== "scored") return null;
  const { rule, judge } = outcome.parts;
  if (rule === undefined || judge === undefined) return null;
  return isCorrect(rule, correctAt) === isCorrect(judge, correctAt);
}

function rewardMetrics({ groups, dropped, correctAt, phases }: BatchInput): MetricValues {
  const members = groups.flatMap((group) => group.members.map((member) => ({ group, member })));
  // What was scored of a group that is not viable is no fair sample of its responses.
  const unviable = unviableIds(dropped);
  const viable = groups.filter(({ id }) => !unviable.has(id));
  const ofViable = members.filter(({ group }) => !unviable.has(group.id));
  const scored = ofViable.flatMap(({ group, member }) =>
    member.outcome.kind === "scored" && member.reward !== null
      ? [{ group, unshaped: member.outcome.value, shaped: member.reward }]
      : [],
  );
  const values: MetricDraft = {};
  if (members.length > 0) {
    values["reward/scored_share"] = mean(members.map(({ member }) => (member.outcome.kind === "scored" ? 1 : 0)));
    values["reward/invalid"] = members.filter(({ member }) => member.outcome.kind === "invalid").length;
  }
  if (groups.length > 0) values["group/unviable_share"] = 1 - viable.length / groups.length;
  if (viable.length > 0) values["group/zero_variance_share"] = viable.filter(hasEqualRewards).length / viable.length;
  if (scored.length === 0) return values;
  const accuracyOf = (some: typeof scored) =>
    mean(some.map(({ unshaped }) => (isCorrect(unshaped, correctAt) ? 1 : 0)));
  const shaped = scored.map((one) => one.shaped);
  values["reward/mean"] = mean(shaped);
  values["reward/unshaped_mean"] = mean(scored.map(({ unshaped }) => unshaped));
  // One value has no spread.
  values["reward/std"] = shaped.length < 2 ? 0 : standardDeviation(shaped, 1);
  values["accuracy/mean"] = accuracyOf(scored);
  for (const phase of phases) {
    const inBucket = scored.filter(({ group }) => bucketOf(group.task.promptTokens, phases) === phase.k);
    if (inBucket.length > 0) values[`accuracy/bucket_${phase.k}`] = accuracyOf(inBucket);
  }
  return values;
}

function unviableIds(dropped: readonly DroppedGroup[]): ReadonlySet<string> {
  return new Set(dropped.flatMap(({ group, reason }) => (reason === TOO_SMALL ? [group.id] : [])));
}

/** True where at least one member was scored and no two scores differ. */
function hasEqualRewards(group: Group): boolean {
  return new Set(unshapedRewards(group)).size === 1;
}

function rolloutMetrics({ groups, kept, rounds, maxTokens }: BatchInput): MetricValues {
  const rollouts = groups.flatMap((group) => group.members.map((member) => member.rollout));
  const lengths = rollouts.map((rollout) => rollout.tokenIds.length);
  const values: MetricDraft = { "group/kept": kept.length, "group/rounds": rounds };
  if (kept.length > 0) values["group/carried_share"] = mean(kept.map(({ group }) => (group.carried ? 1 : 0)));
  if (rollouts.length === 0) return values;
  values["response/length_mean"] = mean(lengths);
  values["response/length_p95"] = nearestRank(lengths, 0.95);
  values["response/truncated_share"] = mean(rollouts.map(({ finish }) => (finish === "length" ? 1 : 0)));
  values["response/cut_short_share"] = mean(rollouts.map((rollout) => (isCutShort(rollout, maxTokens) ? 1 : 0)));
  values["prompt/length_mean"] = mean(groups.map((group) => group.members[0]?.rollout.promptIds.length ?? 0));
  return values;
}

/** It ended by length before the length that was asked for. */
function isCutShort({ finish, tokenIds }: Rollout, maxTokens: number): boolean {
  return finish === "length" && tokenIds.length < maxTokens;
}

/** Token means over whole responses, and over the quarters of each. */
function entropyMetrics(rollouts: readonly RolloutFacts[]): MetricValues {
  const sums = [0, 0, 0, 0];
  const counts = [0, 0, 0, 0];
  for (const { member } of rollouts) {
    const entropies = member.rollout.entropies ?? [];
    entropies.forEach((value, t) => {
      const quarter = Math.floor((4 * t) / entropies.length);
      sums[quarter] = (sums[quarter] as number) + value;
      counts[quarter] = (counts[quarter] as number) + 1;
    });
  }
  const values: MetricDraft = {};
  if (sum(counts) > 0) values["entropy/mean"] = sum(sums) / sum(counts);
  for (const [quarter, name] of QUARTERS.entries()) {
    const count = counts[quarter] as number;
    if (count > 0) values[name] = (sums[quarter] as number) / count;
  }
  return values;
}

function copyMetrics(rollouts: readonly RolloutFacts[]): MetricValues {
  const shares = rollouts.flatMap(({ copied }) => (copied.length === 0 ? [] : [mean(copied)]));
  const quoted = rollouts.flatMap((one) => (one.quoted === null ? [] : [one.quoted]));
  const taken = rollouts.flatMap((one) => one.taken ?? []);
  const distracted = taken.flatMap(({ distractors }) => distractors ?? []);
  const agreed = rollouts.flatMap(({ agrees }) => (agrees === null ? [] : [agrees ? 1 : 0]));
  return {
    ...(shares.length === 0 ? {} : { "response/ngram_overlap": mean(shares) }),
    ...(quoted.length === 0 ? {} : { "response/evidence_overlap": mean(quoted) }),
    ...(taken.length === 0 ? {} : { "response/evidence_copied": mean(taken.map(({ evidence }) => evidence)) }),
    ...(distracted.length === 0 ? {} : { "response/distractor_copied": mean(distracted) }),
    ...(agreed.length === 0 ? {} : { "reward/rule_judge_agreement": mean(agreed) }),
  };
}

function staleMetrics({ kept, dropped, maxLag }: BatchInput): MetricValues {
  const ended = kept.length + dropped.length;
  if (maxLag === 0 || ended === 0) return {};
  return { "group/stale_dropped_share": dropped.filter(({ reason }) => reason === "stale").length / ended };
}

/** The quantity of each metric that a rollout brings to it, so that an alarm names those that raised it (I15). */
function contributionsOf(rollouts: readonly RolloutFacts[], { dropped, maxTokens }: BatchInput): Contribution[] {
  const of = (metric: MetricName, perToken: (one: RolloutFacts) => readonly number[]) =>
    contributionsOfTokens(
      metric,
      rollouts.map((one) => ({ rolloutId: one.member.rollout.id, perToken: perToken(one) })),
    );
  /** The whole of a rollout, shown at its last token. */
  const whole = (metric: MetricName, amount: (one: RolloutFacts) => number | null) =>
    rollouts.flatMap((one): Contribution[] => {
      const contribution = amount(one);
      const { id, tokenIds } = one.member.rollout;
      if (contribution === null) return [];
      return [{ metric, rolloutId: id, contribution, tokenIndex: Math.max(0, tokenIds.length - 1) }];
    });
  const flag = (holds: boolean) => (holds ? 1 : null);
  const unviable = unviableIds(dropped);
  return [
    ...of("entropy/mean", ({ member }) => member.rollout.entropies ?? []),
    ...of("response/ngram_overlap", ({ copied }) => copied),
    ...whole("response/length_mean", ({ member }) => member.rollout.tokenIds.length),
    ...whole("response/length_p95", ({ member }) => member.rollout.tokenIds.length),
    ...whole("response/truncated_share", ({ member }) => flag(member.rollout.finish === "length")),
    ...whole("response/cut_short_share", ({ member }) => flag(isCutShort(member.rollout, maxTokens))),
    ...whole("response/evidence_overlap", ({ quoted }) => (quoted === null ? null : 1 - quoted)),
    ...whole("reward/rule_judge_agreement", ({ agrees }) => flag(agrees === false)),
    ...whole("judge/failure_share", ({ member }) => flag(judgeFailed(member.outcome))),
    ...whole("judge/seconds_p95", ({ member }) => judgeSeconds(member.outcome)),
    ...whole("reward/invalid", ({ member }) => flag(member.outcome.kind === "invalid")),
    ...whole("reward/scored_share", ({ member }) => flag(member.outcome.kind !== "scored")),
    ...whole("reward/mean", ({ group, member }) => (unviable.has(group.id) ? null : member.reward)),
    ...dropped.flatMap(({ group, reason }) =>
      reason !== "stale"
        ? []
        : group.members.map(({ rollout }): Contribution => {
            return { metric: "group/stale_dropped_share", rolloutId: rollout.id, contribution: 1, tokenIndex: 0 };
          }),
    ),
  ];
}

/** Time of a question that was asked; null where the cache answered or there was none. */
function judgeSeconds(outcome: RewardOutcome): number | null {
  const use = judgeUseOf(outcome);
  return use === null || use.cached ? null : use.seconds;
}
