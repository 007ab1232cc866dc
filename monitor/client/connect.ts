import type { Json } from "../../src/contracts/task.js";
import { WeirError } from "../../src/errors.js";
import {
  type ChannelName,
  CLOSE,
  type CommandName,
  LIMITS,
  PROTOCOL_VERSION,
  STREAM_PATH,
} from "../protocol/limits.js";
import type { ClientMessageInput, CommandArgs, ServerMessage } from "../protocol/messages.js";
import type { ChannelEvent } from "./events.js";
import { EventQueue } from "./queue.js";
import {
  baseUrl,
  type ClientClock,
  fetchTicket,
  offeredProtocols,
  type SocketConstructor,
  type SocketLike,
  socketConstructor,
  systemClock,
} from "./socket.js";
import { type ConnectionState, DEAD_AFTER_MS, retryDelay, STALE_AFTER_MS } from "./state.js";
import { ChannelCursor } from "./subscription.js";

/**
 * A typed client of the monitor for Node and browsers. It reconnects after any loss and resumes every channel without gaps;
 * pending commands are sent again with their id, so they are carried out once.
 */

export interface ConnectOptions {
  readonly token?: string;
  /** Name shown in the server's log. */
  readonly name?: string;
  readonly WebSocket?: SocketConstructor;
  readonly clock?: ClientClock;
  /** In [0, 1); jitter of the retries. */
  readonly random?: () => number;
  readonly onState?: (state: ConnectionState) => void;
}

export type Welcome = Extract<ServerMessage, { type: "welcome" }>;
export type Ack = Extract<ServerMessage, { type: "ack" }>;
export type Effect = Extract<ServerMessage, { type: "effect" }>;

export interface SentCommand {
  readonly id: string;
  /** Accepted or refused, with the reason. Rejects when the client is closed before the answer. */
  readonly ack: Promise<Ack>;
  /** Its effect; rejects when it was refused or the client is closed. */
  readonly effect: Promise<Effect>;
}

export interface CommandOptions<N extends CommandName = CommandName> {
  /** What the command takes. */
  readonly args?: CommandArgs<N>;
  /** Refuse unless the lifecycle is in this state. */
  readonly expect?: string;
  /** Chosen by the caller to make retries idempotent; random unless given. */
  readonly id?: string;
}

export interface SubscribeOptions {
  /** For `trace/<id>`: the rollout's step, if known, so that an old one is found at once. */
  readonly step?: number;
}

export interface MonitorClient {
  readonly state: ConnectionState;
  /** The server's greeting; null before the first connection. */
  readonly welcome: Welcome | null;
  /** Calls back with a snapshot first, then deltas; returns a function that ends it. */
  subscribe<C extends ChannelName>(
    channel: C,
    listener: (event: ChannelEvent<C>) => void,
    options?: SubscribeOptions,
  ): () => void;
  /** The same as an async iterator; it buffers a bounded number of events, a slower reader gets a fresh snapshot instead. */
  events<C extends ChannelName>(channel: C): AsyncIterableIterator<ChannelEvent<C>>;
  command<N extends CommandName>(name: N, options?: CommandOptions<N>): SentCommand;
  /** Resolves once connected; rejects with WEIR_E_MONITOR_CONNECTION when that is impossible. */
  ready(): Promise<Welcome>;
  close(): void;
}

/** Time that the exchange of a ticket and the opening of a socket may take, ms (I5). */
const OPEN_TIMEOUT_MS = 10_000;
const WATCH_MS = 1_000;

/** Connects to a monitor, given the address of its page. */
export function connectMonitor(url: string, options: ConnectOptions = {}): MonitorClient {
  return new Client(baseUrl(url), options);
}

interface PendingCommand {
  readonly message: ClientMessageInput;
  readonly resolveAck: (ack: Ack) => void;
  readonly resolveEffect: (effect: Effect) => void;
  readonly rejectAck: (error: Error) => void;
  readonly rejectEffect: (error: Error) => void;
}

