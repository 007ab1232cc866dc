/**
 * Exchanges with a server, in a file: recorded from a real one, and played back to the client that made them. An exchange is found by
 * its method, path and body; where one was repeated, the answers come in their order, and the last of them again and again.
 */
import { readFileSync, writeFileSync } from "node:fs";
import type { PublishedPolicy } from "../../src/contracts/published-policy.js";

export interface Exchange {
  readonly method: string;
  readonly path: string;
  readonly body?: unknown;
  readonly status: number;
  readonly answer: unknown;
}

export interface Recording {
  /** Which server gave the answers, or whose documentation they were written after. */
  readonly server: string;
  readonly recorded: boolean;
  readonly note: string;
  /** The policy that was handed over; null where none was. */
  readonly policy: PublishedPolicy | null;
  readonly exchanges: readonly Exchange[];
}

type Fetch = typeof globalThis.fetch;

export function readRecording(file: string): Recording {
  return JSON.parse(readFileSync(file, "utf8")) as Recording;
}

/** Writes a recording, an exchange a line. */
export function writeRecording(file: string, { exchanges, ...head }: Recording): void {
  const lines = exchanges.map((exchange) => `    ${JSON.stringify(exchange)}`).join(",\n");
  const top = Object.entries(head).map(([name, value]) => `  ${JSON.stringify(name)}: ${JSON.stringify(value)},\n`);
  writeFileSync(file, `{\n${top.join("")}  "exchanges": [\n${lines}\n  ]\n}\n`);
}

/** A `fetch` that keeps what goes through it. `keep` shortens an exchange to what is read of it. */
export function recording(fetch: Fetch, into: Exchange[], keep: (exchange: Exchange) => Exchange): Fetch {
  return async (input, init = {}) => {
    const { pathname, search } = new URL(String(input));
    const response = await fetch(input, init);
    const text = await response.text();
    const exchange = {
      method: init.method ?? "GET",
      path: pathname + search,
      ...(init.body ? { body: JSON.parse(String(init.body)) } : {}),
      status: response.status,
      answer: parsed(text),
    };
    into.push(keep(exchange));
    return new Response(text, { status: response.status });
  };
}

/** A `fetch` that answers from a recording alone. */
export function playback({ exchanges, server }: Recording): Fetch {
  const left = new Map<string, Exchange[]>();
  for (const exchange of exchanges) {
    const key = keyOf(exchange);
    left.set(key, [...(left.get(key) ?? []), exchange]);
  }
  return async (input, init = {}) => {
    init.signal?.throwIfAborted();
    const { pathname, search } = new URL(String(input));
    const body: unknown = init.body ? JSON.parse(String(init.body)) : undefined;
    const asked = { method: init.method ?? "GET", path: pathname + search, body };
    const found = left.get(keyOf(asked));
    if (found === undefined) throw new Error(`no exchange with ${server} for ${keyOf(asked)}`);
    const { status, answer } = (found.length > 1 ? found.shift() : found[0]) as Exchange;
    return new Response(typeof answer === "string" ? answer : JSON.stringify(answer), { status });
  };
}

function keyOf({ method, path, body }: Pick<Exchange, "method" | "path" | "body">): string {
  return `${method} ${path} ${JSON.stringify(body) ?? ""}`;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
