/** What the monitor's tests share: records, a raw client that sees every message, and a client whose line can be cut. */
import { once } from "node:events";
import { WebSocket } from "ws";
import type { ClientClock, SocketConstructor } from "../../monitor/client/index.js";
import { STREAM_PATH, SUBPROTOCOL } from "../../monitor/protocol/limits.js";
import type { ClientMessageInput, ServerMessage } from "../../monitor/protocol/messages.js";
import type { RunningMonitor } from "../../monitor/server/index.js";
import type { Alert } from "../../src/contracts/alert.js";
import type { MetricRecord } from "../../src/contracts/metrics.js";
import type { Trace } from "../../src/contracts/trace.js";

export const metric = (step: number, values: Record<string, number> = { "reward/mean": step / 100 }): MetricRecord => ({
  step,
  phase: 1,
  time: 1_000 + step,
  values,
});

export const alert = (n: number, text = "kl/old_k3 above its limit"): Alert => ({
  id: `alert-${n}`,
  level: "error",
  rule: "kl_spike",
  metric: "kl/old_k3",
  value: 0.7,
  threshold: 0.5,
  z: 12,
  step: n,
  phase: 1,
  policyVersion: n,
  text,
  culprits: [{ rolloutId: "rollout-1", contribution: 0.4, tokenIndex: 3 }],
  time: 1_000 + n,
});

export const trace = (id: string, change: Partial<Trace> = {}): Trace => ({
  id,
  groupId: "group-1",
  taskId: "task-1",
  source: "synthetic_multihop",
  step: 1,
  phase: 1,
  sampleIndex: 0,
  carried: false,
  policyVersion: 0,
  lag: 0,
  prompt: "Which city is it?",
  completion: "Therefore, the answer is Lima.",
  goldAnswer: "Therefore, the answer is Lima.",
  outcome: { kind: "scored", value: 1, parts: { rule: 1 }, prediction: "Lima" },
  behaviours: [],
  judgedBehaviours: null,
  reward: 1,
  advantage: 0.5,
  promptTokens: 5,
  tokens: ["Therefore", ", the answer is", " Lima", "."].map((text, i) => ({
    id: i,
    text,
    logprob: -0.1 * (i + 1),
    entropy: 0.2 * (i + 1),
    weight: null,
    advantage: 0.5,
    ratio: 1,
    klOld: 0.01 * i,
    klRef: null,
    lossShare: 0.25,
  })),
  finish: "stop",
  time: 1_001,
  ...change,
});

/** A client that speaks the protocol by hand and keeps everything it hears. */
export class RawClient {
  readonly heard: ServerMessage[] = [];
  private readonly waiters = new Set<() => void>();
  closed: { readonly code: number; readonly reason: string } | null = null;

  constructor(readonly socket: WebSocket) {
    socket.on("message", (data) => {
      this.heard.push(JSON.parse(String(data)) as ServerMessage);
      this.wake();
    });
    socket.on("close", (code, reason) => {
      this.closed = { code, reason: String(reason) };
      this.wake();
    });
    socket.on("error", () => {});
  }

  static async open(
    monitor: RunningMonitor,
    options: { headers?: Record<string, string>; protocols?: string[]; hello?: boolean } = {},
  ): Promise<RawClient> {
    const url = monitor.url.replace("http", "ws").replace(/\/$/, STREAM_PATH);
    const socket = new WebSocket(url, options.protocols ?? [SUBPROTOCOL], { headers: options.headers ?? {} });
    const client = new RawClient(socket);
    await once(socket, "open");
    if (options.hello ?? true) {
      client.send({ type: "hello", protocol: 2, client: "test" });
      await client.next("welcome");
    }
    return client;
  }

  send(message: ClientMessageInput | Record<string, unknown>): void {
    this.socket.send(JSON.stringify(message));
  }

  subscribe(channel: string, from: unknown = "snapshot"): void {
    this.send({ type: "subscribe", id: `sub-${channel}`.slice(0, 100), channel, from });
  }

