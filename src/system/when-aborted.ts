/**
 * Callbacks for when a signal aborts, many to one listener: adding and removing listeners of a signal costs far more than a callback
 * in a set, and thousands of waits share a signal.
 */

const waiting = new WeakMap<AbortSignal, Set<() => void>>();

/** Calls `callback` once when `signal` aborts; never where it has aborted before. Returns what takes the callback back. */
export function whenAborted(signal: AbortSignal, callback: () => void): () => void {
  const callbacks = waiting.get(signal) ?? listen(signal);
  callbacks.add(callback);
  return () => {
    callbacks.delete(callback);
    if (callbacks.size > 0 || waiting.get(signal) !== callbacks) return;
    waiting.delete(signal);
    signal.removeEventListener("abort", callAll);
  };
}

function listen(signal: AbortSignal): Set<() => void> {
  const callbacks = new Set<() => void>();
  waiting.set(signal, callbacks);
  signal.addEventListener("abort", callAll, { once: true });
  return callbacks;
}

function callAll({ target }: Event): void {
  const signal = target as AbortSignal;
  const callbacks = waiting.get(signal);
  waiting.delete(signal);
  // One of them may take others back.
  for (const callback of callbacks ?? []) callback();
}
