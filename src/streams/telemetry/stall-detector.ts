/**
 * Findings about a run that learns nothing: no_update, equal_rewards and unscored. Each text names the cause and what
 * to do. Pure; the only state is the counts of consecutive steps.
 */
import { isCorrect } from "../../algorithms/accuracy.js";
import type { Group } from "../../contracts/group.js";
import type { DropReason } from "../batch-former.js";
import { countBy, unshapedRewards } from "../groups.js";
import type { Finding } from "./finding.js";

export interface StallOptions {
  /** Consecutive RL steps without an update that give no_update. */
  readonly noUpdateSteps: number;
  /** Consecutive RL steps with one reward for all responses that give equal_rewards. */
  readonly equalRewardSteps: number;
  /** Share of unscored rollouts in a step that gives unscored. */
  readonly unscoredShare: number;
}

export interface StallObservation {
  readonly groups: readonly Group[];
  /** Consecutive RL steps, this one included, that changed no weight. */
  readonly idleSteps: number;
  /** Why this step changed no weight; null where it did. */
  readonly idleCause: IdleCause | null;
  /** Unshaped reward from which a rollout counts as right. */
  readonly correctAt: number;
}

/** Why an RL step left the weights as they were. */
export type IdleCause =
  | "equal_rewards"
  | "unscored"
  | "non_finite"
  | "guard"
  | "filtered"
  | "rejected"
  | "zero_rate"
  | "no_gradient";

export interface StallState {
  readonly equalSteps: number;
  /** The reward that every response of those steps got. */
  readonly equalReward: number | null;
}

export const FRESH_STALL: StallState = { equalSteps: 0, equalReward: null };

/** Cause and remedy, as no_update and the end of a run without any update say them. */
export const IDLE_TEXT: Readonly<Record<IdleCause, string>> = {
  equal_rewards:
    "the responses to each prompt got equal rewards, which gives no advantage; use easier or harder tasks, warm the policy up (warmup.data), or raise rollout.groupSize or rollout.temperature",
  unscored:
    "too few responses of a prompt could be scored (dynamicSampling.minScoredShare); repair the reward or judge, or leave out the tasks that it cannot score",
  non_finite:
    "the loss or gradient was not finite each time; lower optimiser.learningRate, and look at the refused mini-batches that the log names",
  guard:
    "the guard skipped every update; look at its reasons in the journal (guard.judged), lower optimiser.learningRate, or change the guard",
  filtered: "the filter part dropped the groups; look at the ledger's reasons, or change dynamicSampling.filter",
  rejected:
    "rollout correction rejected every token; widen update.correction's bounds, lower async.maxLag, or find out why sampler and trainer differ (kl/lag_0, mismatch_kl)",
  zero_rate: "the learning rate was 0; raise optimiser.learningRate",
  no_gradient:
    "the gradient was exactly 0; check that the advantage part returns other numbers than 0 and that responses are not empty",
};

/** The cause of a step without an update, from the outcome of its groups and optimiser steps. */
export function idleCauseOf(step: {
  readonly dropped: readonly DropReason[];
  readonly kept: readonly { readonly group: Group }[];
  /** Mini-batches that were not finite. */
  readonly refused: number;
  /** Mini-batches that the guard skipped though they were finite. */
  readonly skipped: number;
  /** Rollout correction left no token of what was kept. */
  readonly rejected: boolean;
  readonly learningRate: number;
}): IdleCause {
  if (step.refused > 0) return "non_finite";
  if (step.skipped > 0) return "guard";
  if (step.kept.length > 0) {
    if (step.rejected) return "rejected";
    if (step.learningRate === 0) return "zero_rate";
    const varied = step.kept.some(({ group }) => new Set(unshapedRewards(group)).size > 1);
    return varied ? "no_gradient" : "equal_rewards";
  }
  const { group_too_small: small = 0, zero_variance: equal = 0, surplus = 0, ...others } = countBy(step.dropped);
  const filtered = Object.values(others).reduce((sum, count) => sum + count, 0);
  if (filtered > small && filtered > equal) return "filtered";
  return small > equal ? "unscored" : "equal_rewards";
}