  /** The first message of a type (that also fits), waited for if need be. */
  async next<T extends ServerMessage["type"]>(
    type: T,
    fits: (message: Extract<ServerMessage, { type: T }>) => boolean = () => true,
  ): Promise<Extract<ServerMessage, { type: T }>> {
    type Wanted = Extract<ServerMessage, { type: T }>;
    const find = () => this.heard.find((message) => message.type === type && fits(message as Wanted));
    await this.until(() => find() !== undefined || this.closed !== null);
    const found = find();
    if (!found) throw new Error(`closed with ${this.closed?.code} before ${type}`);
    return found as Wanted;
  }

  async closing(): Promise<number> {
    await this.until(() => this.closed !== null);
    return this.closed?.code ?? 0;
  }

  /** Every item of a channel so far, snapshot and deltas alike. */
  items(channel: string): unknown[] {
    return this.heard.flatMap((message) =>
      (message.type === "delta" || message.type === "snapshot") && message.channel === channel
        ? message.items.map((item) => item.data)
        : [],
    );
  }

  async until(holds: () => boolean): Promise<void> {
    while (!holds())
      await new Promise<void>((resolve) => {
        this.waiters.add(resolve);
      });
  }

  private wake(): void {
    for (const waiter of [...this.waiters]) waiter();
    this.waiters.clear();
  }

  /** Stops reading: the kernel's buffers fill, then the server's. */
  stall(): void {
    (this.socket as unknown as { _socket: { pause(): void } })._socket.pause();
  }

  goOn(): void {
    (this.socket as unknown as { _socket: { resume(): void } })._socket.resume();
  }
}

/** A client that reads everything but looks only at the sequence numbers of one channel's deltas: cheap, for crowds. */
export class Witness {
  seq = 0;
  bytes = 0;
  private readonly changed = awaited();

  private constructor(
    socket: WebSocket,
    readonly channel: string,
  ) {
    const head = new RegExp(`^\\{"type":"delta","channel":"${channel}","after":\\d+,"seq":(\\d+)`);
    socket.on("message", (data: Buffer) => {
      this.bytes += data.length;
      const seq = head.exec(data.subarray(0, 100).toString())?.[1];
      if (seq === undefined) return;
      this.seq = Number(seq);
      this.changed.poke();
    });
  }

  static async open(
    monitor: RunningMonitor,
    channel: string,
    from: "snapshot" | "latest" = "snapshot",
  ): Promise<Witness> {
    const client = await RawClient.open(monitor);
    client.subscribe(channel, from);
    if (from === "latest") await client.next("subscribed");
    else await client.next("snapshot", (message) => message.last);
    client.socket.removeAllListeners("message");
    return new Witness(client.socket, channel);
  }

  async reached(seq: number): Promise<void> {
    await this.changed.until(() => this.seq >= seq);
  }
}

/** A WebSocket constructor whose sockets can all be cut, as a broken line would. */
export function cuttableSockets(): { readonly Constructor: SocketConstructor; cut(): void } {
  const open = new Set<WebSocket>();
  class Cuttable extends WebSocket {
    constructor(url: string, protocols: string[]) {
      super(url, protocols);
      open.add(this);
      this.on("close", () => open.delete(this));
      this.on("error", () => {});
    }
  }
  return {
    Constructor: Cuttable as unknown as SocketConstructor,
    cut: () => {
      for (const socket of open) socket.terminate();
    },
  };
}

/** Real time, but nobody waits longer than a moment: back-off runs its course without its length. */
export const hastyClock: ClientClock = {
  now: () => Date.now(),
  setTimeout: (run, ms) => setTimeout(run, Math.min(ms, 2)),
  clearTimeout: (timer) => clearTimeout(timer as NodeJS.Timeout | undefined),
};

/** Waits for a condition that callbacks bring about; `poke` is to be called by them. */
export function awaited(): { poke(): void; until(holds: () => boolean): Promise<void> } {
  const waiters = new Set<() => void>();
  return {
    poke: () => {
      for (const waiter of [...waiters]) waiter();
      waiters.clear();
    },
    until: async (holds) => {
      while (!holds()) await new Promise<void>((resolve) => waiters.add(resolve));
    },
  };
}
