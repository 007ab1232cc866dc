import type { RewardOutcome } from "../contracts/reward.js";
import { WeirError } from "../errors.js";
import { realTime, type Timers } from "../system/time.js";
import { whenAborted } from "../system/when-aborted.js";

/** Deadlines for awaits that leave the control plane (I5). Timers are injected, so tests run on virtual time. */

export type Deadlined<T> =
  | { readonly kind: "value"; readonly value: T }
  | { readonly kind: "timedOut" }
  | { readonly kind: "error"; readonly error: unknown };

/** Options of a call whose signal is made when it is asked for: most rewards take less time than a signal takes to make. */
class Cancellable {
  private controller: AbortController | null = null;
  private ended: { readonly reason: unknown } | null = null;

  /** `signal` is a property of its own, so that a copy of the options has it. */
  get options(): { readonly signal: AbortSignal } {
    const made = () => this.signal();
    return {
      get signal() {
        return made();
      },
    };
  }

  private signal(): AbortSignal {
    if (this.controller === null) {
      this.controller = new AbortController();
      if (this.ended) this.controller.abort(this.ended.reason);
    }
    return this.controller.signal;
  }

  abort(reason: unknown): void {
    this.ended = { reason };
    this.controller?.abort(reason);
  }
}

/**
 * Runs `work` with a signal that fires at the deadline or with the parent signal; settles at the deadline even if the
 * work ignores its signal (its late result is discarded). Never rejects, except with the parent's reason when that aborts.
 */
export async function withDeadline<T>(
  work: (options: { readonly signal: AbortSignal }) => Promise<T>,
  ms: number,
  parent: AbortSignal,
  timers: Timers = realTime,
): Promise<Deadlined<T>> {
  parent.throwIfAborted();
  const own = new Cancellable();
  return new Promise((resolve, reject) => {
    const finish = (act: () => void) => {
      timers.clear(timer);
      forget();
      act();
    };
    const forget = whenAborted(parent, () => {
      own.abort(parent.reason);
      finish(() => reject(parent.reason as Error));
    });
    const timer = timers.set(() => {
      own.abort(new WeirError("WEIR_E_ENGINE_TIMEOUT", `no answer within ${ms} ms`, { ms }));
      finish(() => resolve({ kind: "timedOut" }));
    }, ms);
    Promise.resolve()
      .then(() => work(own.options))
      .then(
        (value) => finish(() => resolve({ kind: "value", value })),
        (error: unknown) => finish(() => resolve({ kind: "error", error })),
      );
  });
}

/** Turns the answer of a reward part into an outcome: a reward that is not finite is `invalid` and goes no further (I1, I7). */
export function checkedOutcome(given: unknown): RewardOutcome {
  const outcome = given as RewardOutcome | null | undefined;
  const kinds = ["scored", "abstained", "timedOut", "failed", "invalid"];
  if (typeof outcome !== "object" || outcome === null || !kinds.includes(outcome.kind)) {
    return { kind: "invalid", reason: `expected a RewardOutcome, got ${JSON.stringify(given) ?? String(given)}` };
  }
  if (outcome.kind === "scored" && !Number.isFinite(outcome.value)) {
    return { kind: "invalid", reason: `expected a finite reward, got ${String(outcome.value)}` };
  }
  return outcome;
}

/** The outcome of a reward that may hang, reject or return something else. Errors: WEIR_E_PART, where the reward broke its contract. */
export async function outcomeWithin(
  work: (options: { readonly signal: AbortSignal }) => Promise<RewardOutcome>,
  ms: number,
  parent: AbortSignal,
  timers: Timers = realTime,
): Promise<RewardOutcome> {
  const result = await withDeadline(work, ms, parent, timers);
  if (result.kind === "value") return checkedOutcome(result.value);
  if (result.kind === "timedOut")
    return { kind: "timedOut", afterMs: ms, reason: `the reward gave no outcome within ${ms} ms` };
  const error = result.error;
  // A part whose answer is not an outcome is broken for every rollout, so the run ends.
  if (WeirError.isInstance(error) && error.code === "WEIR_E_PART") throw error;
  const code = WeirError.isInstance(error) ? error.code : "error";
  return { kind: "failed", code, reason: error instanceof Error ? error.message : String(error) };
}
