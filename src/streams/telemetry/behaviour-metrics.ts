import { behaviourSpans, countBehaviours } from "../../algorithms/behaviours.js";
import { correlation, mean } from "../../algorithms/statistics.js";
import { BEHAVIOURS, type BehaviourCounts, type BehaviourSpan } from "../../contracts/behaviour.js";
import type { Rollout } from "../../contracts/rollout.js";
import type { MetricDraft, MetricValues } from "./metrics.js";

/** Behaviours of the responses of a step, by their words and by the judge. What was not counted is absent, never 0. */

const found = new WeakMap<Pick<Rollout, "text">, readonly BehaviourSpan[]>();

/** The behaviours of a rollout, in characters of its text; each rollout is searched once. */
export function behavioursOf(rollout: Pick<Rollout, "text">): readonly BehaviourSpan[] {
  const known = found.get(rollout);
  if (known) return known;
  const spans = behaviourSpans(rollout.text);
  found.set(rollout, spans);
  return spans;
}

/** Mean counts per response by the words. */
export function behaviourMetrics(rollouts: readonly Pick<Rollout, "text">[]): MetricValues {
  if (rollouts.length === 0) return {};
  const counts = rollouts.map((rollout) => countBehaviours(behavioursOf(rollout)));
  const values: MetricDraft = {};
  for (const behaviour of BEHAVIOURS)
    values[`behaviour/${behaviour}_per_response`] = mean(counts.map((count) => count[behaviour]));
  return values;
}

/** The counts of one response. */
export interface ComparedCounts {
  readonly byWords: BehaviourCounts;
  /** Null where the judge gave none. */
  readonly byJudge: BehaviourCounts | null;
}

/** What the judge counted in the responses that it was asked about, and how far that agrees with the words. */
export function judgedMetrics(responses: readonly ComparedCounts[]): MetricValues {
  if (responses.length === 0) return {};
  const judged = responses.flatMap(({ byWords, byJudge }) => (byJudge === null ? [] : [{ byWords, byJudge }]));
  const values: MetricDraft = { "behaviour/judge_failed_share": (responses.length - judged.length) / responses.length };
  if (judged.length === 0) return values;
  for (const behaviour of BEHAVIOURS) {
    const byWords = judged.map((one) => one.byWords[behaviour]);
    const byJudge = judged.map((one) => one.byJudge[behaviour]);
    values[`behaviour/judged_${behaviour}_per_response`] = mean(byJudge);
    values[`behaviour/${behaviour}_agreement`] = mean(
      byWords.map((n, i) => (n > 0 === (byJudge[i] as number) > 0 ? 1 : 0)),
    );
    const together = correlation(byWords, byJudge);
    if (together !== null) values[`behaviour/${behaviour}_correlation`] = together;
  }
  return values;
}
