import type { Time } from "./time.js";

/** Resolves after `ms`. Rejects with the signal's reason. */
export function pause(time: Time, ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    const onAbort = () => {
      time.clear(timer);
      reject(signal.reason);
    };
    const timer = time.set(() => {
      signal.removeEventListener("abort", onAbort);
      resolve();
    }, ms);
    signal.addEventListener("abort", onAbort, { once: true });
  });
}
