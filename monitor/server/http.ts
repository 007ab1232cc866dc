import { createHash } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Alert } from "../../src/contracts/alert.js";
import type { MetricRecord } from "../../src/contracts/metrics.js";
import type { TraceSummary } from "../protocol/records.js";
import type { MonitorHub } from "./hub.js";
import { inState } from "./machine.js";
import { prometheusText, type ServerCounters } from "./prometheus.js";
import type { Access } from "./security.js";
import type { StaticFile } from "./static-files.js";
import type { Tickets } from "./tickets.js";

/**
 * Plain HTTP beside the stream: the page, health, Prometheus, and the run's data as JSON for programs.
 * Everything but the page itself and the health checks needs a role; nothing is served under a foreign Host name.
 */

export interface HttpContext {
  readonly hub: MonitorHub;
  readonly access: Access;
  readonly tickets: Tickets;
  readonly files: ReadonlyMap<string, StaticFile>;
  readonly counters: () => ServerCounters;
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
  "The page is not built; run `npm run build`. The data is at /v1/runs, /v1/alerts, /v1/traces and /metrics.\n";

interface Answer {
  readonly status: number;
  readonly body: string | Buffer;
  readonly headers?: Readonly<Record<string, string>>;
}

const TEXT = "text/plain; charset=utf-8";

const text = (status: number, body: string): Answer => ({ status, body, headers: { "content-type": TEXT } });

const UNAUTHORISED: Answer = {
  status: 401,
  body: "Expected `Authorization: Bearer <token>`.\n",
  headers: { "content-type": TEXT, "www-authenticate": 'Bearer realm="weir monitor"' },
};

export function handleRequest(request: IncomingMessage, response: ServerResponse, context: HttpContext): void {
  const answer = route(request, context);
  response.writeHead(answer.status, { ...SECURITY_HEADERS, ...answer.headers });
  response.end(request.method === "HEAD" ? undefined : answer.body);
}

function route(request: IncomingMessage, context: HttpContext): Answer {
  const { access, hub } = context;
  if (!access.hostAllowed(request.headers.host)) return text(403, "This name is not the monitor's.\n");
  if (!access.originAllowed(request.headers.origin)) return text(403, "This origin may not call.\n");
  const url = parseUrl(request.url);
  if (!url) return text(400, "This is no address.\n");
  const { pathname } = url;
  if (pathname === "/v1/tickets") return issueTicket(request, context);
  if (request.method !== "GET" && request.method !== "HEAD") return text(405, "Only GET is served here.\n");
  if (pathname === "/healthz") return text(200, "ok\n");
  if (pathname === "/readyz") return ready(hub);
  const file = context.files.get(pathname);
  if (file) {
    const cache = file.immutable ? "public, max-age=31536000, immutable" : "no-cache";
    return { status: 200, body: file.body, headers: { "content-type": file.type, "cache-control": cache } };
  }
  if (pathname === "/") return text(200, NO_PAGE);
  if (!pathname.startsWith("/v1/") && pathname !== "/metrics") return text(404, "There is nothing here.\n");
  if (!access.openRole && !access.roleOf(request.headers.authorization)) return UNAUTHORISED;
  if (pathname === "/metrics") {
    const headers = { "content-type": "text/plain; version=0.0.4; charset=utf-8" };
    return { status: 200, body: prometheusText(hub, context.counters()), headers };
  }
  const body = data(url, hub);
  return body === undefined ? text(404, "There is nothing here.\n") : json(request, body);
}

function issueTicket(request: IncomingMessage, { access, tickets }: HttpContext): Answer {
  if (request.method !== "POST") return text(405, "Tickets are issued on POST.\n");
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

function data(url: URL, hub: MonitorHub): unknown {
  const query = url.searchParams;
  if (url.pathname === "/v1/runs") return hub.run ? [hub.run] : [];
  if (url.pathname === "/v1/alerts") return alerts(hub, query);
  if (url.pathname === "/v1/traces") return traces(hub, query);
  const trace = /^\/v1\/traces\/([^/]+)$/.exec(url.pathname)?.[1];
  if (trace !== undefined) return hub.traces.get(decode(trace)) ?? undefined;
  const match = /^\/v1\/runs\/([^/]+)(?:\/(metrics|traces))?$/.exec(url.pathname);
  if (!match || !hub.run || decode(match[1] ?? "") !== hub.run.id) return undefined;
  if (match[2] === "metrics") return metrics(hub, query);
  return match[2] === "traces" ? traces(hub, query) : hub.run;
}

function alerts(hub: MonitorHub, query: URLSearchParams): unknown {
  const since = integer(query, "since", 0);
  const entries = hub
    .channel("alerts")
    .entries()
    .filter((entry) => entry.seq > since);
  return { epoch: hub.epoch, seq: hub.channel("alerts").seq, alerts: entries.map((entry) => entry.data as Alert) };
}

function traces(hub: MonitorHub, query: URLSearchParams): unknown {
  const step = query.get("step");
  const limit = Math.min(MAX_TRACES, integer(query, "limit", 50));
  const all = hub
    .channel("traces")
    .entries()
    .map((entry) => entry.data as TraceSummary);
  const wanted = step === null ? all : all.filter((trace) => trace.step === Number(step));
  return { traces: wanted.slice(-limit).reverse() };
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

function json(request: IncomingMessage, content: unknown): Answer {
  const body = JSON.stringify(content);
  const etag = `"${createHash("sha256").update(body).digest("base64url").slice(0, 22)}"`;
  const headers = { etag, "cache-control": "no-cache", "content-type": "application/json; charset=utf-8" };
  return request.headers["if-none-match"] === etag
    ? { status: 304, body: "", headers }
    : { status: 200, body, headers };
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
