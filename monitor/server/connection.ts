import type { WebSocket } from "ws";
import {
  CHANNELS,
  CLOSE,
  COMMAND_NAMES,
  LIMITS,
  type OverflowPolicy,
  PROTOCOL_VERSION,
  STREAM_CHANNELS,
  type StreamChannel,
} from "../protocol/limits.js";
import { type ClientMessage, clientMessageSchema, type Role, type ServerMessage } from "../protocol/messages.js";
import { snapshotPages } from "./channel-log.js";
import type { CommandDesk } from "./commands.js";
import type { MonitorHub } from "./hub.js";
import { traceItems } from "./trace-store.js";

/**
 * One client. It holds no queue of data: per channel only a cursor into the hub's history, so a client costs only the
 * bytes in its socket's buffer, and those are bounded (LIMITS.softBufferBytes for bulk,
 * LIMITS.hardBufferBytes for all).
 */

export interface ConnectionContext {
  readonly hub: MonitorHub;
  readonly desk: CommandDesk;
  readonly clock: () => number;
  readonly timers: { setTimeout(run: () => void, ms: number): unknown; clearTimeout(timer: unknown): void };
  /** Counts what was dropped, for `/metrics`. */
  readonly dropped: (channel: StreamChannel, count: number) => void;
}

interface Subscription {
  readonly channel: string;
  /** The last sequence number that the client has been sent. */
  cursor: number;
  snapshot: Iterator<Buffer, void, void> | null;
  /** A page taken from the iterator that did not fit yet. */
  page: Buffer | null;
  readonly minIntervalMs: number;
  notBefore: number;
}

/** Channels in the order in which a full socket serves them; traces of `trace/<id>` come last. */
const ORDER: readonly string[] = STREAM_CHANNELS;
const rank = (channel: string): number => {
  const at = ORDER.indexOf(channel);
  return at < 0 ? ORDER.length : at;
};

export class Connection {
  private readonly subscriptions = new Map<string, Subscription>();
  private readonly reserved: Buffer[] = [];
  private reservedBytes = 0;
  private greeted = false;
  private client = "";
  private closing = false;
  private pumpWanted = false;
  private tokens: number = LIMITS.inboundBurst;
  private tokensAt: number;
  private refusals = 0;
  /** When the socket last accepted data. */
  private progressAt: number;
  private readonly helloTimer: unknown;
  private readonly stops = new Set<() => void>();
  /** Set by a pong, cleared by a ping. */
  alive = true;
  readonly openedAt: number;

  constructor(
    private readonly socket: WebSocket,
    readonly role: Role,
    readonly address: string,
    private readonly context: ConnectionContext,
  ) {
    this.openedAt = context.clock();
    this.tokensAt = this.openedAt;
    this.progressAt = this.openedAt;
    this.helloTimer = context.timers.setTimeout(
      () => this.end(CLOSE.protocol, "expected hello within 3 s"),
      LIMITS.helloMs,
    );
    socket.on("message", (data, binary) => this.guarded(() => this.receive(data as Buffer, binary)));
    socket.on("pong", () => {
      this.alive = true;
    });
    socket.on("close", () => this.dispose());
    // The socket closes after an error by itself; without a listener it would end the process.
    socket.on("error", () => {});
  }

  get bufferedBytes(): number {
    return this.socket.bufferedAmount + this.reservedBytes;
  }

  ping(): void {
    if (!this.alive) {
      this.socket.terminate();
      return;
    }
    this.alive = false;
    this.socket.ping();
  }

  /** The shared heartbeat; left out where the socket is busy anyway. */
  tick(message: Buffer): void {
    if (this.greeted && this.fits(message.length, LIMITS.softBufferBytes)) this.write(message);
  }

  bye(reason: string, retryAfterMs: number): void {
    this.direct({ type: "bye", reason, retryAfterMs });
    this.end(CLOSE.restart, reason);
  }

  /** Closes; a client that does not answer the close frame is terminated at the server's next ping. */
  end(code: number, reason: string): void {
    if (this.closing) return;
    this.closing = true;
    this.alive = false;
    this.socket.close(code, reason.slice(0, 120));
  }

  terminate(): void {
    this.socket.terminate();
  }

