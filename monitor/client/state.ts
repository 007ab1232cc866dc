import type { Role } from "../protocol/messages.js";

/** State of the connection, for display. */
export type ConnectionState =
  | { readonly kind: "connecting"; readonly attempt: number }
  /** Connected; the state of some channel is still on its way. */
  | { readonly kind: "catching-up"; readonly role: Role }
  | { readonly kind: "live"; readonly role: Role }
  /** Connected, but nothing has come for a while. */
  | { readonly kind: "stale"; readonly sinceMs: number }
  | { readonly kind: "lost"; readonly reason: string; readonly retryInMs: number; readonly attempt: number }
  /** The server wants a token, or another one. Trying again would not help. */
  | { readonly kind: "unauthorised"; readonly reason: string }
  | { readonly kind: "closed"; readonly reason: string };

/** First wait after a lost connection, ms; doubles with each further one. */
const FIRST_RETRY_MS = 250;
/** Longest wait, ms: short enough that users do not reload the page. */
const LONGEST_RETRY_MS = 15_000;

/**
 * Wait before attempt n (from 0): exponential with full jitter over its upper half, so that the clients of a restarted
 * server do not reconnect at once. `random` in [0, 1).
 */
export function retryDelay(attempt: number, random: number): number {
  const ceiling = Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** attempt);
  return Math.round(ceiling / 2 + (ceiling / 2) * random);
}

/** Nothing for this long: the connection is shown as stale (ticks come every second). */
export const STALE_AFTER_MS = 3_000;
/** Nothing for this long: the client reconnects. */
export const DEAD_AFTER_MS = 10_000;
