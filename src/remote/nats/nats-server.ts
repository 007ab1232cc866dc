/**
 * The connection to a NATS server with JetStream. Invariants: each request has a deadline (I5); what fails for lack of a connection is
 * tried again until the patience is over, then it is WEIR_E_UNREACHABLE, and a later call may succeed; credentials are read from a
 * file that the environment names, and are in no message.
 */
import { readFile } from "node:fs/promises";
import {
  JetStreamApiError,
  type JetStreamClient,
  JetStreamError,
  type JetStreamManager,
  jetstream,
} from "@nats-io/jetstream";
import {
  type Authenticator,
  type ConnectionOptions,
  connect,
  credsAuthenticator,
  type NatsConnection,
  wsconnect,
} from "@nats-io/transport-node";
import { WeirError } from "../../errors.js";
import { pause } from "../../system/pause.js";
import { realTime, type Time } from "../../system/time.js";
import { whenAborted } from "../../system/when-aborted.js";

export interface NatsServerOptions {
  /** nats://, tls://, ws:// or wss://, with a host and without a user name. */
  readonly url: string;
  /** Environment variable with the path of a credentials file; null connects without. */
  readonly credentialsEnv: string | null;
  /** How long calls are tried again while the server is away, ms. */
  readonly patienceMs?: number;
  readonly time?: Time;
  readonly environment?: Readonly<Record<string, string | undefined>>;
}

/** An open connection and its JetStream clients. */
export interface NatsLine {
  readonly connection: NatsConnection;
  readonly stream: JetStreamClient;
  readonly manager: JetStreamManager;
}

/** Longer than a restart of the server takes; as the parts that speak HTTP have it. */
const PATIENCE_MS = 60_000;
/** Of one request, ms: the server answers in milliseconds, on a busy disk in seconds. */
const REQUEST_MS = 10_000;
const FIRST_WAIT_MS = 100;
const LONGEST_WAIT_MS = 2_000;
/** Answers of JetStream while it starts, or while the leader of a cluster is being chosen. */
const STARTING = new Set([503, 408]);

export class NatsServer {
  private opened: Promise<NatsLine> | null = null;
  private readonly patienceMs: number;
  private readonly time: Time;
  private closed = false;

  /** Errors: WEIR_E_CONFIG for an address that holds a user name or password. */
  constructor(private readonly options: NatsServerOptions) {
    this.patienceMs = options.patienceMs ?? PATIENCE_MS;
    this.time = options.time ?? realTime;
    const { username, password } = new URL(options.url);
    if (username !== "" || password !== "")
      throw new WeirError(
        "WEIR_E_CONFIG",
        "the address of a NATS server holds no user name or password; name the variable of a credentials file in workQueue.credentialsEnv instead",
      );
  }

  get url(): string {
    return this.options.url;
  }

  /** Connects. Errors: WEIR_E_UNREACHABLE after the patience; WEIR_E_REMOTE for a server that refuses or has no JetStream. */
  async connect(signal: AbortSignal): Promise<void> {
    await this.call("connect", signal, async () => undefined);
  }

