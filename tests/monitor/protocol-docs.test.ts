import { readFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { COMMAND_NAMES, messageSchema } from "../../monitor/protocol/index.js";
import { asyncApi, jsonSchema, protocolDocs } from "../../scripts/make-protocol-docs.js";

describe("the protocol's documents", () => {
  it("are those that the messages make; run npx tsx scripts/make-protocol-docs.ts", async () => {
    for (const [name, content] of Object.entries(await protocolDocs()))
      expect(await readFile(new URL(`../../docs/${name}`, import.meta.url), "utf8"), name).toBe(content);
  });

  it("define every message and reference only what is defined", () => {
    const schema = jsonSchema() as { $defs: Record<string, { properties?: { name?: { enum: string[] } } }> };
    const types = messageSchema.options.map((option) => option.shape.type.value);
    expect(Object.keys(schema.$defs)).toEqual(expect.arrayContaining(types.map((type) => `message.${type}`)));
    expect(schema.$defs["message.command"]?.properties?.name?.enum).toEqual([...COMMAND_NAMES]);
    const references = JSON.stringify(asyncApi()).matchAll(/generated\.json#\/\$defs\/([\w.]+)/g);
    for (const [, name] of references) expect(schema.$defs).toHaveProperty([name ?? ""]);
  });

  it("give a reason for every limit and close code", async () => {
    const page = (await protocolDocs())["protocol.md"] ?? "";
    const rows = page.split("\n").filter((line) => /^\| (`\w+`|\d{4}) \|/.test(line));
    expect(rows.length).toBeGreaterThan(30);
    expect(rows.filter((row) => /\|\s*\|$/.test(row))).toEqual([]);
  });
});