class Client implements MonitorClient {
  welcome: Welcome | null = null;
  private current: ConnectionState = { kind: "connecting", attempt: 0 };
  private readonly clock: ClientClock;
  private readonly random: () => number;
  private readonly listeners = new Map<string, Set<(event: ChannelEvent<string>) => void>>();
  private readonly cursors = new Map<string, ChannelCursor>();
  private readonly pending = new Map<string, PendingCommand>();
  private readonly asked = new Map<string, string>();
  private readonly steps = new Map<string, number>();
  private readonly onClose = new Set<() => void>();
  private readonly waiters = new Set<{ resolve(welcome: Welcome): void; reject(error: Error): void }>();
  private socket: SocketLike | null = null;
  /** True from the welcome until the socket closes. */
  private greeted = false;
  private ended = false;
  private attempt = 0;
  private lastHeard = 0;
  private retryAfterMs: number | null = null;
  private timer: unknown = null;
  private needsTicket: boolean;
  private readonly prefix = Math.random().toString(36).slice(2, 8);
  private counter = 0;

  constructor(
    private readonly base: URL,
    private readonly options: ConnectOptions,
  ) {
    this.clock = options.clock ?? systemClock;
    this.random = options.random ?? Math.random;
    this.needsTicket = options.token !== undefined;
    // Not at once: `onState` must not run before the caller holds the client.
    void Promise.resolve().then(() => this.open());
  }

  get state(): ConnectionState {
    return this.current;
  }

  subscribe<C extends ChannelName>(
    channel: C,
    listener: (event: ChannelEvent<C>) => void,
    options: SubscribeOptions = {},
  ): () => void {
    if (options.step !== undefined) this.steps.set(channel, options.step);
    const own = listener as (event: ChannelEvent<string>) => void;
    const known = this.listeners.get(channel) ?? new Set();
    this.listeners.set(channel, known);
    known.add(own);
    this.startChannel(channel);
    return () => {
      if (!known.delete(own) || known.size > 0) return;
      this.listeners.delete(channel);
      this.cursors.delete(channel);
      this.steps.delete(channel);
      if (this.greeted) this.send({ type: "unsubscribe", channel });
    };
  }

  events<C extends ChannelName>(channel: C): AsyncIterableIterator<ChannelEvent<C>> {
    const queue = new EventQueue<ChannelEvent<C>>(() => this.startChannel(channel));
    const unsubscribe = this.subscribe(channel, (event) => queue.push(event));
    const end = () => queue.end();
    this.onClose.add(end);
    queue.onEnd = () => {
      this.onClose.delete(end);
      unsubscribe();
    };
    return queue;
  }

  command<N extends CommandName>(name: N, options: CommandOptions<N> = {}): SentCommand {
    const id = options.id ?? `${this.prefix}-${this.clock.now().toString(36)}-${this.counter++}`;
    const message: ClientMessageInput = {
      type: "command",
      id,
      name,
      args: { ...options.args } as Record<string, Json>,
      ...(options.expect ? { expect: { state: options.expect } } : {}),
    };
    const ack = withResolvers<Ack>();
    const effect = withResolvers<Effect>();
    // An unobserved rejection of either must not end the process.
    ack.promise.catch(() => {});
    effect.promise.catch(() => {});
    if (this.ended) {
      ack.reject(this.connectionError("the client is closed"));
      effect.reject(this.connectionError("the client is closed"));
    } else {
      this.pending.set(id, {
        message,
        resolveAck: ack.resolve,
        rejectAck: ack.reject,
        resolveEffect: effect.resolve,
        rejectEffect: effect.reject,
      });
      if (this.greeted) this.send(message);
    }
    return { id, ack: ack.promise, effect: effect.promise };
  }

  ready(): Promise<Welcome> {
    if (this.greeted && this.welcome) return Promise.resolve(this.welcome);
    if (this.ended || this.current.kind === "unauthorised")
      return Promise.reject(
        this.connectionError(this.current.kind === "unauthorised" ? this.current.reason : "closed"),
      );
    return new Promise((resolve, reject) => this.waiters.add({ resolve, reject }));
  }

  close(): void {
    this.finish({ kind: "closed", reason: "closed by this client" });
  }

