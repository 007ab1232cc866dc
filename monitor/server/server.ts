import { randomUUID } from "node:crypto";
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import type { Duplex } from "node:stream";
import { type WebSocket, WebSocketServer } from "ws";
import { WeirError } from "../../src/errors.js";
import {
  CLOSE,
  isOtherVersion,
  LIMITS,
  OTHER_VERSION,
  STREAM_PATH,
  SUBPROTOCOL,
  TICKET_PREFIX,
} from "../protocol/limits.js";
import type { Role } from "../protocol/messages.js";
import { CommandDesk } from "./commands.js";
import { Connection } from "./connection.js";
import { handleRequest } from "./http.js";
import { HTTP_TIMES, HttpGate, type HttpTimes, serverOptions } from "./http-gate.js";
import type { MonitorHub } from "./hub.js";
import { Access, type AccessOptions, assertSafe } from "./security.js";
import { DEFAULT_WEB_ROOTS, loadStaticFiles } from "./static-files.js";
import { Tickets } from "./tickets.js";

/**
 * Serves a hub over HTTP and WebSocket. All checks of a WebSocket happen in the upgrade, before there is one.
 * The server only reads the hub: what clients do or fail to do never reaches the code that publishes (I10).
 */

export interface MonitorOptions extends Partial<AccessOptions> {
  readonly source: MonitorHub;
  /** 0 takes a free port. */
  readonly port?: number;
  /** Folder of the built page; found by itself unless given. */
  readonly webRoot?: string;
  /** Injected by tests. */
  readonly clock?: () => number;
  readonly httpTimes?: HttpTimes;
}

export interface RunningMonitor {
  /** Address of the page; ends in `/`. */
  readonly url: string;
  readonly host: string;
  readonly port: number;
  /** Identity of this server in `/healthz`; new with each start. */
  readonly instance: string;
  /** Connected clients. */
  readonly clients: number;
  /** Bytes buffered in sockets, per client, largest first. */
  bufferedBytes(): readonly number[];
  /** Says goodbye to every client and stops. */
  close(): Promise<void>;
}

/** How long clients should wait after a restart is announced, ms. */
const RETRY_AFTER_MS = 1_000;
/** Time that clients have to answer the close frame at shutdown, ms. */
const CLOSE_GRACE_MS = 500;

const TIMERS = {
  setTimeout: (run: () => void, ms: number) => setTimeout(run, ms).unref(),
  clearTimeout: (timer: unknown) => clearTimeout(timer as NodeJS.Timeout | undefined),
};

/**
 * Starts the monitor.
 * Errors: WEIR_E_MONITOR_UNSAFE beyond loopback without a token; WEIR_E_MONITOR_ADDRESS when the address is taken or not ours.
 */
export async function startMonitor(options: MonitorOptions): Promise<RunningMonitor> {
  const hub = options.source;
  const host = options.host ?? "127.0.0.1";
  const clock = options.clock ?? Date.now;
  const accessOptions: AccessOptions = { ...options, host };
  assertSafe(accessOptions);
  const files = await loadStaticFiles(options.webRoot ? [options.webRoot] : DEFAULT_WEB_ROOTS);

  const tickets = new Tickets(clock);
  const desk = new CommandDesk(hub, TIMERS);
  const connections = new Set<Connection>();
  const droppedByChannel = new Map<string, number>();
  const dropped = (channel: string, count: number) =>
    void droppedByChannel.set(channel, (droppedByChannel.get(channel) ?? 0) + count);
  const counters = () => ({ clients: connections.size, droppedByChannel });

  const times = options.httpTimes ?? HTTP_TIMES;
  const server = createServer(serverOptions(times));
  const gate = new HttpGate();
  gate.guard(server, times);
  await listen(server, host, options.port ?? 0);
  const { port } = server.address() as AddressInfo;
  const access = new Access(accessOptions, port);
  const instance = randomUUID();
  const answering = { hub, access, tickets, files, counters, instance, answerMs: times.answerMs };
  server.on("request", (request, response) => void handleRequest(request, response, answering));

  const sockets = new WebSocketServer({
    noServer: true,
    maxPayload: LIMITS.inboundBytes,
    perMessageDeflate: false,
    handleProtocols: (protocols) => (protocols.has(SUBPROTOCOL) ? SUBPROTOCOL : false),
  });

  const open = (socket: WebSocket, request: IncomingMessage, role: Role) => {
    const address = request.socket.remoteAddress ?? "unknown";
    const connection = new Connection(socket, role, address, { hub, desk, clock, timers: TIMERS, dropped });
    connections.add(connection);
    socket.on("close", () => connections.delete(connection));
  };

  server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    const refusal = refuse(request, access, tickets, connections.size);
    if ("status" in refusal) {
      reject(socket, refusal.status, refusal.text);
      return;
    }
    sockets.handleUpgrade(request, socket, head, (websocket) => {
      gate.release(socket as Socket);
      open(websocket, request, refusal.role);
    });
  });

  const stopTimers = startTimers(hub, connections, clock);
  let closed: Promise<void> | null = null;
  const close = async () => {
    stopTimers();
    hub.settle();
    await endConnections(server, connections);
    sockets.close();
  };

  return {
    url: `http://${shownHost(host)}:${port}/`,
    host,
    port,
    instance,
    get clients() {
      return connections.size;
    },
    bufferedBytes: () => [...connections].map((connection) => connection.bufferedBytes).sort((a, b) => b - a),
    close: () => {
      closed ??= close();
      return closed;
    },
  };
}

