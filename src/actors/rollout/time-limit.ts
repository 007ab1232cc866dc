/** Waits of samplers on a given clock: none outlasts its signal, and none leaves a timer behind. */
import { WeirError } from "../../errors.js";
import type { Time } from "../../system/time.js";

export { pause } from "../../system/pause.js";

/**
 * What `work` resolves to, within `ms`; its signal aborts when the time is over or `signal` aborts.
 * Errors: WEIR_E_ENGINE_TIMEOUT naming `what`; the signal's reason.
 */
export function within<T>(
  limit: { readonly time: Time; readonly ms: number; readonly signal: AbortSignal; readonly what: string },
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const { time, ms, signal, what } = limit;
  const own = new AbortController();
  return new Promise((resolve, reject) => {
    let over = false;
    const end = (settle: () => void) => {
      if (over) return;
      over = true;
      time.clear(timer);
      signal.removeEventListener("abort", onAbort);
      settle();
    };
    const cancel = (reason: unknown) =>
      end(() => {
        own.abort(reason);
        reject(reason);
      });
    const onAbort = () => cancel(signal.reason);
    const timer = time.set(
      () => cancel(new WeirError("WEIR_E_ENGINE_TIMEOUT", `${what} took longer than ${ms} ms`, { limitMs: ms })),
      ms,
    );
    if (signal.aborted) return onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
    const begin = async () => work(own.signal);
    begin().then(
      (value) => end(() => resolve(value)),
      (error) => end(() => reject(error)),
    );
  });
}
