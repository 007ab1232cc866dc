import { mean, nearestRank, sum } from "../../algorithms/statistics.js";
import type { Group } from "../../contracts/group.js";
import type { JudgeUse } from "../../contracts/judge.js";
import type { RewardOutcome } from "../../contracts/reward.js";
import type { MetricDraft, MetricValues } from "./metrics.js";

/** What the judge was asked for a step's responses, from their outcomes, so that it does not matter who scored them. Pure. */

/** Per million tokens, in one currency. */
export interface JudgePrice {
  readonly promptPerMillion: number;
  readonly completionPerMillion: number;
}

/** What a question took; null where no judge was asked. */
export function judgeUseOf(outcome: RewardOutcome): JudgeUse | null {
  return "judge" in outcome ? (outcome.judge ?? null) : null;
}

/** True where the judge was asked and gave no verdict. */
export function judgeFailed(outcome: RewardOutcome): boolean {
  return judgeUseOf(outcome) !== null && outcome.kind !== "scored";
}

/** Numbers are absent where nothing was measured, never 0: no time without a question, no tokens where the server tells none. */
export function judgeMetrics(groups: readonly Pick<Group, "members">[], price: JudgePrice | null): MetricValues {
  const outcomes = groups.flatMap(({ members }) => members.map(({ outcome }) => outcome));
  const asked = outcomes.flatMap((outcome) => {
    const use = judgeUseOf(outcome);
    return use === null ? [] : [{ use, failed: judgeFailed(outcome) }];
  });
  const values: MetricDraft = {};
  if (asked.length === 0) return values;
  const uses = asked.map(({ use }) => use);
  values["judge/failure_share"] = mean(asked.map(({ failed }) => (failed ? 1 : 0)));
  values["judge/cached_share"] = mean(uses.map(({ cached }) => (cached ? 1 : 0)));
  values["judge/requests"] = sum(uses.map(({ requests }) => requests));
  const seconds = uses.filter(({ cached }) => !cached).map((use) => use.seconds);
  if (seconds.length > 0) {
    values["judge/seconds_mean"] = mean(seconds);
    values["judge/seconds_p95"] = nearestRank(seconds, 0.95);
  }
  const told = uses.filter(({ promptTokens, completionTokens }) => promptTokens !== null || completionTokens !== null);
  if (told.length === 0) return values;
  const prompt = sum(told.map(({ promptTokens }) => promptTokens ?? 0));
  const completion = sum(told.map(({ completionTokens }) => completionTokens ?? 0));
  values["judge/tokens"] = prompt + completion;
  if (price !== null)
    values["judge/cost"] = (prompt * price.promptPerMillion + completion * price.completionPerMillion) / 1e6;
  return values;
}
