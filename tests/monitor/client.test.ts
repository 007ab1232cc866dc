import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, expect, it } from "vitest";
import type { ChannelEvent } from "../../monitor/client/events.js";
import {
  type ClientClock,
  type ConnectionState,
  connectMonitor,
  type SocketConstructor,
} from "../../monitor/client/index.js";
import { EventQueue } from "../../monitor/client/queue.js";
import { baseUrl, type SocketLike } from "../../monitor/client/socket.js";
import { ChannelCursor } from "../../monitor/client/subscription.js";
import { STREAM_CHANNELS } from "../../monitor/protocol/limits.js";

/** Time that passes only when told. */
class ManualClock implements ClientClock {
  private time = 0;
  private readonly timers = new Map<number, { readonly at: number; readonly run: () => void }>();
  private counter = 0;
  now = () => this.time;
  setTimeout = (run: () => void, ms: number) => {
    this.timers.set(++this.counter, { at: this.time + ms, run });
    return this.counter;
  };
  clearTimeout = (timer: unknown) => void this.timers.delete(timer as number);

  /** Passes time, running what falls due, and lets promises settle in between. */
  async pass(ms: number): Promise<void> {
    const end = this.time + ms;
    for (;;) {
      for (let i = 0; i < 20; i++) await Promise.resolve();
      const due = [...this.timers].filter(([, timer]) => timer.at <= end).sort((a, b) => a[1].at - b[1].at)[0];
      if (!due) break;
      this.timers.delete(due[0]);
      this.time = due[1].at;
      due[1].run();
    }
    this.time = end;
  }
}

/** Sockets that do what the test says. */
function fakeSockets() {
  const made: FakeSocket[] = [];
  class FakeSocket implements SocketLike {
    readyState = 0;
    sent: { type: string; [key: string]: unknown }[] = [];
    onopen: ((event: never) => void) | null = null;
    onmessage: ((event: never) => void) | null = null;
    onclose: ((event: never) => void) | null = null;
    onerror: ((event: never) => void) | null = null;
    constructor(readonly url: string) {
      made.push(this);
    }
    send(data: string) {
      this.sent.push(JSON.parse(data));
    }
    close() {
      this.readyState = 3;
    }
    open() {
      this.readyState = 1;
      this.onopen?.({} as never);
    }
    hear(message: object) {
      this.onmessage?.({ data: JSON.stringify(message) } as never);
    }
    break(code = 1006) {
      this.readyState = 3;
      this.onclose?.({ code, reason: "" } as never);
    }
  }
  return { made, Constructor: FakeSocket as unknown as SocketConstructor };
}

const welcome = {
  type: "welcome",
  protocol: 2,
  serverTime: 0,
  epoch: "e",
  run: null,
  role: "operator",
  channels: [...STREAM_CHANNELS],
  commands: [],
  limits: {},
};

describe("the client and a monitor of version 1", () => {
  it("ends with a reason, instead of knocking for ever", async () => {
    // What a server of version 1 answers: the stream is elsewhere, and only GET is served at addresses that it does not know.
    const server = createServer((request, response) => response.writeHead(request.method === "GET" ? 404 : 405).end());
    server.on("upgrade", (_, socket) => socket.end("HTTP/1.1 404 Refused\r\nconnection: close\r\n\r\n"));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    try {
      const { port } = server.address() as AddressInfo;
      const state = await new Promise<ConnectionState>((resolve) => {
        connectMonitor(`http://127.0.0.1:${port}/`, {
          random: () => 0,
          onState: (next) => next.kind === "closed" && resolve(next),
        });
      });
      expect(state).toEqual({
        kind: "closed",
        reason: "the monitor does not speak version 2 of the protocol; use the client of the weir that runs it",
      });
    } finally {
      server.close();
    }
  });
});

