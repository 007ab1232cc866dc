import { z } from "zod";
import { COMMAND_NAMES, type CommandName, PROTOCOL_VERSION, STREAM_CHANNELS, type StreamChannel } from "./limits.js";
import {
  actorTreeSchema,
  alertSchema,
  comparedRunSchema,
  guardEventSchema,
  jsonSchema,
  knobBoardSchema,
  logLineSchema,
  machineStateSchema,
  metricBlockSchema,
  metricRecordSchema,
  pipelineGaugeSchema,
  runConfigSchema,
  runInfoSchema,
  tracePartSchema,
  traceSummarySchema,
} from "./records.js";

/**
 * Every message of the protocol, both ways, as one union on `type`.
 * Unknown fields are ignored; unknown types are refused by the server and skipped by the client.
 */

/** Item of a `delta`, per channel. */
export const DELTA_ITEM = {
  alerts: alertSchema,
  guard: guardEventSchema,
  run: runInfoSchema,
  lifecycle: machineStateSchema,
  pipeline: pipelineGaugeSchema,
  actors: actorTreeSchema,
  knobs: knobBoardSchema,
  metrics: metricRecordSchema,
  logs: logLineSchema,
  config: runConfigSchema,
  traces: traceSummarySchema,
  compare: comparedRunSchema,
} as const satisfies Record<StreamChannel, z.ZodType>;

/** Item of a `snapshot`, per channel: metrics come in columns. */
export const SNAPSHOT_ITEM = { ...DELTA_ITEM, metrics: metricBlockSchema } as const;

export type DeltaItem<C extends string> = C extends StreamChannel ? z.output<(typeof DELTA_ITEM)[C]> : unknown;

const streamNames = STREAM_CHANNELS as [StreamChannel, ...StreamChannel[]];
export const channelSchema = z
  .union([z.enum(streamNames), z.templateLiteral(["trace/", z.string().min(1).max(200)])])
  .describe("A channel with history, or `trace/<id>` for one whole trace.");

/** What a session may do: watch, or send commands too. */
const ROLES = ["viewer", "operator"] as const;

const id = z.string().min(1).max(100);
const seq = z.number().int().nonnegative();
const count = z.number().int().nonnegative();
const resumePoint = z.object({ epoch: z.string().max(100), seq });

const hello = z
  .object({
    type: z.literal("hello"),
    protocol: z.literal(PROTOCOL_VERSION),
    client: z.string().max(200).describe("Name and version of the client, for the log."),
    resume: z
      .object({ epoch: z.string().max(100), channels: z.record(z.string().max(210), seq) })
      .optional()
      .describe("Channels to subscribe at once, continuing after these sequence numbers."),
  })
  .describe("First message of a client, within 3 s.");

const subscribe = z
  .object({
    type: z.literal("subscribe"),
    id,
    channel: channelSchema,
    from: z
      .union([z.enum(["snapshot", "latest"]), resumePoint])
      .default("snapshot")
      .describe("`snapshot`: the state, then what follows; `latest`: only what follows; a point: continue after it."),
    maxHz: z.number().positive().max(10).optional().describe("Fewer updates per second than the server's 10."),
    step: count
      .optional()
      .describe("For `trace/<id>`: the RL step of the rollout, so that an old one is found at once."),
  })
  .describe("Asks for a channel; answered by `subscribed`. Subscribing again restarts the channel.");

const unsubscribe = z.object({ type: z.literal("unsubscribe"), channel: channelSchema }).describe("Ends a channel.");

const why = z.string().max(500).optional().describe("For the journal.");
const none = z.object({});

/** What each command takes, and what it does. */
export const COMMAND_ARGS = {
  pause: none.describe("Pauses between two steps."),
  resume: none.describe("Goes on after a pause."),
  checkpoint: none.describe("Writes a checkpoint between two steps."),
  stop: z
    .object({ abort: z.boolean().optional().describe("At once: what is in work is dropped.") })
    .describe("Ends the run after the current step and a last checkpoint."),
  skipPhase: none.describe("Ends the present phase after the current step."),
  set: z
    .object({
      path: z.string().max(200).describe("Path of the knob, as the channel `knobs` lists it."),
      value: z
        .number()
        .nullable()
        .describe("Within the knob's bounds; null takes the option's own default, where it has one."),
      reason: why,
    })
    .describe("Turns a knob between two steps; the turn is journalled and outlives a kill."),
  rollback: z
    .object({
      toStep: count.optional().describe("Last RL step that is to stay; all but the last one unless given."),
      reason: why,
    })
    .describe("Takes the run back to a snapshot; journal and ledger go on."),
  skipBatch: z.object({ reason: why }).describe("The batch of the next RL step changes no weight and is saved."),
  replace: z
    .object({
      kind: z.string().max(50).describe("Kind of part, such as `loss`."),
      name: z.string().max(200).describe("Name under which a part of that kind is registered."),
    })
    .describe("Puts another registered part in use between two steps."),
} as const satisfies Record<CommandName, z.ZodType>;

export type CommandArgs<N extends CommandName> = z.output<(typeof COMMAND_ARGS)[N]>;

