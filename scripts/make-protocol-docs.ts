import { readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import {
  CHANNELS,
  CLOSE,
  COMMAND_ARGS,
  clientMessageSchema,
  DELTA_ITEM,
  LIMITS,
  messageSchema,
  metricBlockSchema,
  STREAM_PATH,
  SUBPROTOCOL,
  serverMessageSchema,
  tracePartSchema,
} from "../monitor/protocol/index.js";

/**
 * Writes what follows from monitor/protocol: docs/protocol/monitor.v2.schema.generated.json (JSON Schema),
 * docs/protocol/monitor.v2.asyncapi.generated.json (AsyncAPI 3.0) and the tables of docs/protocol.md between its markers.
 * Usage: tsx scripts/make-protocol-docs.ts [--check]; with --check it writes nothing and exits with 1 where something is out of date.
 */

const path = (name: string) => fileURLToPath(new URL(`../docs/${name}`, import.meta.url));
const SCHEMA_FILE = "monitor.v2.schema.generated.json";

type Option = (typeof messageSchema.options)[number];
const typeOf = (option: Option): string => option.shape.type.value;
const jsonOf = (schema: z.ZodType): object => {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io: "input" });
  return rest;
};
const pretty = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;

/** Messages by type and items by channel, each a definition of its own. */
export function jsonSchema(): object {
  const definitions = Object.fromEntries([
    ...messageSchema.options.map((option) => [`message.${typeOf(option)}`, jsonOf(option)]),
    ...Object.entries(DELTA_ITEM).map(([channel, item]) => [`item.${channel}`, jsonOf(item)]),
    ["item.metrics.snapshot", jsonOf(metricBlockSchema)],
    ["item.trace", jsonOf(tracePartSchema)],
    ...Object.entries(COMMAND_ARGS).map(([name, args]) => [`command.${name}`, jsonOf(args)]),
  ]);
  const refs = (options: readonly Option[]) => ({
    oneOf: options.map((option) => ({ $ref: `#/$defs/message.${typeOf(option)}` })),
  });
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    title: `Messages of ${SUBPROTOCOL}`,
    oneOf: messageSchema.options.map((option) => ({ $ref: `#/$defs/message.${typeOf(option)}` })),
    $defs: {
      client: refs(clientMessageSchema.options),
      server: refs(serverMessageSchema.options),
      ...definitions,
    },
  };
}

export function asyncApi(): object {
  const messages = Object.fromEntries(
    messageSchema.options.map((option) => [
      typeOf(option),
      {
        name: typeOf(option),
        summary: option.description ?? typeOf(option),
        contentType: "application/json",
        payload: { $ref: `./${SCHEMA_FILE}#/$defs/message.${typeOf(option)}` },
      },
    ]),
  );
  const use = (options: readonly Option[]) =>
    options.map((option) => ({ $ref: `#/channels/stream/messages/${typeOf(option)}` }));
  return {
    asyncapi: "3.0.0",
    info: {
      title: "weir monitor",
      version: "1.0.0",
      description: "One WebSocket per viewer; every message is a JSON text frame. See ../protocol.md.",
    },
    servers: { monitor: { host: "127.0.0.1", protocol: "ws", pathname: STREAM_PATH } },
    channels: {
      stream: {
        address: STREAM_PATH,
        messages: Object.fromEntries(
          Object.keys(messages).map((name) => [name, { $ref: `#/components/messages/${name}` }]),
        ),
        bindings: {
          ws: {
            method: "GET",
            headers: { type: "object", properties: { "Sec-WebSocket-Protocol": { const: SUBPROTOCOL } } },
          },
        },
      },
    },
    operations: {
      ask: { action: "receive", channel: { $ref: "#/channels/stream" }, messages: use(clientMessageSchema.options) },
      tell: { action: "send", channel: { $ref: "#/channels/stream" }, messages: use(serverMessageSchema.options) },
    },
    components: { messages },
  };
}

