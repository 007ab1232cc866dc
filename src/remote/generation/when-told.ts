/** Resolves once one that was put into `listeners` is called. Errors: the reason of the signal. */
export function whenTold(listeners: (() => void)[], signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason as Error);
    signal.addEventListener("abort", onAbort, { once: true });
    listeners.push(() => {
      signal.removeEventListener("abort", onAbort);
      resolve();
    });
  });
}