/** What a step says, and the counts after it. */
export function stallFindings(
  observation: StallObservation,
  before: StallState,
  options: StallOptions,
): { readonly found: readonly Finding[]; readonly state: StallState } {
  const state = countEqual(before, observation.groups);
  const found = [
    noUpdate(observation, options),
    equalRewards(observation, state, options),
    unscored(observation, options),
  ].flatMap((finding) => finding ?? []);
  return { found, state };
}

/** A step without a scored rollout neither counts nor resets the count. */
function countEqual(before: StallState, groups: readonly Group[]): StallState {
  const rewards = groups.flatMap(unshapedRewards);
  const [first] = rewards;
  if (first === undefined) return before;
  if (rewards.some((reward) => reward !== first)) return FRESH_STALL;
  return { equalSteps: before.equalReward === first ? before.equalSteps + 1 : 1, equalReward: first };
}

function noUpdate({ idleSteps, idleCause }: StallObservation, options: StallOptions): Finding | null {
  if (idleCause === null || idleSteps < options.noUpdateSteps) return null;
  return {
    level: "error",
    rule: "no_update",
    z: null,
    metric: "update/idle_steps",
    value: idleSteps,
    threshold: options.noUpdateSteps,
    text: `no update for ${idleSteps} consecutive RL steps: ${IDLE_TEXT[idleCause]}`,
  };
}

function equalRewards(
  { correctAt }: StallObservation,
  { equalSteps, equalReward }: StallState,
  options: StallOptions,
): Finding | null {
  if (equalReward === null || equalSteps < options.equalRewardSteps) return null;
  const what = isCorrect(equalReward, correctAt)
    ? "all are correct, so nothing is left to learn from these tasks; use harder ones or end the phase"
    : "no response stands out, so nothing can be learnt from them; check with `weir inspect` that correct responses get higher rewards, use easier tasks, or warm the policy up";
  return {
    level: "warn",
    rule: "equal_rewards",
    z: null,
    metric: "reward/std",
    value: 0,
    threshold: 0,
    text: `every scored response of the last ${equalSteps} RL steps got the reward ${equalReward}: ${what}`,
  };
}

function unscored({ groups }: StallObservation, options: StallOptions): Finding | null {
  const members = groups.flatMap((group) =>
    group.members.map(({ outcome }) => ({ outcome, source: group.task.source })),
  );
  const without = members.filter(({ outcome }) => outcome.kind !== "scored");
  const share = members.length === 0 ? 0 : without.length / members.length;
  if (without.length === 0 || share < options.unscoredShare) return null;
  const kinds = countBy(
    without.map(({ outcome }) => (outcome.kind === "failed" ? `failed with ${outcome.code}` : outcome.kind)),
  );
  const sources = countBy(without.map(({ source }) => source));
  return {
    level: "warn",
    rule: "unscored",
    z: null,
    metric: "reward/scored_share",
    value: 1 - share,
    threshold: 1 - options.unscoredShare,
    text:
      `${without.length} of ${members.length} responses (${Math.round(100 * share)} %) could not be scored: ` +
      `${listOf(kinds)}; data sources: ${listOf(sources)}; repair the reward or judge, or leave these tasks out`,
  };
}

/** `a 3, b 1`, the most frequent first, at most five. */
export function listOf(counts: Readonly<Record<string, number>>): string {
  const ranked = Object.entries(counts).sort(([, a], [, b]) => b - a);
  const shown = ranked.slice(0, 5).map(([name, count]) => `${name} ${count}`);
  return ranked.length > shown.length
    ? `${shown.join(", ")} and ${ranked.length - shown.length} more`
    : shown.join(", ");
}