  private async open(): Promise<void> {
    this.setState({ kind: "connecting", attempt: this.attempt });
    const Constructor = await socketConstructor(this.options.WebSocket);
    let ticket: string | null = null;
    if (this.needsTicket) {
      const answer = await fetchTicket(this.base, this.options.token, OPEN_TIMEOUT_MS);
      if (this.ended) return;
      if (answer.kind === "refused") {
        const reason = this.options.token ? "the token was refused" : "this monitor needs a token";
        this.finish({ kind: "unauthorised", reason });
        return;
      }
      // While a monitor that has answered before is away, a proxy or another program may say 404; 410 is a monitor's own word.
      if (answer.kind === "otherVersion" && (answer.status === 410 || this.welcome === null)) {
        const reason = `the monitor does not speak version ${PROTOCOL_VERSION} of the protocol; use the client of the weir that runs it`;
        this.finish({ kind: "closed", reason });
        return;
      }
      if (answer.kind === "ticket") ticket = answer.ticket;
    }
    if (this.ended) return;
    const address = new URL(STREAM_PATH, this.base);
    address.protocol = this.base.protocol === "https:" ? "wss:" : "ws:";
    const socket = new Constructor(address.href, offeredProtocols(ticket));
    this.socket = socket;
    this.lastHeard = this.clock.now();
    socket.onopen = () => this.greet();
    socket.onmessage = (event: { readonly data: unknown }) => this.receive(String(event.data));
    socket.onerror = () => {};
    socket.onclose = (event: { readonly code: number; readonly reason: string }) => {
      if (this.socket === socket) this.lose(event.code, event.reason);
    };
    this.watch();
  }

  private greet(): void {
    const channels: Record<string, number> = {};
    for (const cursor of this.cursors.values()) if (cursor.seq !== null) channels[cursor.channel] = cursor.seq;
    const resume =
      this.welcome && Object.keys(channels).length > 0 ? { epoch: this.welcome.epoch, channels } : undefined;
    const client = this.options.name ?? "weir-monitor-client/2";
    this.send({ type: "hello", protocol: PROTOCOL_VERSION, client, ...(resume ? { resume } : {}) });
  }

  private receive(text: string): void {
    this.lastHeard = this.clock.now();
    let message: ServerMessage;
    try {
      message = JSON.parse(text) as ServerMessage;
    } catch {
      this.socket?.close(CLOSE.protocol, "expected JSON");
      return;
    }
    switch (message.type) {
      case "welcome":
        this.welcomed(message);
        break;
      case "subscribed":
        if (message.id) this.asked.delete(message.id);
        this.cursors.get(message.channel)?.receive(message);
        break;
      case "snapshot":
      case "delta":
      case "gap":
        if (this.cursors.get(message.channel)?.receive(message) === "resync") this.ask(message.channel);
        break;
      case "ack":
        this.pending.get(message.id)?.resolveAck(message);
        if (!message.accepted) {
          this.pending.get(message.id)?.rejectEffect(new Error(message.reason ?? "refused"));
          this.pending.delete(message.id);
        }
        break;
      case "effect":
        this.pending.get(message.id)?.resolveEffect(message);
        this.pending.delete(message.id);
        break;
      case "error":
        this.refused(message.id, message.message);
        break;
      case "bye":
        this.retryAfterMs = message.retryAfterMs;
        break;
      default:
    }
    this.refreshState();
  }

  private welcomed(welcome: Welcome): void {
    const resumed = this.welcome?.epoch === welcome.epoch;
    this.welcome = welcome;
    this.greeted = true;
    this.attempt = 0;
    for (const channel of this.listeners.keys()) {
      const cursor = this.cursors.get(channel);
      // The channels named in the hello are being resumed; for those of another epoch the server sends a snapshot.
      if (cursor?.seq === null || cursor === undefined || channel.startsWith("trace/")) this.ask(channel);
      else cursor.waiting = !resumed;
    }
    for (const { message } of this.pending.values()) this.send(message);
    for (const { resolve } of this.waiters) resolve(welcome);
    this.waiters.clear();
  }

  /** Subscribes again, from a snapshot, for every listener of the channel. */
  private startChannel(channel: string): void {
    const cursor = new ChannelCursor(channel, (event) => {
      for (const listener of this.listeners.get(channel) ?? []) listener(event);
    });
    this.cursors.set(channel, cursor);
    if (this.greeted) this.ask(channel);
  }

  private ask(channel: string): void {
    const cursor = this.cursors.get(channel);
    if (cursor) cursor.waiting = true;
    const id = `s${this.counter++}`;
    this.asked.set(id, channel);
    // A server of an earlier build would close the connection over a channel that it does not know.
    if (!channel.startsWith("trace/") && !this.welcome?.channels.includes(channel)) {
      this.refused(id, `this monitor has no channel "${channel}"; it comes from an earlier build of weir`);
      return;
    }
    const step = this.steps.get(channel);
    this.send({ type: "subscribe", id, channel: channel as ChannelName, ...(step === undefined ? {} : { step }) });
  }

