import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import {
  CHANNELS,
  checkItems,
  clientMessageSchema,
  LIMITS,
  type Message,
  messageSchema,
  serverMessageSchema,
} from "../../monitor/protocol/index.js";

/** Written by hand from docs/protocol.md: a change here is a change of the protocol. */
const golden = JSON.parse(readFileSync(new URL("./golden-messages.json", import.meta.url), "utf8")) as Record<
  string,
  { readonly type: Message["type"] }
>;
const typesOf = (schema: typeof clientMessageSchema | typeof serverMessageSchema) =>
  schema.options.map((option) => option.shape.type.value as string);

describe("messages of the monitor", () => {
  it.each(Object.entries(golden))("%s is read as it is written", (_, message) => {
    const read = messageSchema.parse(message);
    expect(read).toEqual(message);
    expect(JSON.parse(JSON.stringify(read))).toEqual(message);
    if (read.type === "snapshot" || read.type === "delta") expect(() => checkItems(read)).not.toThrow();
  });

  it("every type has a golden message, and belongs to one direction", () => {
    const known = new Set(Object.values(golden).map((message) => message.type));
    const types = [...typesOf(clientMessageSchema), ...typesOf(serverMessageSchema)];
    expect([...known].sort()).toEqual([...types].sort());
    expect(new Set(types).size).toBe(types.length);
  });

  it("every channel has a golden item", () => {
    const channels = new Set(
      Object.values(golden).flatMap((message) => ("items" in message ? (message as { channel?: string }).channel : [])),
    );
    expect([...channels].filter((name) => name && !name.startsWith("trace/")).sort()).toEqual(
      Object.keys(CHANNELS).sort(),
    );
  });

  it("ignores fields that it does not know, so that additions break nobody", () => {
    expect(messageSchema.parse({ ...golden.ping, shade: "teal" })).toEqual(golden.ping);
  });

  it.each([
    ["an unknown type", { type: "dance" }],
    ["a missing id", { type: "command", name: "pause" }],
    ["an unknown command", { type: "command", id: "1", name: "format" }],
    ["an unknown channel", { type: "subscribe", id: "1", channel: "secrets" }],
    ["a trace without an id", { type: "subscribe", id: "1", channel: "trace/" }],
    ["another protocol version", { type: "hello", protocol: 1, client: "x" }],
    ["a negative sequence number", { type: "subscribe", id: "1", channel: "run", from: { epoch: "x", seq: -1 } }],
    ["more updates than the server sends", { type: "subscribe", id: "1", channel: "run", maxHz: 1_000 }],
    ["no object", "hello"],
  ])("refuses %s", (_, message) => {
    expect(clientMessageSchema.safeParse(message).success).toBe(false);
  });

  it("items of another shape than the channel's are found", () => {
    const wrong = { type: "delta", channel: "alerts", after: 0, seq: 1, items: [{ seq: 1, data: { id: 3 } }] } as const;
    expect(() => checkItems({ ...wrong, items: [...wrong.items] })).toThrow();
  });

  it("keeps every bound in its order: message below soft, soft below hard, reserve within hard", () => {
    expect(LIMITS.messageBytes).toBeLessThan(LIMITS.softBufferBytes);
    expect(LIMITS.softBufferBytes + LIMITS.reservedBytes).toBeLessThan(LIMITS.hardBufferBytes);
    expect(LIMITS.hardBufferBytes).toBe(4 * 1024 * 1024);
  });
});
