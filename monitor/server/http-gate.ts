import type { Server, ServerOptions } from "node:http";
import type { Socket } from "node:net";
import { LIMITS } from "../protocol/limits.js";

/**
 * Limits the number of plain HTTP connections and how long each may keep the server waiting. A connection that becomes a
 * WebSocket leaves the count: those have a limit of their own.
 * Invariant: a peer that is slow to ask is cut after `httpRequestMs`, one that does not read after `httpStallMs`.
 */

/** Times of plain HTTP, ms; tests have shorter ones. */
export interface HttpTimes {
  readonly requestMs: number;
  readonly stallMs: number;
  readonly answerMs: number;
  readonly idleMs: number;
}

export const HTTP_TIMES: HttpTimes = {
  requestMs: LIMITS.httpRequestMs,
  stallMs: LIMITS.httpStallMs,
  answerMs: LIMITS.httpAnswerMs,
  idleMs: LIMITS.httpIdleMs,
};

/** Options of `createServer`: time to send a request, and the largest head of one. */
export function serverOptions(times: HttpTimes): ServerOptions {
  return {
    headersTimeout: times.requestMs,
    requestTimeout: times.requestMs,
    keepAliveTimeout: times.idleMs,
    maxHeaderSize: LIMITS.httpHeaderBytes,
    // How often Node looks for connections beyond those times.
    connectionsCheckingInterval: Math.min(1_000, times.requestMs),
  };
}

const REFUSAL =
  "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 22\r\n\r\nToo many connections.\n";

export class HttpGate {
  private readonly sockets = new Set<Socket>();
  private readonly perAddress = new Map<string, number>();

  /** Watches the connections of a server from now on. */
  guard(server: Server, times: HttpTimes): void {
    // The timeout counts only while no data moves in either direction, so a slow reader is not closed.
    server.setTimeout(times.stallMs, (socket) => socket.destroy());
    server.on("connection", (socket) => this.admit(socket));
  }

  /** The connection is plain HTTP no longer. */
  release(socket: Socket): void {
    if (!this.sockets.delete(socket)) return;
    const address = addressOf(socket);
    const left = (this.perAddress.get(address) ?? 1) - 1;
    if (left > 0) this.perAddress.set(address, left);
    else this.perAddress.delete(address);
  }

  private admit(socket: Socket): void {
    const address = addressOf(socket);
    const own = this.perAddress.get(address) ?? 0;
    if (this.sockets.size >= LIMITS.httpConnections || own >= LIMITS.httpPerAddress) {
      socket.on("error", () => {});
      socket.end(REFUSAL, () => socket.destroy());
      return;
    }
    this.sockets.add(socket);
    this.perAddress.set(address, own + 1);
    socket.once("close", () => this.release(socket));
  }
}

/** Read once: a closed socket no longer knows its peer. */
const addresses = new WeakMap<Socket, string>();
function addressOf(socket: Socket): string {
  const known = addresses.get(socket) ?? socket.remoteAddress ?? "unknown";
  addresses.set(socket, known);
  return known;
}
