/**
 * Names and limits of the monitor's protocol, each with its reason. Without dependencies: server, client and page share it.
 */

/** Version of the messages; a change that breaks a consumer makes a new one. A server speaks this one and refuses others. */
export const PROTOCOL_VERSION = 2;

/** Offered and chosen in `Sec-WebSocket-Protocol`. */
export const SUBPROTOCOL = "weir.monitor.v2.json";

/** A second subprotocol `weir.ticket.<ticket>` carries the single-use ticket: browsers cannot set headers on a WebSocket. */
export const TICKET_PREFIX = "weir.ticket.";

/** Path of the WebSocket upgrade. */
export const STREAM_PATH = "/v2/stream";

/** Whether an address is one of another version of the protocol. */
export const isOtherVersion = (path: string): boolean =>
  /^\/v\d+\//.test(path) && !path.startsWith(`/v${PROTOCOL_VERSION}/`);

/** What a client of another version is told. */
export const OTHER_VERSION = `This monitor speaks version ${PROTOCOL_VERSION} of the protocol (${SUBPROTOCOL} at ${STREAM_PATH}); use a client of the same weir.`;

export const CLOSE = {
  /** The client ended the session. */
  normal: 1000,
  /** A frame above `inboundBytes`; given by the WebSocket layer itself. */
  tooBig: 1009,
  /** The server made a mistake; other sessions and the run go on. */
  internal: 1011,
  /** The server is going away; come back after `bye.retryAfterMs`. */
  restart: 1012,
  /** The client broke the protocol: no JSON, unknown type, wrong shape, too fast, no hello. */
  protocol: 4400,
  /** The session outlived its authentication; fetch a new ticket. */
  unauthorised: 4401,
  /** The client keeps sending commands that its role does not allow. */
  forbidden: 4403,
  /** The client reads too slowly for a channel that must not lose anything; reconnect and resume. */
  slowConsumer: 4408,
} as const;

export const LIMITS = {
  /** Bulk data waits while a socket has this much unsent: about a second of a slow home link. */
  softBufferBytes: 1 << 20,
  /** Most bytes buffered in a socket: the cost of a stalled client. */
  hardBufferBytes: 4 << 20,
  /** One message to a client: small enough that a heavy channel cannot hold up an alert for long. */
  messageBytes: 256 << 10,
  /** One message from a client: the largest legal one, a hello that resumes every channel, stays far below. */
  inboundBytes: 64 << 10,
  /** Sustained messages per second of a client: more than a user can click. */
  inboundPerSecond: 10,
  /** Burst on top of that: enough to subscribe to every channel after a reconnect. */
  inboundBurst: 32,
  /** Bytes of acks, effects and alerts that may wait for a full socket before it is closed. */
  reservedBytes: 256 << 10,
  /** A socket that has accepted nothing for this long is stalled: longer than a busy page pauses. */
  stallMs: 5_000,
  /** Sockets at once; each may cost `hardBufferBytes`. */
  connections: 100,
  /** Subscriptions of one socket: the channels and some open traces. */
  subscriptions: 32,
  /** Updates per second and channel: faster than this cannot be seen. */
  flushHz: 10,
  /** Interval of `tick`: a client notices a dead connection within seconds. */
  tickMs: 1_000,
  /** Interval of protocol pings; a client without a pong by the next one is terminated. */
  pingMs: 20_000,
  /** Time from the upgrade to `hello`. */
  helloMs: 3_000,
  /** Time from the issue of a ticket to its use: one round trip, with room for a slow link. */
  ticketMs: 15_000,
  /** Unused tickets at once; more than this means a client in a loop. */
  tickets: 256,
  /** Longest session on one ticket: a working day. */
  sessionMs: 12 * 3_600_000,
  /** Commands of a viewer that are refused before the socket is closed with 4403. */
  refusals: 10,
  /** Time the training system has to accept or refuse a command. */
  ackMs: 10_000,
  /** Commands remembered for idempotence. */
  commands: 1_000,
  /** Newest traces or log lines sent per flush; older ones of a burst are dropped and counted. */
  samplePerFlush: 64,
  /** Newest checkpoints, evaluations and resumes that a state of the run lists; it counts them all. */
  listed: 100,
  /** Other runs that a monitor shows next to its own: more curves cannot be told apart. */
  compared: 16,
  /** Members of a group that come with a trace. */
  groupMembers: 256,
  /** Actors that the supervision tree lists: a tree of them stays within one message. */
  actors: 500,
  /** Newest turns of knobs that are listed; all of them are counted. */
  knobTurns: 100,
  /** Newest changes of actors that the tree carries along: some minutes of a troubled run. */
  actorChanges: 20,
  /** Plain HTTP connections at once. */
  httpConnections: 256,
  /** The same from one address: a page and a scraper need ten, and all `connections` may open at once. */
  httpPerAddress: 192,
  /** Time to send a request, head and body: requests are a few lines. */
  httpRequestMs: 5_000,
  /** An HTTP connection on which nothing has moved for this long is closed, also in the middle of an answer. */
  httpStallMs: 10_000,
  /** Longest answer: a reader that takes single bytes is cut here. */
  httpAnswerMs: 120_000,
  /** Time that an HTTP connection is kept open for a next request. */
  httpIdleMs: 5_000,
  /** Head of a request. */
  httpHeaderBytes: 16 << 10,
  /** Shards that are looked through for a trace whose step is not known; newest first. */
  searchedShards: 200,
} as const;