describe("the client on virtual time", () => {
  it("goes from live to stale to lost when nothing is heard, and resumes where it stood", async () => {
    const clock = new ManualClock();
    const sockets = fakeSockets();
    const states: ConnectionState[] = [];
    const client = connectMonitor("http://127.0.0.1:1/", {
      clock,
      random: () => 0,
      WebSocket: sockets.Constructor,
      onState: (state) => states.push(state),
    });
    const seen: number[] = [];
    client.subscribe("alerts", (event) => seen.push(event.seq));
    await clock.pass(0);
    const first = sockets.made[0];
    expect(first?.url).toBe("ws://127.0.0.1:1/v2/stream");
    first?.open();
    first?.hear(welcome);
    expect(first?.sent.map((message) => message.type)).toEqual(["hello", "subscribe"]);
    first?.hear({ type: "subscribed", id: "s0", channel: "alerts", recovered: false, seq: 4 });
    first?.hear({ type: "snapshot", channel: "alerts", seq: 4, part: 0, last: true, items: [] });
    expect(client.state.kind).toBe("live");
    await clock.pass(5_000);
    expect(client.state.kind).toBe("stale");
    await clock.pass(6_000);
    expect(states.map((state) => state.kind)).toContain("lost");
    await clock.pass(200);
    const second = sockets.made[1];
    second?.open();
    expect(second?.sent).toEqual([
      { type: "hello", protocol: 2, client: "weir-monitor-client/2", resume: { epoch: "e", channels: { alerts: 4 } } },
    ]);
    second?.hear(welcome);
    second?.hear({ type: "subscribed", id: null, channel: "alerts", recovered: true, seq: 4 });
    second?.hear({ type: "delta", channel: "alerts", after: 4, seq: 5, items: [{ seq: 5, data: {} }] });
    expect(seen).toEqual([4, 5]);
    expect(second?.sent.length).toBe(1);
    client.close();
  });

  it("keeps the server's wish how long to stay away, and never gives up", async () => {
    const clock = new ManualClock();
    const sockets = fakeSockets();
    const client = connectMonitor("http://127.0.0.1:1/", { clock, random: () => 0.5, WebSocket: sockets.Constructor });
    await clock.pass(0);
    sockets.made[0]?.open();
    sockets.made[0]?.hear(welcome);
    sockets.made[0]?.hear({ type: "bye", reason: "restart", retryAfterMs: 4_000 });
    sockets.made[0]?.break(1012);
    await clock.pass(3_999);
    expect(sockets.made.length).toBe(1);
    await clock.pass(2);
    expect(sockets.made.length).toBe(2);
    client.close();
    await clock.pass(60_000);
    expect(sockets.made.length).toBe(2);
    expect(client.state.kind).toBe("closed");
  });

  it("does not ask a monitor of an earlier build for a channel that it lacks: subscribers hear why, the rest goes on", async () => {
    const clock = new ManualClock();
    const sockets = fakeSockets();
    const client = connectMonitor("http://127.0.0.1:1/", { clock, random: () => 0, WebSocket: sockets.Constructor });
    const heard: ChannelEvent<"actors">[] = [];
    client.subscribe("actors", (event) => heard.push(event));
    client.subscribe("run", () => {});
    await clock.pass(0);
    const socket = sockets.made[0];
    socket?.open();
    socket?.hear({ ...welcome, channels: ["run", "metrics"] });
    const asked = socket?.sent.filter((message) => message.type === "subscribe");
    expect(asked?.map((message) => message.channel)).toEqual(["run"]);
    expect(heard).toMatchObject([{ kind: "gap", dropped: 0, reason: expect.stringContaining('no channel "actors"') }]);
    socket?.hear({ type: "subscribed", id: "s1", channel: "run", recovered: false, seq: 0 });
    socket?.hear({ type: "snapshot", channel: "run", seq: 0, part: 0, last: true, items: [] });
    expect(client.state.kind).toBe("live");
    client.close();
  });

  it.each(["nonsense", "ftp://x", ""])("the address %j is refused", (url) => {
    expect(() => connectMonitor(url)).toThrow(/WEIR_E_USAGE/);
  });

  it("takes the address of the page, of the stream, or of anything there", () => {
    expect(["http://h:1", "ws://h:1/v2/stream", "https://h:1/#x"].map((url) => baseUrl(url).href)).toEqual([
      "http://h:1/",
      "http://h:1/",
      "https://h:1/",
    ]);
  });
});

describe("a channel as the client holds it", () => {
  const cursor = () => {
    const events: ChannelEvent<string>[] = [];
    return { events, held: new ChannelCursor("logs", (event) => events.push(event)) };
  };
  const item = (seq: number) => ({ seq, data: seq });
  const delta = (after: number, ...seqs: number[]) =>
    ({ type: "delta", channel: "logs", after, seq: seqs.at(-1) ?? after, items: seqs.map(item) }) as const;
  const snapshot = (seq: number, part: number, last: boolean, ...seqs: number[]) =>
    ({ type: "snapshot", channel: "logs", seq, part, last, items: seqs.map(item) }) as const;

  it("puts parts together, and passes on each item once", () => {
    const { events, held } = cursor();
    held.receive(snapshot(3, 0, false, 1, 2));
    expect(events).toEqual([]);
    held.receive(snapshot(3, 1, true, 3));
    held.receive(delta(3, 4, 5));
    held.receive(delta(4, 5, 6));
    held.receive(delta(3, 4));
    expect(events.map((event) => ("items" in event ? event.items : event))).toEqual([[1, 2, 3], [4, 5], [6]]);
  });

  it("asks for a new start at a hole, at a missing part, and not at an announced gap", () => {
    const { events, held } = cursor();
    held.receive(snapshot(3, 0, true));
    expect(held.receive(delta(5, 6))).toBe("resync");
    expect(held.receive({ type: "gap", channel: "logs", after: 3, seq: 5, dropped: 2, reason: "slow_client" })).toBe(
      "ok",
    );
    expect(held.receive(delta(5, 6))).toBe("ok");
    expect(events.map((event) => event.kind)).toEqual(["snapshot", "gap", "delta"]);
    const other = cursor();
    other.held.receive(snapshot(3, 0, false));
    expect(other.held.receive(snapshot(3, 2, true))).toBe("resync");
  });
});

describe("the queue behind an async iterator", () => {
  it("drops what a slow reader has not taken, and asks for a fresh start when it comes back", async () => {
    let refills = 0;
    const queue = new EventQueue<number>(() => refills++, 2);
    for (const event of [1, 2, 3, 4]) queue.push(event);
    expect(refills).toBe(0);
    const next = queue.next();
    expect(refills).toBe(1);
    queue.push(10);
    expect(await next).toEqual({ value: 10, done: false });
    queue.end();
    expect(await queue.next()).toEqual({ value: undefined, done: true });
  });
});
