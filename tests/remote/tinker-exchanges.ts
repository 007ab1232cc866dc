/** Exchanges with a Tinker-compatible server, bodies and all: recorded from a real one, and played back in their order. */
import { readFileSync, writeFileSync } from "node:fs";

/** A body: JSON, or bytes as base64. */
type Content = { readonly json: unknown } | { readonly base64: string } | null;

export interface TinkerExchange {
  readonly method: string;
  readonly path: string;
  readonly sent: Content;
  readonly status: number;
  readonly type: string;
  readonly location: string | null;
  readonly answer: Content;
}

export interface TinkerRecording {
  /** Which server gave the answers. */
  readonly server: string;
  /** What came of the session. */
  readonly outcome: unknown;
  readonly exchanges: readonly TinkerExchange[];
}

type Fetch = typeof globalThis.fetch;

export const readTinkerRecording = (file: string): TinkerRecording =>
  JSON.parse(readFileSync(file, "utf8")) as TinkerRecording;

/** An exchange a line. */
export function writeTinkerRecording(file: string, { exchanges, ...head }: TinkerRecording): void {
  const lines = exchanges.map((exchange) => `    ${JSON.stringify(exchange)}`).join(",\n");
  const top = Object.entries(head).map(([name, value]) => `  ${JSON.stringify(name)}: ${JSON.stringify(value)},\n`);
  writeFileSync(file, `{\n${top.join("")}  "exchanges": [\n${lines}\n  ]\n}\n`);
}

/** Heartbeats come when they come, and a server is asked whether it lives when an answer takes long. */
const isSign = (path: string) => /\/(session_heartbeat|healthz)$/.test(path);

/** A `fetch` that keeps what goes through it but for signs of life, and questions for a result that is not there yet. */
export function recordingFetch(into: TinkerExchange[]): Fetch {
  return async (input, init = {}) => {
    const { pathname, search } = new URL(String(input));
    const response = await fetch(input, init);
    const bytes = new Uint8Array(await response.arrayBuffer());
    const type = response.headers.get("content-type") ?? "";
    const location = response.headers.get("location");
    const isJson = type.includes("json");
    const answer: Content =
      bytes.length === 0
        ? null
        : isJson
          ? { json: JSON.parse(Buffer.from(bytes).toString()) as unknown }
          : { base64: Buffer.from(bytes).toString("base64") };
    const { method = "GET" } = init;
    const path = pathname + search;
    if (!isSign(path) && response.status !== 408)
      into.push({ method, path, sent: contentOf(init.body), status: response.status, type, location, answer });
    const headers = { "content-type": type, ...(location !== null && { location }) };
    return new Response(bytes.length === 0 ? null : bytes, { status: response.status, headers });
  };
}

/** A `fetch` that answers from a recording alone, and throws where it is asked for something else than the next exchange. */
export function playbackFetch({ exchanges }: TinkerRecording): { readonly fetch: Fetch; left(): number } {
  const open = [...exchanges];
  const play: Fetch = async (input, init = {}) => {
    const { pathname, search } = new URL(String(input));
    const path = pathname + search;
    if (isSign(path)) return Response.json({ type: "session_heartbeat" });
    const { method = "GET" } = init;
    const asked = keyOf(method, path, contentOf(init.body));
    const at = open.findIndex((one) => keyOf(one.method, one.path, one.sent) === asked);
    if (at < 0) throw new Error(`the recording has no (further) answer to ${asked.slice(0, 300)}`);
    const { status, type, location, answer } = open.splice(at, 1)[0] as TinkerExchange;
    const body =
      answer === null ? null : "json" in answer ? JSON.stringify(answer.json) : Buffer.from(answer.base64, "base64");
    return new Response(body, { status, headers: { "content-type": type, ...(location !== null && { location }) } });
  };
  return { fetch: play, left: () => open.length };
}

function contentOf(body: unknown): Content {
  if (body === undefined || body === null) return null;
  if (typeof body === "string") return { json: JSON.parse(body) as unknown };
  return { base64: Buffer.from(body as Uint8Array).toString("base64") };
}

/** Names of what is saved have a random end. */
function keyOf(method: string, path: string, sent: Content): string {
  const text = JSON.stringify(sent, (key, value: unknown) =>
    key === "path" && typeof value === "string" && !value.includes(":") ? value.replace(/-[0-9a-f]{8}$/, "") : value,
  );
  return `${method} ${path} ${text}`;
}