  /** The server does not have what was asked for: subscribers get a gap. */
  private refused(id: string | null, reason: string): void {
    const channel = id === null ? undefined : this.asked.get(id);
    if (id === null || channel === undefined) return;
    this.asked.delete(id);
    const cursor = this.cursors.get(channel);
    if (cursor) cursor.waiting = false;
    for (const listener of this.listeners.get(channel) ?? []) listener({ kind: "gap", seq: 0, dropped: 0, reason });
  }

  private send(message: ClientMessageInput): void {
    if (this.socket?.readyState === 1) this.socket.send(JSON.stringify(message));
  }

  private lose(code: number, reason: string): void {
    const opened = this.greeted;
    this.greeted = false;
    this.socket = null;
    this.asked.clear();
    if (this.ended) return;
    // A refused upgrade cannot be told from a dead server here; a ticket request tells.
    if (!opened || code === CLOSE.unauthorised) this.needsTicket = true;
    const delay = this.retryAfterMs ?? retryDelay(this.attempt, this.random());
    const spread = this.retryAfterMs === null ? delay : Math.round(delay * (0.5 + this.random()));
    this.retryAfterMs = null;
    this.attempt++;
    const why = reason || (opened ? "the connection was lost" : "the monitor does not answer");
    this.setState({ kind: "lost", reason: why, retryInMs: spread, attempt: this.attempt });
    this.clock.clearTimeout(this.timer);
    this.timer = this.clock.setTimeout(() => void this.open(), spread);
  }

  /** Checks once a second that messages still arrive. */
  private watch(): void {
    this.clock.clearTimeout(this.timer);
    this.timer = this.clock.setTimeout(() => {
      const socket = this.socket;
      if (this.ended || !socket) return;
      if (this.clock.now() - this.lastHeard > DEAD_AFTER_MS) {
        socket.onclose = null;
        socket.close();
        this.lose(0, "no message arrived for a while");
        return;
      }
      this.refreshState();
      this.watch();
    }, WATCH_MS);
  }

  private refreshState(): void {
    if (this.ended || !this.greeted || !this.welcome) return;
    const silent = this.clock.now() - this.lastHeard;
    const { role } = this.welcome;
    if (silent > STALE_AFTER_MS) this.setState({ kind: "stale", sinceMs: silent });
    else if ([...this.cursors.values()].some((cursor) => cursor.waiting)) this.setState({ kind: "catching-up", role });
    else this.setState({ kind: "live", role });
  }

  private setState(state: ConnectionState): void {
    const same = state.kind === this.current.kind && (state.kind === "live" || state.kind === "catching-up");
    this.current = state;
    if (!same) this.options.onState?.(state);
  }

  private finish(state: ConnectionState & { readonly reason: string }): void {
    if (this.ended) return;
    this.ended = true;
    this.greeted = false;
    this.clock.clearTimeout(this.timer);
    const socket = this.socket;
    this.socket = null;
    if (socket) {
      socket.onclose = null;
      if (socket.readyState <= 1) socket.close(CLOSE.normal, "done");
    }
    const error = this.connectionError(state.reason);
    for (const { rejectAck, rejectEffect } of this.pending.values()) {
      rejectAck(error);
      rejectEffect(error);
    }
    this.pending.clear();
    for (const { reject } of this.waiters) reject(error);
    this.waiters.clear();
    for (const end of this.onClose) end();
    this.onClose.clear();
    this.setState(state);
  }

  private connectionError(reason: string): WeirError {
    return new WeirError(
      "WEIR_E_MONITOR_CONNECTION",
      `expected a connection to ${this.base.href}, but ${reason}; check the address and the token`,
      { url: this.base.href, maxInbound: LIMITS.inboundBytes },
    );
  }
}

function withResolvers<T>() {
  let resolve!: (value: T) => void;
  let reject!: (error: Error) => void;
  const promise = new Promise<T>((res, rej) => {
    resolve = res;
    reject = rej;
  });
  return { promise, resolve, reject };
}