/** What a channel does when a client reads too slowly. */
export type OverflowPolicy =
  /** Only the latest value of each key is sent. */
  | "conflate"
  /** Nothing is lost: the client gets it later, in larger pieces, from the history. */
  | "delay"
  /** The oldest of a burst are dropped and counted in a `gap`. */
  | "sample"
  /** Nothing may be lost or late: the client is closed with 4408 and resumes. */
  | "never-drop";

export interface ChannelPolicy {
  readonly overflow: OverflowPolicy;
  /** Entries of history kept; the oldest go first. */
  readonly historyCount: number;
  /** Bytes of serialised history kept. */
  readonly historyBytes: number;
}

/** Channels with a history, in the order in which a full socket serves them. */
export const CHANNELS = {
  /** More alerts than this are of no use. */
  alerts: { overflow: "never-drop", historyCount: 5_000, historyBytes: 4 << 20 },
  /** What guard and operators did: a few lines a step in a troubled run. */
  guard: { overflow: "delay", historyCount: 10_000, historyBytes: 4 << 20 },
  /** Conflated channels hold one entry per key: the run, its machines, its queues. */
  run: { overflow: "conflate", historyCount: 1, historyBytes: 1 << 20 },
  lifecycle: { overflow: "conflate", historyCount: 32, historyBytes: 1 << 20 },
  pipeline: { overflow: "conflate", historyCount: 128, historyBytes: 1 << 20 },
  /** The tree is one value: an actor that is gone is not in the next one. */
  actors: { overflow: "conflate", historyCount: 1, historyBytes: 1 << 20 },
  /** All knobs and their newest turns are one value. */
  knobs: { overflow: "conflate", historyCount: 1, historyBytes: 1 << 20 },
  /** Curves are kept whole: 100,000 steps of forty metrics take about this much. */
  metrics: { overflow: "delay", historyCount: 200_000, historyBytes: 192 << 20 },
  logs: { overflow: "sample", historyCount: 1_000, historyBytes: 2 << 20 },
  /** The configuration is one value. */
  config: { overflow: "conflate", historyCount: 1, historyBytes: 1 << 20 },
  /** Summaries; whole traces are kept apart (see the hub). */
  traces: { overflow: "sample", historyCount: 1_000, historyBytes: 8 << 20 },
  /** Other runs in blocks of rows, one entry per block: 16 runs of 100,000 steps. */
  compare: { overflow: "conflate", historyCount: 6_400, historyBytes: 192 << 20 },
} as const satisfies Record<string, ChannelPolicy>;

/** A channel with history. */
export type StreamChannel = keyof typeof CHANNELS;
/** Any channel: `trace/<id>` holds one whole trace and has a snapshot only. */
export type ChannelName = StreamChannel | `trace/${string}`;

export const STREAM_CHANNELS = Object.keys(CHANNELS) as readonly StreamChannel[];

export const COMMAND_NAMES = [
  "pause",
  "resume",
  "checkpoint",
  "stop",
  "skipPhase",
  "set",
  "rollback",
  "skipBatch",
  "replace",
] as const;
export type CommandName = (typeof COMMAND_NAMES)[number];
