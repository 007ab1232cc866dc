import type { RewardActor, RewardInput, RewardOutcome } from "../contracts/reward.js";
import type { Time } from "../system/time.js";
import { outcomeWithin } from "./deadline.js";
import type { ReadyGate } from "./ready-gate.js";

/** Scores one rollout: waits until the reward takes work, then gives it its deadline. */

export interface ScoringOptions {
  /** The reward in use now; read for each try. */
  readonly reward: () => RewardActor;
  /** Deadline of one try, ms; waiting for a reward that is not ready does not count. */
  readonly timeoutMs: number;
  readonly time: Time;
  /** Without it nothing waits. */
  readonly gate?: ReadyGate | undefined;
  /** Time of a try, s. */
  readonly spent?: (seconds: number) => void;
}

/**
 * Tries of one rollout whose reward goes away in the middle of them; the last outcome stands then, so that a response which brings its
 * judge down does not hold the run for ever.
 */
export const MOST_TRIES = 10;

/**
 * The outcome of a rollout. One that failed or timed out while its reward ceased to take work says nothing of the response, and is
 * scored again once the reward is back. Errors: WEIR_E_PART; the reason of the signal.
 */
export async function scoreRollout(
  input: RewardInput,
  { reward, timeoutMs, time, gate, spent }: ScoringOptions,
  signal: AbortSignal,
): Promise<RewardOutcome> {
  for (let tries = 1; ; tries++) {
    await gate?.opened(signal);
    const started = time.now();
    const outcome = await outcomeWithin((cancellable) => reward().handle(input, cancellable), timeoutMs, signal, time);
    spent?.((time.now() - started) / 1000);
    const unanswered = outcome.kind === "failed" || outcome.kind === "timedOut";
    if (!unanswered || tries === MOST_TRIES || (gate?.isOpen ?? true)) return outcome;
  }
}
