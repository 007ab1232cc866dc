import { createHash } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { pipeline, Readable } from "node:stream";
import type { Alert } from "../../src/contracts/alert.js";
import type { MetricRecord } from "../../src/contracts/metrics.js";
import { isOtherVersion, OTHER_VERSION, type StreamChannel } from "../protocol/limits.js";
import type { TraceSummary } from "../protocol/records.js";
import type { MonitorHub } from "./hub.js";
import { jsonChunks } from "./json-chunks.js";
import { listedRun } from "./listed-run.js";
import { inState } from "./machine.js";
import { prometheusText, type ServerCounters } from "./prometheus.js";
import { INSTANCE_HEADER } from "./run-file.js";
import type { Access } from "./security.js";
import type { StaticFile } from "./static-files.js";
import type { Tickets } from "./tickets.js";

/**
 * Plain HTTP next to the stream: the page, health, Prometheus, and the run's data as JSON for programs.
 * Everything but the page itself and the health checks needs a role; nothing is served under a foreign Host name.
 * A reader costs only its socket's buffer, however large the answer: JSON is made in pieces, as it is read.
 */

export interface HttpContext {
  readonly hub: MonitorHub;
  readonly access: Access;
  readonly tickets: Tickets;
  readonly files: ReadonlyMap<string, StaticFile>;
  readonly counters: () => ServerCounters;
  /** Identity of this server (see run-file.ts). */
  readonly instance: string;
  /** Longest time that an answer may take, ms. */
  readonly answerMs: number;
}

/** The page runs its own script and style, talks to its own server, and nothing else. */
const CONTENT_SECURITY_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const SECURITY_HEADERS = {
  "content-security-policy": CONTENT_SECURITY_POLICY,
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
  "referrer-policy": "no-referrer",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
} as const;

/** Points per metric in a JSON answer unless asked otherwise: a wide screen. */
const DEFAULT_POINTS = 1_500;
const MAX_POINTS = 20_000;
const MAX_TRACES = 500;

const NO_PAGE =
  "The page is not built; run `npm run build`. The data is at /v2/runs, /v2/alerts, /v2/traces and /metrics.\n";

interface Answer {
  readonly status: number;
  /** A text or file is sent as it is; anything else is written as JSON, in pieces. */
  readonly body: string | Buffer | { readonly json: unknown };
  readonly headers?: Readonly<Record<string, string>>;
}

const TEXT = "text/plain; charset=utf-8";

const text = (status: number, body: string, headers: Readonly<Record<string, string>> = {}): Answer => ({
  status,
  body,
  headers: { "content-type": TEXT, ...headers },
});

const NOT_FOUND = text(404, "Not found.\n");
const UNAUTHORISED = text(401, "Expected `Authorization: Bearer <token>`.\n", {
  "www-authenticate": 'Bearer realm="weir monitor"',
});

/** Answers a request. An error ends only that answer (I10). Never rejects. */
export async function handleRequest(
  request: IncomingMessage,
  response: ServerResponse,
  context: HttpContext,
): Promise<void> {
  // A peer that disconnects is not an error.
  response.on("error", () => {});
  try {
    send(request, response, await route(request, context), context.answerMs);
  } catch (error) {
    context.hub.publishLog({ level: "error", text: `monitor: an answer failed: ${String(error)}` });
    if (response.headersSent) response.destroy();
    else send(request, response, text(500, "The monitor failed; see the run's log.\n"), context.answerMs);
  }
}

function send(request: IncomingMessage, response: ServerResponse, answer: Answer, answerMs: number): void {
  const { status, body } = answer;
  response.writeHead(status, { ...SECURITY_HEADERS, ...answer.headers, "accept-ranges": "none" });
  if (request.method === "HEAD" || status === 304) {
    response.end();
    return;
  }
  const late = setTimeout(() => response.destroy(), answerMs).unref();
  response.once("close", () => clearTimeout(late));
  if (typeof body === "string" || Buffer.isBuffer(body)) response.end(body);
  // One piece ahead of the socket: what a stalled reader costs does not depend on the size of the answer.
  else pipeline(Readable.from(jsonChunks(body.json), { highWaterMark: 1 }), response, () => {});
}

function route(request: IncomingMessage, context: HttpContext): Answer | Promise<Answer> {
  const { access, hub } = context;
  if (!access.hostAllowed(request.headers.host)) return text(403, "This name is not the monitor's.\n");
  if (!access.originAllowed(request.headers.origin)) return text(403, "This origin may not call.\n");
  const url = parseUrl(request.url);
  if (!url) return text(400, "The address is not valid.\n");
  const { pathname } = url;
  if (isOtherVersion(pathname)) return text(410, `${OTHER_VERSION}\n`);
  if (pathname === "/v2/tickets") return issueTicket(request, context);
  if (request.method !== "GET" && request.method !== "HEAD")
    return text(405, "Only GET is served here.\n", { allow: "GET, HEAD" });
  if (pathname === "/healthz") return text(200, "ok\n", { [INSTANCE_HEADER]: context.instance });
  if (pathname === "/readyz") return ready(hub);
  const file = context.files.get(pathname);
  if (file) {
    const cache = file.immutable ? "public, max-age=31536000, immutable" : "no-cache";
    return { status: 200, body: file.body, headers: { "content-type": file.type, "cache-control": cache } };
  }
  if (pathname === "/") return text(200, NO_PAGE);
  if (!pathname.startsWith("/v2/") && pathname !== "/metrics") return NOT_FOUND;
  if (!access.openRole && !access.roleOf(request.headers.authorization)) return UNAUTHORISED;
  if (pathname === "/metrics") {
    const headers = { "content-type": "text/plain; version=0.0.4; charset=utf-8" };
    return { status: 200, body: prometheusText(hub, context.counters()), headers };
  }
  return data(request, url, context);
}