const command = z
  .object({
    type: z.literal("command"),
    id: id.describe("Chosen by the client. The same id is carried out once, even if another client sends it."),
    name: z.enum(COMMAND_NAMES),
    args: z.record(z.string(), jsonSchema).default({}).describe("By command: see its arguments."),
    expect: z
      .object({ state: z.string() })
      .optional()
      .describe("Refuse unless the lifecycle is in this state (dotted; a parent state will do)."),
  })
  .describe("Asks the run to do something; answered by `ack` and, once done, `effect`. Needs the operator's role.");

const ping = z
  .object({ type: z.literal("ping"), id: id.optional() })
  .describe("Asks for a `pong`: browsers cannot send protocol pings.");

export const clientMessageSchema = z.discriminatedUnion("type", [hello, subscribe, unsubscribe, command, ping]);

const welcome = z
  .object({
    type: z.literal("welcome"),
    protocol: z.literal(PROTOCOL_VERSION),
    serverTime: z.number(),
    epoch: z.string().describe("Changes when the server's history restarts; sequence numbers belong to an epoch."),
    run: z.object({ id: z.string(), live: z.boolean() }).nullable(),
    role: z.enum(ROLES),
    channels: z.array(z.string()),
    commands: z.array(z.string()).describe("Commands that this session may send."),
    limits: z.object({ messageBytes: count, inboundBytes: count, inboundPerSecond: count, tickMs: count }),
  })
  .describe("Answer to `hello`.");

const subscribed = z
  .object({
    type: z.literal("subscribed"),
    id: id.nullable().describe("Id of the `subscribe`; null for a channel resumed by `hello`."),
    channel: channelSchema,
    recovered: z.boolean().describe("True: deltas continue without a gap. False: a snapshot follows, or `latest`."),
    seq,
  })
  .describe("The subscription is active.");

const item = z.object({ seq, data: z.unknown().describe("By channel: see the schemas of the channel's items.") });

const snapshot = z
  .object({
    type: z.literal("snapshot"),
    channel: channelSchema,
    seq: seq.describe("The state is that after this sequence number."),
    part: count.describe("0, 1, …; part 0 replaces what the client had."),
    last: z.boolean(),
    items: z.array(item),
  })
  .describe("State of a channel, in parts of bounded size.");

const delta = z
  .object({
    type: z.literal("delta"),
    channel: channelSchema,
    after: seq.describe("Continues after this sequence number: the last one the client has seen."),
    seq: seq.describe("The last one it knows after this message; conflated channels skip numbers."),
    items: z.array(item),
  })
  .describe("Items after a sequence number.");

const gap = z
  .object({
    type: z.literal("gap"),
    channel: channelSchema,
    after: seq,
    seq: seq.describe("The next delta continues after this one."),
    dropped: count,
    reason: z.enum(["slow_client", "history_bound"]),
  })
  .describe("Items of a sampled channel were left out.");

const tick = z
  .object({
    type: z.literal("tick"),
    serverTime: z.number(),
    seqs: z.record(z.string(), seq).describe("Latest sequence number of each channel."),
  })
  .describe("Heartbeat, once a second.");

const pong = z
  .object({ type: z.literal("pong"), id: id.optional(), serverTime: z.number() })
  .describe("Answer to `ping`, with its id.");

const ack = z
  .object({
    type: z.literal("ack"),
    id,
    accepted: z.boolean(),
    reason: z.string().nullable().describe("Why it was refused."),
  })
  .describe("A command was accepted or refused.");

const effect = z
  .object({
    type: z.literal("effect"),
    id,
    ok: z.boolean(),
    text: z.string().describe("The effect, in one sentence."),
    state: jsonSchema.describe("State of the lifecycle machine afterwards."),
  })
  .describe("An accepted command has taken effect, or failed to.");

const bye = z
  .object({ type: z.literal("bye"), reason: z.string(), retryAfterMs: count })
  .describe("The server is about to close the socket.");

const error = z
  .object({
    type: z.literal("error"),
    id: id.nullable(),
    code: z.enum(["bad_message", "too_fast", "not_found", "too_many", "forbidden", "expired"]),
    message: z.string(),
  })
  .describe("A message could not be served; when fatal, the close code follows.");

export const serverMessageSchema = z.discriminatedUnion("type", [
  welcome,
  subscribed,
  snapshot,
  delta,
  gap,
  tick,
  pong,
  ack,
  effect,
  bye,
  error,
]);

/** Every message of the protocol. */
export const messageSchema = z.discriminatedUnion("type", [
  ...clientMessageSchema.options,
  ...serverMessageSchema.options,
]);

export type ClientMessage = z.output<typeof clientMessageSchema>;
export type ClientMessageInput = z.input<typeof clientMessageSchema>;
export type ServerMessage = z.output<typeof serverMessageSchema>;
export type Message = z.output<typeof messageSchema>;
export type Role = (typeof ROLES)[number];

/** Items of a snapshot or delta, checked by the channel's own schema. Throws the ZodError of the first wrong one. */
export function checkItems(message: Extract<ServerMessage, { type: "snapshot" | "delta" }>): void {
  const table: Record<string, z.ZodType> = message.type === "snapshot" ? SNAPSHOT_ITEM : DELTA_ITEM;
  const schema = message.channel.startsWith("trace/") ? tracePartSchema : table[message.channel];
  for (const { data } of message.items) schema?.parse(data);
}