  /**
   * Does `work` over the connection; on a lack of one it is done again, so that it must be something that may be done twice.
   * Errors: WEIR_E_UNREACHABLE, WEIR_E_REMOTE with the server's own words, the reason of the signal; those of weir go through.
   */
  async call<T>(what: string, signal: AbortSignal, work: (line: NatsLine) => Promise<T>): Promise<T> {
    const started = this.time.now();
    for (let tries = 0; ; tries++) {
      signal.throwIfAborted();
      try {
        const line = await abortable(this.line(), signal);
        return await abortable(work(line), signal);
      } catch (error) {
        if (signal.aborted) throw signal.reason;
        if (WeirError.isInstance(error)) throw error;
        if (!isAbsence(error)) throw isRefusal(error) ? this.refused(what, error) : error;
        const spent = this.time.now() - started;
        const wait = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** tries);
        if (this.closed || spent + wait > this.patienceMs) throw this.unreachable(what, error, spent);
        await pause(this.time, wait, signal);
      }
    }
  }

  async close(): Promise<void> {
    this.closed = true;
    const line = await this.opened?.catch(() => null);
    this.opened = null;
    await line?.connection.close();
  }

  /** The open connection; a new one where there is none or the last one was closed for good. */
  private async line(): Promise<NatsLine> {
    const present = await this.opened?.catch(() => null);
    if (present && !present.connection.isClosed()) return present;
    const opening = this.open();
    this.opened = opening;
    opening.catch(() => {
      if (this.opened === opening) this.opened = null;
    });
    return opening;
  }

  private async open(): Promise<NatsLine> {
    const { url } = this.options;
    const authenticator = await this.authenticator();
    const options: ConnectionOptions = {
      servers: url,
      name: "weir",
      timeout: REQUEST_MS,
      // A server that comes back is found by the connection itself.
      maxReconnectAttempts: -1,
      reconnectTimeWait: 250,
      ...(authenticator ? { authenticator } : {}),
    };
    const connection = await (url.startsWith("ws") ? overWebSocket(options) : connect(options));
    if (connection.info?.jetstream !== true) {
      await connection.close();
      throw new WeirError("WEIR_E_REMOTE", `${url} has no JetStream; start the server with --jetstream`, { url });
    }
    const stream = jetstream(connection, { timeout: REQUEST_MS });
    return { connection, stream, manager: await stream.jetstreamManager(false) };
  }

  private async authenticator(): Promise<Authenticator | null> {
    const { credentialsEnv, environment = process.env } = this.options;
    if (credentialsEnv === null) return null;
    const path = environment[credentialsEnv];
    const content = path ? await readFile(path).catch(() => null) : null;
    if (content === null)
      throw new WeirError(
        "WEIR_E_CONFIG",
        `option "workQueue.credentialsEnv": the environment variable ${credentialsEnv} does not hold the path of a credentials file that can be read`,
        { path: "workQueue.credentialsEnv" },
      );
    return credsAuthenticator(content);
  }

  private unreachable(what: string, error: unknown, spentMs: number): WeirError {
    return new WeirError(
      "WEIR_E_UNREACHABLE",
      `the NATS server ${this.url} cannot be reached (${what}, tried for ${Math.round(spentMs / 1000)} s): ${wordsOf(error)}; start the server, or correct its address`,
      { url: this.url },
      { cause: error },
    );
  }

  private refused(what: string, error: unknown): WeirError {
    return new WeirError(
      "WEIR_E_REMOTE",
      `the NATS server ${this.url} refused to ${what}: ${wordsOf(error)}`,
      { url: this.url },
      { cause: error },
    );
  }
}

/** What JetStream says is wrong with a request, by its number; null for any other error. */
export function apiCode(error: unknown): number | null {
  return error instanceof JetStreamApiError ? error.code : null;
}

/** A stream has no room: by number or size of its messages, or on the server's disk. */
const NO_ROOM = new Set([10047, 10077]);

export function isFull(error: unknown): boolean {
  const code = apiCode(error);
  return code !== null && NO_ROOM.has(code);
}

/** Streams, consumers and messages that JetStream does not know: 404 in its answers. */
const UNKNOWN = 404;

/**
 * A pull that ended because its consumer is not there now: the server was stopped in the middle, has just begun and has not read its
 * streams again, or the queue was taken away. Only time tells which.
 */
export class PullEnded extends Error {
  override readonly name = "PullEnded";
}

const PULL_ENDED = new Set(["consumer deleted", "stream deleted", "idle heartbeats missed", "heartbeats missed"]);

/** Whether a pull ended for lack of its consumer or of signs of life, and not by a word of refusal. */
export function endsPull(error: unknown): boolean {
  if (error instanceof JetStreamApiError) return error.status === UNKNOWN;
  return error instanceof JetStreamError && PULL_ENDED.has(error.message);
}

/** Settles with `work`, or rejects at once with the reason of the signal. */
function abortable<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const forget = whenAborted(signal, () => reject(signal.reason as Error));
    work.then(resolve, reject).finally(forget);
  });
}

const AWAY = new Set([
  ...["TimeoutError", "NoRespondersError", "ConnectionError", "ClosedConnectionError", "JetStreamNotEnabled"],
  "PullEnded",
]);
const REFUSAL = new Set([
  ...["AuthorizationError", "UserAuthenticationExpiredError", "PermissionViolationError", "ProtocolError"],
  ...["InvalidArgumentError", "InvalidSubjectError", "InvalidNameError", "JetStreamError", "JetStreamStatusError"],
]);
const NETWORK = new Set([
  ...["ECONNREFUSED", "ECONNRESET", "EPIPE", "ETIMEDOUT", "EHOSTUNREACH", "ENETUNREACH", "ENOTFOUND", "EAI_AGAIN"],
]);

/** The server is away, or its JetStream is not there yet: not a word of refusal. */
function isAbsence(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if (error instanceof JetStreamApiError) return STARTING.has(error.status);
  const { code } = error as { readonly code?: unknown };
  if (AWAY.has(error.name) || NETWORK.has(String(code)) || (typeof code === "number" && STARTING.has(code)))
    return true;
  return isAbsence(error.cause);
}

function isRefusal(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  return error instanceof JetStreamApiError || REFUSAL.has(error.name) || isRefusal(error.cause);
}

function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message || error.name : String(error);
}

function overWebSocket(options: ConnectionOptions): Promise<NatsConnection> {
  if (typeof WebSocket === "function") return wsconnect(options);
  throw new WeirError("WEIR_E_CONFIG", "NATS over WebSocket needs Node 22 or later; use nats:// or tls://");
}