function issueTicket(request: IncomingMessage, { access, tickets }: HttpContext): Answer {
  if (request.method !== "POST") return text(405, "Tickets are issued on POST.\n", { allow: "POST" });
  const role = access.roleOf(request.headers.authorization) ?? access.openRole;
  if (!role) return UNAUTHORISED;
  const headers = { "content-type": "application/json", "cache-control": "no-store" };
  return { status: 200, body: JSON.stringify(tickets.issue(role)), headers };
}

/** Ready while the lifecycle is in a working state; a run without a machine is ready once it exists. */
function ready(hub: MonitorHub): Answer {
  const state = hub.lifecycle;
  const working = state === null ? hub.run !== null : inState(state, "operating") || inState(state, "paused");
  return text(working ? 200 : 503, working ? "ready\n" : "not ready\n");
}

/** The run's data. What names a state of the hub also names its answer, so an ETag needs no answer to be made. */
async function data(request: IncomingMessage, url: URL, { hub }: HttpContext): Promise<Answer> {
  const query = url.searchParams;
  const answer = (channel: StreamChannel, make: () => unknown): Answer => {
    const state = `${hub.epoch} ${hub.channel(channel).seq} ${url.pathname} ${url.search}`;
    const etag = `"${createHash("sha256").update(state).digest("base64url").slice(0, 22)}"`;
    const headers = { etag, "cache-control": "no-cache", "content-type": "application/json; charset=utf-8" };
    const known = (request.headers["if-none-match"] ?? "").split(",").some((one) => one.trim().endsWith(etag));
    return known ? { status: 304, body: "", headers } : { status: 200, body: { json: make() }, headers };
  };
  hub.settle();
  const { pathname } = url;
  const run = hub.run && listedRun(hub.run);
  if (pathname === "/v2/runs") return answer("run", () => (run ? [run] : []));
  if (pathname === "/v2/alerts") return answer("alerts", () => alerts(hub, query));
  const id = /^\/v2\/traces\/([^/]+)$/.exec(pathname)?.[1];
  if (id !== undefined) {
    const step = query.get("step");
    const trace = await hub.findTrace(decode(id), step === null ? null : Number(step));
    return trace ? answer("traces", () => trace) : NOT_FOUND;
  }
  if (pathname === "/v2/traces") return answer("traces", await listing(hub, query));
  const match = /^\/v2\/runs\/([^/]+)(?:\/(metrics|traces))?$/.exec(pathname);
  if (!match || !run || decode(match[1] ?? "") !== run.id) return NOT_FOUND;
  if (match[2] === "metrics") return answer("metrics", () => metrics(hub, query));
  return match[2] === "traces" ? answer("traces", await listing(hub, query)) : answer("run", () => run);
}

function alerts(hub: MonitorHub, query: URLSearchParams): unknown {
  const log = hub.channel("alerts");
  const since = integer(query, "since", 0);
  const entries = since > log.seq ? [] : (log.after(since) ?? log.entries());
  return { epoch: hub.epoch, seq: log.seq, alerts: entries.map((entry) => entry.data as Alert) };
}

/** The newest traces, or those of a step, newest first. */
async function listing(hub: MonitorHub, query: URLSearchParams): Promise<() => unknown> {
  const limit = Math.min(MAX_TRACES, integer(query, "limit", 50));
  const step = query.get("step");
  const held = hub.channel("traces").entries();
  const wanted = step === null ? held.map((entry) => entry.data as TraceSummary) : await hub.tracesOfStep(Number(step));
  return () => ({ traces: limit === 0 ? [] : wanted.slice(-limit).reverse() });
}

function metrics(hub: MonitorHub, query: URLSearchParams): unknown {
  const from = integer(query, "from", 0);
  const to = integer(query, "to", Number.MAX_SAFE_INTEGER);
  const points = Math.max(2, Math.min(MAX_POINTS, integer(query, "points", DEFAULT_POINTS)));
  const records = hub.metrics.records().filter((record) => record.step >= from && record.step <= to);
  return { total: records.length, records: thin(records, points) };
}

/** Every n-th record and always the last one. */
function thin(records: readonly MetricRecord[], points: number): readonly MetricRecord[] {
  if (records.length <= points) return records;
  const stride = Math.ceil(records.length / (points - 1));
  const kept = records.filter((_, i) => i % stride === 0);
  const last = records.at(-1);
  if (last && kept.at(-1) !== last) kept.push(last);
  return kept;
}

function parseUrl(path: string | undefined): URL | null {
  try {
    return new URL(path ?? "/", "http://monitor");
  } catch {
    return null;
  }
}

function integer(query: URLSearchParams, name: string, fallback: number): number {
  const value = Number(query.get(name) ?? fallback);
  return Number.isInteger(value) && value >= 0 ? value : fallback;
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
