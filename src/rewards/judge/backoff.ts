/** Waiting time between tries: exponential with full jitter, from counters (I12). */
import { uniform } from "../../algorithms/random.js";

/** First wait; the release's too. */
export const BACKOFF_BASE_MS = 1_000;
/** Longest wait, as in the release. */
export const BACKOFF_CAP_MS = 64_000;

export interface BackoffOptions {
  readonly baseMs: number;
  readonly capMs: number;
}

/**
 * Wait before try `attempt` (1 = the first repetition), ms: half of min(cap, base·2^(attempt−1)) plus up to the other half
 * by the counter-based stream `key`. A server's Retry-After, ms, is obeyed up to the cap.
 */
export function backoffMs(attempt: number, key: number, options: BackoffOptions, retryAfterMs: number | null): number {
  const ceiling = Math.min(options.capMs, options.baseMs * 2 ** (attempt - 1));
  const wait = ceiling / 2 + (ceiling / 2) * uniform(key, attempt);
  return retryAfterMs === null ? wait : Math.max(wait, Math.min(retryAfterMs, options.capMs));
}
