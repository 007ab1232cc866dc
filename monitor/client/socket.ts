import { WeirError } from "../../src/errors.js";
import { SUBPROTOCOL, TICKET_PREFIX } from "../protocol/limits.js";

/** Environment of the client: sockets, requests, time, randomness. Browsers and Node ≥ 22 have all; tests give their own. */

/** The part of the standard WebSocket that is used. */
export interface SocketLike {
  readonly readyState: number;
  send(data: string): void;
  close(code?: number, reason?: string): void;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
}
export type SocketConstructor = new (url: string, protocols: string[]) => SocketLike;

export interface ClientClock {
  now(): number;
  setTimeout(run: () => void, ms: number): unknown;
  clearTimeout(timer: unknown): void;
}

export const systemClock: ClientClock = {
  now: () => Date.now(),
  setTimeout: (run, ms) => setTimeout(run, ms),
  clearTimeout: (timer) => clearTimeout(timer as ReturnType<typeof setTimeout> | undefined),
};

/** The given constructor, the global one, or that of the `ws` package on Node 20. */
export async function socketConstructor(given: SocketConstructor | undefined): Promise<SocketConstructor> {
  const global = (globalThis as { WebSocket?: SocketConstructor }).WebSocket;
  if (given ?? global) return (given ?? global) as SocketConstructor;
  // Named through a variable so that bundlers for browsers leave it out.
  const packageName = "ws";
  const module = (await import(/* @vite-ignore */ packageName)) as { WebSocket: SocketConstructor };
  return module.WebSocket;
}

/** `http://host:1/x` or `ws://host:1` to the base of HTTP requests. Errors: WEIR_E_USAGE. */
export function baseUrl(url: string): URL {
  try {
    const base = new URL(url.replace(/^ws/, "http"));
    if (base.protocol === "http:" || base.protocol === "https:") return new URL("/", base);
  } catch {
    // Falls through to the error that says what was expected.
  }
  throw new WeirError("WEIR_E_USAGE", `expected the monitor's address such as http://127.0.0.1:4100/, got "${url}"`, {
    url,
  });
}

export type TicketAnswer =
  | { readonly kind: "ticket"; readonly ticket: string }
  | { readonly kind: "refused"; readonly status: number }
  /** The server has no such address: it speaks another version of the protocol. */
  | { readonly kind: "otherVersion"; readonly status: number }
  | { readonly kind: "unreachable" };

/** What servers of other versions answer to a request for a ticket. */
const NO_SUCH_ADDRESS = [404, 405, 410];

/** Exchanges the token (if any) for a ticket. Never rejects. */
export async function fetchTicket(base: URL, token: string | undefined, timeoutMs: number): Promise<TicketAnswer> {
  try {
    const response = await fetch(new URL("/v2/tickets", base), {
      method: "POST",
      headers: token ? { authorization: `Bearer ${token}` } : {},
      signal: AbortSignal.timeout(timeoutMs),
    });
    if (response.status === 401 || response.status === 403) return { kind: "refused", status: response.status };
    if (NO_SUCH_ADDRESS.includes(response.status)) return { kind: "otherVersion", status: response.status };
    const body = (await response.json()) as { ticket?: unknown };
    return typeof body.ticket === "string" ? { kind: "ticket", ticket: body.ticket } : { kind: "unreachable" };
  } catch {
    return { kind: "unreachable" };
  }
}

/** Subprotocols to offer. */
export function offeredProtocols(ticket: string | null): string[] {
  return ticket === null ? [SUBPROTOCOL] : [SUBPROTOCOL, `${TICKET_PREFIX}${ticket}`];
}