/** Host of the page's address: the loopback one where the server listens on every address. */
function shownHost(host: string): string {
  if (host === "0.0.0.0") return "127.0.0.1";
  if (host === "::") return "[::1]";
  return host.includes(":") ? `[${host}]` : host;
}

/** Starts the periodic work on all connections: sending, ticks, pings and the end of old sessions. Returns what stops it. */
function startTimers(hub: MonitorHub, connections: ReadonlySet<Connection>, clock: () => number): () => void {
  const flush = setInterval(() => {
    if (connections.size === 0) return;
    hub.settle();
    for (const connection of connections) connection.pump();
  }, 1_000 / LIMITS.flushHz);
  const tick = setInterval(() => {
    if (connections.size === 0) return;
    const message = Buffer.from(JSON.stringify({ type: "tick", serverTime: clock(), seqs: hub.seqs() }));
    for (const connection of connections) connection.tick(message);
  }, LIMITS.tickMs);
  const ping = setInterval(() => {
    const now = clock();
    for (const connection of connections) {
      if (now - connection.openedAt > LIMITS.sessionMs) connection.end(CLOSE.unauthorised, "the session is too old");
      connection.ping();
    }
  }, LIMITS.pingMs);
  for (const timer of [flush, tick, ping]) timer.unref();
  return () => {
    for (const timer of [flush, tick, ping]) clearInterval(timer);
  };
}

/** Sends every client what is left and a goodbye; cuts those that have not closed after the grace period. */
async function endConnections(server: Server, connections: ReadonlySet<Connection>): Promise<void> {
  for (const connection of connections) {
    connection.pump();
    connection.bye("the monitor is shutting down", RETRY_AFTER_MS);
  }
  const grace = setTimeout(() => {
    for (const connection of connections) connection.terminate();
    server.closeAllConnections();
  }, CLOSE_GRACE_MS);
  await new Promise<void>((resolve) => {
    server.close(() => resolve());
    server.closeIdleConnections();
  });
  clearTimeout(grace);
}

/** The role of an upgrade request, or why it is refused. */
function refuse(
  request: IncomingMessage,
  access: Access,
  tickets: Tickets,
  connected: number,
): { readonly role: Role } | { readonly status: number; readonly text: string } {
  const { headers } = request;
  if (!access.hostAllowed(headers.host)) return { status: 403, text: "This name is not the monitor's." };
  if (!access.originAllowed(headers.origin)) return { status: 403, text: "This origin may not connect." };
  if (isOtherVersion(request.url ?? "")) return { status: 410, text: OTHER_VERSION };
  if (request.url !== STREAM_PATH) return { status: 404, text: `The stream is at ${STREAM_PATH}.` };
  const offered = (headers["sec-websocket-protocol"] ?? "").split(",").map((name) => name.trim());
  if (!offered.includes(SUBPROTOCOL)) return { status: 400, text: `Expected the subprotocol ${SUBPROTOCOL}.` };
  if (connected >= LIMITS.connections) return { status: 503, text: "Too many clients." };
  const ticket = offered.find((name) => name.startsWith(TICKET_PREFIX))?.slice(TICKET_PREFIX.length);
  const role =
    ticket !== undefined ? tickets.redeem(ticket) : (access.roleOf(headers.authorization) ?? access.openRole);
  return role ? { role } : { status: 401, text: "Expected a ticket or a token." };
}

function reject(socket: Duplex, status: number, text: string): void {
  socket.on("error", () => {});
  const body = `${text}\n`;
  socket.end(
    `HTTP/1.1 ${status} Refused\r\nconnection: close\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
    () => (socket as Socket).destroy(),
  );
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, rejectWith) => {
    server.once("error", (cause: NodeJS.ErrnoException) =>
      rejectWith(
        new WeirError(
          "WEIR_E_MONITOR_ADDRESS",
          `expected to listen on ${host}:${port}, got ${cause.code ?? cause.message}; choose another port (0 takes a free one) or host`,
          { host, port },
          { cause },
        ),
      ),
    );
    server.listen(port, host, () => {
      server.removeAllListeners("error");
      resolve();
    });
  });
}
