import { countBehaviours } from "../../algorithms/behaviours.js";
import { counterKey, uniform } from "../../algorithms/random.js";
import type { BehaviourCounts } from "../../contracts/behaviour.js";
import type { Judge } from "../../contracts/judge.js";
import type { MetricValues } from "../../contracts/metrics.js";
import type { Rollout } from "../../contracts/rollout.js";
import { WeirError } from "../../errors.js";
import {
  BEHAVIOUR_REPLY_TOKENS,
  behaviourQuestion,
  parseBehaviourCounts,
} from "../../rewards/judge/behaviour-question.js";
import { withoutEndText } from "../../rewards/text.js";
import { withDeadline } from "../../streams/deadline.js";
import { behavioursOf, judgedMetrics } from "../../streams/telemetry/behaviour-metrics.js";
import type { Timers } from "../../system/time.js";

/**
 * Behaviours of a share of a step's responses, counted by the judge while the step is trained on. The counts are told and stored and
 * change nothing else: whatever becomes of them, the step goes on.
 */

export interface JudgedBehaviours {
  /** By rollout id; responses for which the judge gave no counts are missing. */
  readonly counts: ReadonlyMap<string, BehaviourCounts>;
  readonly values: MetricValues;
}

export interface CountingOptions {
  /** Share of the responses that is chosen. */
  readonly share: number;
  readonly seed: number;
  /** For all questions together, ms. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  readonly timers: Timers;
}

/**
 * Asks the judge about the chosen responses, all at once: a judge bounds its own requests. A judge that is not ready is not asked.
 * Rejects with the signal's reason only.
 */
export async function countByJudge(
  judge: Judge,
  rollouts: readonly Rollout[],
  { share, seed, timeoutMs, signal, timers }: CountingOptions,
): Promise<JudgedBehaviours> {
  const chosen = rollouts.filter(({ id }) => uniform(counterKey(seed, "judged-behaviours", id), 0) < share);
  const counts = new Map<string, BehaviourCounts>();
  const ask = async (rollout: Rollout, { signal: within }: { readonly signal: AbortSignal }) => {
    const options = { signal: within, group: `behaviours-${rollout.groupId}`, maxTokens: BEHAVIOUR_REPLY_TOKENS };
    const reply = await judge.chat?.(behaviourQuestion(withoutEndText(rollout.text)), options);
    const found = reply?.kind === "reply" ? parseBehaviourCounts(reply.text) : null;
    // An answer after the deadline belongs to no metric.
    if (found !== null && !within.aborted) counts.set(rollout.id, found);
  };
  const ready = judge.readiness?.state().ready ?? true;
  if (ready && chosen.length > 0)
    await withDeadline(
      (options) => Promise.allSettled(chosen.map((rollout) => ask(rollout, options))),
      timeoutMs,
      signal,
      timers,
    );
  const values = judgedMetrics(
    chosen.map((rollout) => ({
      byWords: countBehaviours(behavioursOf(rollout)),
      byJudge: counts.get(rollout.id) ?? null,
    })),
  );
  return { counts, values };
}

/** Errors: WEIR_E_CONFIG where behaviours are to be counted and the reward asks no judge, or one that answers no other questions. */
export function assertCountingJudge(judge: Judge | null): void {
  if (judge?.chat !== undefined) return;
  const found = judge === null ? "the reward asks no judge" : `the judge "${judge.kind}" has no chat()`;
  throw new WeirError(
    "WEIR_E_CONFIG",
    `reward.behaviours.judgeShare above 0 has a judge count behaviours, but ${found}; use reward.actor = hybrid with a judge that has chat(), or set the share to 0`,
    { path: "reward.behaviours.judgeShare" },
  );
}