/** Comments above the constants are their reasons; they are the third column. */
async function reasons(name: string): Promise<Map<string, string>> {
  const source = await readFile(new URL("../monitor/protocol/limits.ts", import.meta.url), "utf8");
  const block = source.slice(source.indexOf(`export const ${name} = {`));
  const found = new Map<string, string>();
  for (const [, comment = "", key = ""] of block
    .slice(0, block.indexOf("\n}"))
    .matchAll(/\/\*\* ([^*]+) \*\/\s+(\w+):/g))
    found.set(key, comment);
  return found;
}

function table(head: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const line = (cells: readonly (string | number)[]) =>
    `| ${cells.map((cell) => String(cell).replaceAll("|", "\\|")).join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}

async function tables(): Promise<Record<string, string>> {
  const [closeReasons, limitReasons] = await Promise.all([reasons("CLOSE"), reasons("LIMITS")]);
  const fields = (option: Option) =>
    Object.entries(option.shape as Record<string, z.ZodType>)
      .filter(([name]) => name !== "type")
      .map(([name, schema]) => `\`${name}${schema.safeParse(undefined).success ? "?" : ""}\``)
      .join(", ");
  const messages = (options: readonly Option[]) =>
    table(
      ["type", "fields", "meaning"],
      options.map((option) => [`\`${typeOf(option)}\``, fields(option), option.description ?? ""]),
    );
  return {
    client: messages(clientMessageSchema.options),
    server: messages(serverMessageSchema.options),
    channels: table(
      ["channel", "overflow", "entries kept", "bytes kept", "items"],
      Object.entries(CHANNELS).map(([name, policy]) => [
        `\`${name}\``,
        policy.overflow,
        policy.historyCount.toLocaleString("en-US"),
        `${policy.historyBytes / (1 << 20)} MiB`,
        DELTA_ITEM[name as keyof typeof DELTA_ITEM].description ?? "",
      ]),
    ),
    commands: table(
      ["command", "arguments", "effect"],
      Object.entries(COMMAND_ARGS).map(([name, args]) => [
        `\`${name}\``,
        Object.entries(args.shape as Record<string, z.ZodType>)
          .map(([arg, schema]) => `\`${arg}${schema.safeParse(undefined).success ? "?" : ""}\``)
          .join(", "),
        args.description ?? "",
      ]),
    ),
    close: table(
      ["code", "name", "meaning"],
      Object.entries(CLOSE).map(([name, code]) => [code, name, closeReasons.get(name) ?? ""]),
    ),
    limits: table(
      ["limit", "value", "reason"],
      Object.entries(LIMITS).map(([name, value]) => [
        `\`${name}\``,
        value.toLocaleString("en-US"),
        limitReasons.get(name) ?? "",
      ]),
    ),
  };
}

/** docs/protocol.md with its tables brought up to date. */
async function page(): Promise<string> {
  let text = await readFile(path("protocol.md"), "utf8");
  for (const [name, content] of Object.entries(await tables())) {
    const [open, close] = [`<!-- generated: ${name} -->`, "<!-- end -->"];
    const from = text.indexOf(open);
    const to = text.indexOf(close, from);
    if (from < 0 || to < 0) throw new Error(`docs/protocol.md: expected the markers "${open}" and "${close}"`);
    text = `${text.slice(0, from + open.length)}\n${content}\n${text.slice(to)}`;
  }
  return text;
}

/** File names under docs/ and what they should hold. */
export async function protocolDocs(): Promise<Record<string, string>> {
  return {
    [`protocol/${SCHEMA_FILE}`]: pretty(jsonSchema()),
    "protocol/monitor.v2.asyncapi.generated.json": pretty(asyncApi()),
    "protocol.md": await page(),
  };
}

async function main(check: boolean): Promise<void> {
  for (const [name, content] of Object.entries(await protocolDocs())) {
    const present = await readFile(path(name), "utf8").catch(() => "");
    if (present === content) continue;
    if (check) {
      process.stderr.write(`docs/${name} is out of date; run: npx tsx scripts/make-protocol-docs.ts\n`);
      process.exitCode = 1;
    } else await writeFile(path(name), content);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main(process.argv.includes("--check"));