  /** Sends new items, as far as the socket accepts them. */
  pump(): void {
    if (!this.closing) this.guarded(() => this.pumpAll());
  }

  /** An error in serving one client ends only that client's session (I10). */
  private guarded(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.context.hub.publishLog({ level: "error", text: `monitor: a session failed: ${String(error)}` });
      this.end(CLOSE.internal, "internal error");
    }
  }

  private pumpAll(): void {
    this.flushReserved();
    const now = this.context.clock();
    for (const subscription of this.subscriptions.values()) {
      if (this.closing) return;
      if (now >= subscription.notBefore) this.pumpOne(subscription, now);
    }
  }

  private pumpOne(subscription: Subscription, now: number): void {
    if (!this.pumpSnapshot(subscription)) return;
    const name = subscription.channel as StreamChannel;
    const policy: OverflowPolicy | undefined = CHANNELS[name]?.overflow;
    if (policy === undefined) return;
    const log = this.context.hub.channel(name);
    if (subscription.cursor >= log.seq) return;
    const pending = log.after(subscription.cursor);
    if (policy === "never-drop") {
      const waiting = pending?.reduce((sum, entry) => sum + entry.bytes, 0) ?? 0;
      const stalled = this.socket.bufferedAmount > 0 && now - this.progressAt > LIMITS.stallMs;
      if (pending === null || (stalled && waiting > LIMITS.reservedBytes)) {
        this.error(null, "expired", `this client reads ${name} too slowly; reconnect to resume`);
        this.end(CLOSE.slowConsumer, `${name} must not be lost`);
        return;
      }
    } else if (pending === null) {
      this.startSnapshot(subscription);
      this.pumpSnapshot(subscription);
      return;
    } else if (policy === "sample" && pending.length > LIMITS.samplePerFlush) {
      if (!this.fits(LIMITS.messageBytes, LIMITS.softBufferBytes)) return;
      const dropped = pending.length - LIMITS.samplePerFlush;
      const after = subscription.cursor;
      subscription.cursor = pending[dropped - 1]?.seq ?? after;
      this.context.dropped(name, dropped);
      this.direct({ type: "gap", channel: name, after, seq: subscription.cursor, dropped, reason: "slow_client" });
    }
    const limit = policy === "never-drop" ? LIMITS.hardBufferBytes : LIMITS.softBufferBytes;
    for (let page = log.deltaAfter(subscription.cursor); page; page = log.deltaAfter(subscription.cursor)) {
      if (!this.fits(page.buffer.length, limit)) return;
      this.write(page.buffer);
      subscription.cursor = page.seq;
    }
    subscription.notBefore = now + subscription.minIntervalMs;
  }

  private startSnapshot(subscription: Subscription): void {
    const log = this.context.hub.channel(subscription.channel as StreamChannel);
    subscription.cursor = log.seq;
    subscription.page = null;
    subscription.snapshot = snapshotPages(subscription.channel, log.seq, log.snapshotItems());
  }

  /** True when the snapshot is out. */
  private pumpSnapshot(subscription: Subscription): boolean {
    while (subscription.snapshot) {
      const page = subscription.page ?? subscription.snapshot.next().value;
      if (!page) {
        subscription.snapshot = null;
        if (subscription.channel.startsWith("trace/")) this.subscriptions.delete(subscription.channel);
        break;
      }
      subscription.page = page;
      if (!this.fits(page.length, LIMITS.softBufferBytes)) return false;
      subscription.page = null;
      this.write(page);
    }
    return true;
  }

  private receive(data: Buffer, binary: boolean): void {
    if (this.closing) return;
    if (!this.takeToken()) {
      this.error(null, "too_fast", `expected at most ${LIMITS.inboundPerSecond} messages a second`);
      this.end(CLOSE.protocol, "too many messages");
      return;
    }
    const parsed = binary ? undefined : clientMessageSchema.safeParse(parseJson(data));
    if (!parsed?.success) {
      const where = parsed?.error.issues[0];
      const what = where ? `${where.path.join(".") || "message"}: ${where.message}` : "expected JSON text";
      this.error(null, "bad_message", what.slice(0, 500));
      this.end(CLOSE.protocol, "bad message");
      return;
    }
    const message = parsed.data;
    if (message.type === "hello") {
      if (this.greeted) this.end(CLOSE.protocol, "hello came twice");
      else this.greet(message);
    } else if (!this.greeted) {
      this.end(CLOSE.protocol, "expected hello first");
    } else this.serve(message);
  }

  private greet(hello: Extract<ClientMessage, { type: "hello" }>): void {
    this.greeted = true;
    this.client = hello.client;
    this.context.timers.clearTimeout(this.helloTimer);
    const { hub, clock } = this.context;
    hub.settle();
    this.direct({
      type: "welcome",
      protocol: PROTOCOL_VERSION,
      serverTime: clock(),
      epoch: hub.epoch,
      run: hub.run && { id: hub.run.id, live: hub.run.live },
      role: this.role,
      channels: [...STREAM_CHANNELS],
      commands: this.role === "operator" && hub.commandHandler ? [...COMMAND_NAMES] : [],
      limits: {
        messageBytes: LIMITS.messageBytes,
        inboundBytes: LIMITS.inboundBytes,
        inboundPerSecond: LIMITS.inboundPerSecond,
        tickMs: LIMITS.tickMs,
      },
    });
    if (!hello.resume) return;
    const { epoch } = hello.resume;
    for (const [channel, seq] of Object.entries(hello.resume.channels))
      if (channel in CHANNELS) this.subscribe(null, channel, { epoch, seq }, 0);
    this.pump();
  }

  private serve(message: Exclude<ClientMessage, { type: "hello" }>): void {
    switch (message.type) {
      case "subscribe":
        this.context.hub.settle();
        this.subscribe(
          message.id,
          message.channel,
          message.from,
          message.maxHz ? 1_000 / message.maxHz : 0,
          message.step ?? null,
        );
        this.pump();
        return;
      case "unsubscribe":
        this.subscriptions.delete(message.channel);
        return;
      case "ping":
        this.direct({ type: "pong", serverTime: this.context.clock(), ...(message.id ? { id: message.id } : {}) });
        return;
      case "command":
        this.command(message);
    }
  }

  private subscribe(
    id: string | null,
    channel: string,
    from: "snapshot" | "latest" | { readonly epoch: string; readonly seq: number },
    minIntervalMs: number,
    step: number | null = null,
  ): void {
    const { hub } = this.context;
    if (!this.subscriptions.has(channel) && this.subscriptions.size >= LIMITS.subscriptions) {
      this.error(id, "too_many", `expected at most ${LIMITS.subscriptions} subscriptions`);
      return;
    }
    const base = { channel, snapshot: null, page: null, minIntervalMs, notBefore: 0 };
    if (channel.startsWith("trace/")) {
      // A placeholder, so that looking up a trace counts as a subscription and can be ended.
      const place: Subscription = { ...base, cursor: 1 };
      this.insert(place);
      void this.openTrace(id, place, step);
      return;
    }
    const log = hub.channel(channel as StreamChannel);
    const subscription: Subscription = { ...base, cursor: log.seq };
    if (typeof from === "object" && from.epoch === hub.epoch && log.after(from.seq) !== null) {
      subscription.cursor = from.seq;
      this.confirm(id, channel, true, from.seq);
    } else {
      if (from !== "latest") this.startSnapshot(subscription);
      this.confirm(id, channel, false, log.seq);
    }
    this.insert(subscription);
  }

  /** Sends a whole trace once it has been found, unless the client has gone or asked for something else since. */
  private async openTrace(id: string | null, place: Subscription, step: number | null): Promise<void> {
    const { channel } = place;
    const trace = await this.context.hub.findTrace(channel.slice("trace/".length), step);
    const group = trace ? await this.context.hub.groupOf(trace) : [];
    if (this.closing || this.subscriptions.get(channel) !== place) return;
    this.guarded(() => {
      if (!trace) {
        this.subscriptions.delete(channel);
        this.error(id, "not_found", `${channel} is neither in memory nor in the run's rollouts`);
        return;
      }
      this.confirm(id, channel, false, 1);
      place.snapshot = snapshotPages(channel, 1, traceItems(trace, group));
      this.pump();
    });
  }

  private confirm(id: string | null, channel: string, recovered: boolean, seq: number): void {
    this.direct({ type: "subscribed", id, channel: channel as StreamChannel, recovered, seq });
  }

  /** Keeps the map in serving order. */
  private insert(subscription: Subscription): void {
    this.subscriptions.delete(subscription.channel);
    const all = [...this.subscriptions.values(), subscription].sort((a, b) => rank(a.channel) - rank(b.channel));
    this.subscriptions.clear();
    for (const one of all) this.subscriptions.set(one.channel, one);
  }

  private command(message: Extract<ClientMessage, { type: "command" }>): void {
    if (this.role !== "operator") {
      this.direct({ type: "ack", id: message.id, accepted: false, reason: "viewers may watch, but not send commands" });
      this.refusals++;
      if (this.refusals >= LIMITS.refusals) {
        this.error(message.id, "forbidden", "commands need the operator's role");
        this.end(CLOSE.forbidden, "commands need the operator's role");
      }
      return;
    }
    const by = { role: this.role, address: this.address, client: this.client };
    const { id, name, args } = message;
    const subscription = { stop: () => {} };
    const stop = () => subscription.stop();
    this.stops.add(stop);
    subscription.stop = this.context.desk.submit(
      { id, name, args, by, time: this.context.clock() },
      message.expect?.state ?? null,
      (reply) => {
        this.direct(reply);
        if (reply.type === "effect") this.stops.delete(stop);
      },
    );
  }

  private error(id: string | null, code: Extract<ServerMessage, { type: "error" }>["code"], message: string): void {
    this.direct({ type: "error", id, code, message });
  }

  /** Sends a message that must arrive: now, or from the reserve once the socket has room; a full reserve ends the session. */
  private direct(message: ServerMessage): void {
    if (this.closing) return;
    const buffer = Buffer.from(JSON.stringify(message));
    if (this.reserved.length === 0 && this.fits(buffer.length, LIMITS.hardBufferBytes - LIMITS.reservedBytes)) {
      this.write(buffer);
    } else if (this.reservedBytes + buffer.length <= LIMITS.reservedBytes) {
      this.reserved.push(buffer);
      this.reservedBytes += buffer.length;
    } else this.end(CLOSE.slowConsumer, "the client does not read its answers");
  }

  private flushReserved(): void {
    while (this.reserved.length > 0) {
      const buffer = this.reserved[0] as Buffer;
      if (this.socket.bufferedAmount + buffer.length > LIMITS.hardBufferBytes - LIMITS.reservedBytes) return;
      this.reserved.shift();
      this.reservedBytes -= buffer.length;
      this.write(buffer);
    }
  }

  /** Whether a message of this size may go to the socket; the message itself counts. An empty socket takes any page. */
  private fits(bytes: number, limit: number): boolean {
    const buffered = this.bufferedBytes;
    return buffered + bytes <= limit || (buffered === 0 && bytes <= LIMITS.hardBufferBytes);
  }

  private write(buffer: Buffer): void {
    if (this.socket.bufferedAmount === 0) this.progressAt = this.context.clock();
    this.socket.send(buffer, { binary: false, compress: false }, (error) => {
      if (error) return;
      this.progressAt = this.context.clock();
      this.wantPump();
    });
  }

  /** Sends messages that waited for room, once per iteration of the event loop. */
  private wantPump(): void {
    if (this.pumpWanted || this.closing || !this.behind()) return;
    this.pumpWanted = true;
    setImmediate(() => {
      this.pumpWanted = false;
      this.pump();
    });
  }

  private behind(): boolean {
    if (this.reserved.length > 0) return true;
    for (const { snapshot } of this.subscriptions.values()) if (snapshot) return true;
    return false;
  }

  private takeToken(): boolean {
    const now = this.context.clock();
    this.tokens = Math.min(
      LIMITS.inboundBurst,
      this.tokens + ((now - this.tokensAt) / 1_000) * LIMITS.inboundPerSecond,
    );
    this.tokensAt = now;
    if (this.tokens < 1) return false;
    this.tokens -= 1;
    return true;
  }

  private dispose(): void {
    this.closing = true;
    this.context.timers.clearTimeout(this.helloTimer);
    for (const stop of this.stops) stop();
    this.stops.clear();
    this.subscriptions.clear();
    this.reserved.length = 0;
    this.reservedBytes = 0;
  }
}

function parseJson(data: Buffer): unknown {
  try {
    return JSON.parse(data.toString("utf8"));
  } catch {
    return undefined;
  }
}
